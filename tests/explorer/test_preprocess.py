"""Fitting a drawing as the makers of MNIST did, held to a second way of writing it."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.explorer_page import settle
from torchcaps.explorer import write_explorer
from torchcaps.models import CapsNet

SIDE = 224


@pytest.fixture
def page(open_page, tmp_path):
    model = CapsNet(conv_channels=2, primary_types=1, decoder_hidden=[4])
    write_explorer(model, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    settle(page)
    return page


def fitted(page, ink: np.ndarray, height: int = 28, width: int = 28) -> np.ndarray | None:
    result = page.evaluate(
        """([ink, w, h, width, height]) => {
          const found = torchcaps.fitAsMnist(Float32Array.from(ink), w, h, width, height);
          return found && Array.from(found);
        }""",
        [ink.ravel().tolist(), ink.shape[1], ink.shape[0], width, height],
    )
    return None if result is None else np.array(result).reshape(height, width)


def cover(start: int, extent: int, count: int, limit: int) -> np.ndarray:
    """[count, limit]: the part of each target pixel that each source pixel makes up."""
    edges = start + extent * np.arange(count + 1) / count
    source = np.arange(limit)
    shared = np.minimum(source + 1, edges[1:, None]) - np.maximum(source, edges[:-1, None])
    return shared.clip(0) * count / extent


def expected(ink: np.ndarray) -> np.ndarray:
    """The same in matrices: 20×20 by aspect, the centre of mass to the middle."""
    rows, columns = np.nonzero(ink > 0.1)
    tall, wide = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    high, broad = (max(1, int(side * 20 / max(wide, tall) + 0.5)) for side in (tall, wide))
    by_rows = cover(int(rows.min()), tall, high, ink.shape[0])
    by_columns = cover(int(columns.min()), wide, broad, ink.shape[1])
    small = by_rows @ ink @ by_columns.T
    small = small / small.max()
    y, x = (np.indices(small.shape) * small).sum((1, 2)) / small.sum() + 0.5
    top = min(max(int(14 - y + 0.5), 0), 28 - high)
    left = min(max(int(14 - x + 0.5), 0), 28 - broad)
    result = np.zeros((28, 28))
    result[top : top + high, left : left + broad] = small
    return result


def drawing(seed: int) -> np.ndarray:
    """A random scribble somewhere on the board."""
    draw = np.random.default_rng(seed)
    image = Image.new("L", (SIDE, SIDE))
    corner, extent = draw.integers(10, 80, 2), draw.integers(30, 120, 2)
    points = [tuple(corner + draw.random(2) * extent) for _ in range(5)]
    ImageDraw.Draw(image).line(points, fill=255, width=int(draw.integers(6, 20)), joint="curve")
    return np.asarray(image) / 255


def test_as_mnist_does_it(page):
    for seed in range(6):
        ink = drawing(seed)
        assert np.allclose(fitted(page, ink), expected(ink), atol=1e-4), seed


def test_size_and_place_on_the_board_do_not_matter(page):
    ink = np.zeros((SIDE, SIDE))
    ink[50:150, 76:100] = 1
    ink[124:150, 76:130] = 1
    first = fitted(page, ink)
    assert np.allclose(fitted(page, np.roll(ink, (45, -60), (0, 1))), first)
    half = ink[::2, ::2]
    assert np.allclose(fitted(page, half), first, atol=0.02)


def test_no_ink_and_a_single_dot(page):
    assert fitted(page, np.zeros((SIDE, SIDE))) is None
    dot = np.zeros((SIDE, SIDE))
    dot[5, 5] = 1
    assert fitted(page, dot).sum() == 400  # 20 × 20, in the middle
    assert fitted(page, np.ones((SIDE, SIDE))).sum() == 400


def test_other_sizes_keep_the_proportion(page):
    result = fitted(page, np.ones((SIDE, SIDE)), height=56, width=70)
    rows, columns = np.nonzero(result)
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 40
    assert (rows.min(), columns.min()) == (8, 15)
