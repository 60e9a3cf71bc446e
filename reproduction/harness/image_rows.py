"""Rows of small pictures under each other, with two classes below each where there are two."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from torchcaps.training.pictures.style import BLUE, INK, WIDTH, WRONG
from torchcaps.training.pictures.tiles import MARGIN, sheet, write

__all__ = ["COLOURS", "ImageRow", "draw_image_rows"]

COLOURS = (BLUE, WRONG)  # of the first and the second class

# In inches.
GAP = 0.12
LINE = 0.19
SIDE = 0.86


class ImageRow(NamedTuple):
    """A row of pictures: what they are, `[N, H, W, 3]`, and the two classes below each."""

    words: str
    pixels: npt.NDArray[np.float32]
    classes: Tensor | None = None


def draw_image_rows(rows: Sequence[ImageRow], *, title: str, path: Path) -> None:
    """Draw rows of small pictures, what they are above each row, their classes below.

    Args:
        rows: rows of as many pictures each.
        title: above all.
        path: the PNG file to write.
    """
    count = len(rows[0].pixels)
    side = min(SIDE, (WIDTH - 2 * MARGIN + GAP) / count - GAP)
    width = max(6.0, count * (side + GAP) - GAP + 2 * MARGIN)
    with sheet(width, path=path) as axes:
        write(axes, MARGIN, 0.12, title, size=11, weight="bold")
        y = 0.42
        for row in rows:
            write(axes, MARGIN, y, row.words, color=INK)
            y += LINE
            for k in range(count):
                x = MARGIN + k * (side + GAP)
                extent = (x, x + side, y + side, y)
                axes.imshow(row.pixels[k], extent=extent, aspect="auto", vmin=0, vmax=1)
                if row.classes is not None:
                    write_pair(axes, x + side / 2, y + side + 0.03, row.classes[k].tolist())
            y += side + (0.1 if row.classes is None else LINE + 0.14)
        axes.set(xlim=(0.0, width), ylim=(y, 0.0))


def write_pair(axes: Axes, x: float, y: float, classes: Sequence[int]) -> None:
    """Write two classes beside each other, each in its colour."""
    for k, side in enumerate((-1, 1)):
        write(
            axes, x + 0.07 * side, y, str(classes[k]), color=COLOURS[k], weight="bold",
            ha="right" if k == 0 else "left",
        )  # fmt: skip
