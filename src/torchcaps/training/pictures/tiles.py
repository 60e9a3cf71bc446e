"""A sheet of small images, each with its class below; a wrong prediction is framed in colour.

Tiles are placed by arithmetic, in inches: a hundred axes under the layout engine take many seconds.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

from torchcaps.training.pictures.style import INK, NOT_A_NUMBER, WIDTH, WRONG, Path, figure
from torchcaps.training.pictures.text import caption, drawable, legible, width_of

__all__ = ["MARGIN", "check_count", "draw_tiles", "pixels_of", "sheet", "write"]

Pixels = npt.NDArray[np.float32]

# In inches.
MARGIN = 0.12  # around all tiles
GAP = 0.14  # between neighbours
INNER = 0.05  # between a picture and the one that belongs below it
LINE = 0.165  # from one line of words to the next


def check_count(count: int, **tensors: Tensor) -> None:
    """Raise unless each of the tensors is [count]."""
    for name, tensor in tensors.items():
        if tensor.shape != (count,):
            raise ValueError(f"{name} needs the shape [{count}], not {list(tensor.shape)}")


def draw_tiles(
    stacks: Sequence[Tensor],
    labels: Tensor,
    predictions: Tensor,
    notes: Sequence[str],
    class_names: Sequence[str],
    *,
    title: str,
    key: Mapping[str, str],
    most: int,
    largest: float,
    path: Path,
    warning: str = "",
) -> None:
    """Tiles in rows: each picture of the first stack above those of the others, then its class.

    Args:
        stacks: one or more [N, C, H, W], N ≥ 1.
        labels, predictions: [N], true and predicted class.
        notes: N texts, what follows the predicted class.
        class_names: the name of each class.
        title: a line above all.
        key: what the captions mean, each with its colour, below the title.
        most: so many tiles stand side by side, at most; the rows are about equally full.
        largest: side of a tile in inches, at most.
        path: the PNG file to write.
        warning: said below the title, on as many lines as it takes.
    """
    columns = math.ceil(len(labels) / math.ceil(len(labels) / most))
    side = min(largest, (WIDTH - 2 * MARGIN + GAP) / columns - GAP)
    names, stacked = legible(class_names), [pixels_of(stack) for stack in stacks]
    pairs = list(zip(labels.tolist(), predictions.tolist()))
    with sheet(max(5.0, columns * (side + GAP) - GAP + 2 * MARGIN), path=path) as axes:
        captions = [caption(names, *pair, note, side + 0.02) for pair, note in zip(pairs, notes)]
        top = _head(axes, title, key, warning)
        tall = len(stacks) * (side + INNER)
        row = tall + LINE * (1 + max(words.count("\n") for words in captions)) + 0.17
        axes.set_ylim(top + row * math.ceil(len(pairs) / columns), 0.0)
        for k, (true, predicted) in enumerate(pairs):
            x, y = MARGIN + k % columns * (side + GAP), top + k // columns * row
            colour = INK if true == predicted else WRONG
            for depth, pixels in enumerate(stacked):
                _tile(axes, pixels[k], x, y + depth * (side + INNER), side, colour)
            for down, line in enumerate(captions[k].split("\n")):
                below = y + tall + down * 1.3 * 9 / 72
                write(axes, x + side / 2, below, line, color=colour, ha="center")


@contextmanager
def sheet(width: float, *, path: Path) -> Iterator[Axes]:
    """Bare axes that fill a figure; their units are inches from the top left.

    The figure becomes as high as the limits of y say: 1 inch unless they are set.
    """
    with figure(width, 1.0, path=path) as page:
        axes = page.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0.0, width), ylim=(1.0, 0.0))
        axes.set_axis_off()
        yield axes
        page.set_figheight(axes.get_ylim()[0])


def write(axes: Axes, x: float, y: float, words: str, *, size: float = 9.0, **look: Any) -> None:
    """Write a line below y; equal y are equal baselines."""
    axes.text(x, y + size / 72, words, size=size, **look)


def pixels_of(images: Tensor) -> Pixels:
    """[N, C, H, W] of any range to [N, H, W, 3] in [0, 1]."""
    values = images.detach().cpu().float()
    if values.shape[1] != 3:
        values = values.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    pixels: Pixels = values.permute(0, 2, 3, 1).numpy().copy()
    pixels[np.isnan(pixels).any(-1)] = to_rgb(NOT_A_NUMBER)
    return pixels.clip(0, 1)


def _head(axes: Axes, title: str, key: Mapping[str, str], warning: str) -> float:
    """Write title, warning and key, on more lines if need be; returns where the tiles begin."""
    write(axes, MARGIN, 0.12, title, size=11, weight="bold")
    x, y = MARGIN, 0.4
    for line in textwrap.wrap(
        drawable(warning), int(12 * axes.get_xlim()[1]), break_on_hyphens=False
    ):
        write(axes, MARGIN, y, line, weight="bold", color=WRONG)
        y += LINE
    y += 0.1 if warning else 0.0
    for words, colour in key.items():
        width = width_of(words)
        if x + width > axes.get_xlim()[1]:
            x, y = MARGIN, y + LINE
        write(axes, x, y, words, color=colour)
        x += width + 0.25
    return y + 0.3


def _tile(axes: Axes, pixels: Pixels, x: float, y: float, side: float, frame: str) -> None:
    """Place a picture in the middle of the square (x, y, side), its proportions kept."""
    rows, columns = pixels.shape[:2]
    width, height = side * min(1.0, columns / rows), side * min(1.0, rows / columns)
    x, y = x + (side - width) / 2, y + (side - height) / 2
    axes.imshow(pixels, extent=(x, x + width, y + height, y), aspect="auto")
    thickness = 1.8 if frame == WRONG else 0.5
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=frame, lw=thickness))
