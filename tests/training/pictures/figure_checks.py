"""What a person sees in a picture: the pixels of the file, the words of the figure."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image


def rgb(colour):
    return tuple(round(255 * c) for c in to_rgb(colour))


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 400 <= image.width <= 2500
        assert 100 <= image.height <= 2500
        return np.asarray(image.convert("RGB")).astype(int)


def count_pixels(path, colour, tolerance=3):
    return int((np.abs(pixels(path) - np.array(colour)).max(-1) <= tolerance).sum())


def words(figure):
    """Every text that is seen in the figure."""
    outside = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            rounding = 1e-9 * (high - low)
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - rounding <= tick.get_loc() <= high + rounding:
                    outside |= {tick.label1, tick.label2}
        if not axes.axison:
            outside |= set(axes.xaxis.findobj(Text)) | set(axes.yaxis.findobj(Text))
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in outside
    ]


def strings(figure):
    return [text.get_text() for text in words(figure)]


def assert_neat(figure):
    """No two texts overlap, none leaves the figure, and it has a size for a page."""
    texts = words(figure)
    boxes = np.array([text.get_window_extent().extents for text in texts])  # x0, y0, x1, y1
    low, high = boxes[:, :2], boxes[:, 2:]
    size = figure.bbox.max
    assert 400 <= size[0] <= 2500
    assert 100 <= size[1] <= 2500
    outside = (low < -1).any(1) | (high > size + 1).any(1)
    assert not outside.any(), [texts[k].get_text() for k in np.flatnonzero(outside)]
    # a pixel of the line's height is empty
    overlap = (high[:, None] > low[None] + 1).all(-1)
    pairs = np.argwhere(np.triu(overlap & overlap.T, 1))
    assert not len(pairs), [(texts[i].get_text(), texts[j].get_text()) for i, j in pairs]
