"""Which class is taken for which."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from torchcaps.training.pictures.style import INK, WRONG, Path, figure
from torchcaps.training.pictures.text import legible, shortened, thousands, width_of

__all__ = ["draw_confusion"]

SHADES = LinearSegmentedColormap.from_list("mistakes", ["#FFFFFF", "#FDC58F", WRONG, "#7A2E00"])
DIAGONAL = "#CFD8DE"


def draw_confusion(matrix: Tensor, class_names: Sequence[str], *, path: Path) -> None:
    """Draw which class is taken for which: one row a true class, one column a predicted one.

    A cell's colour is the share of the row's examples that were predicted so, right answers left
    out (grey), so that mistakes are seen beside a full diagonal; the scale follows the square root.
    The diagonal is framed where no example of a class was answered right. Up to 20 classes the
    counts stand in the cells.

    Args:
        matrix: [J, J] counts ≥ 0, rows true, columns predicted.
        class_names: the J names.
        path: the PNG file to write.

    Raises:
        ValueError: `matrix` is not [J, J] with one name for each class.
    """
    classes = len(class_names)
    if matrix.shape != (classes, classes) or not classes:
        raise ValueError(f"matrix is {list(matrix.shape)}, but there are {classes} class names")
    counts = matrix.detach().cpu().numpy().astype(np.int64)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    mistakes = np.ma.masked_array(shares, mask=np.eye(classes, dtype=bool))
    # At 1 % or less the scale would show noise in full colour.
    norm = PowerNorm(0.5, vmin=0, vmax=max(1.0, float(mistakes.filled(0).max())))
    side = min(2.2 + 0.3 * classes, 6.6) if classes < 78 else min(0.085 * classes, 14.0)
    with figure(side, side, path=path) as page:
        axes, bar_axes = _axes(page, legible(class_names), side)
        colours = SHADES.with_extremes(bad=DIAGONAL)
        image = axes.imshow(mistakes, cmap=colours, norm=norm, interpolation="nearest")
        bar = page.colorbar(image, cax=bar_axes, ticks=MaxNLocator(5))
        bar.set_label("mistakes, % of the true class")
        bar.outline.set_visible(False)
        _frame_never_right(axes, counts, side)
        if classes <= 20:
            _write_counts(axes, counts, (norm(mistakes) > 0.6).filled(False), side)
        total = int(counts.sum())
        right = f", accuracy {100 * counts.trace() / total:.2f} %" if total else ""
        axes.set_title(f"{thousands(total)} example{'' if total == 1 else 's'}{right}", pad=24)
        if total:
            axes.annotate(
                _beside_accuracy(counts), (0, 1), (0, 7), "axes fraction", "offset points", size=9
            )


def _axes(page: Figure, names: Sequence[str], side: float) -> tuple[Axes, Axes]:
    """Axes for a square of `side` inches with a name at rows and columns, and for its colour bar.

    Names are as small as must be; beyond 200 classes or so not every one is written. The figure
    takes the size that all of this needs.
    """
    cell = 72 * side / len(names)  # in points
    size = min(9.0, max(4.0, 0.8 * cell))
    every = math.ceil(1.2 * size / cell)
    short = [shortened(name, max(1.3, 0.2 * side), size) for name in names[::every]]
    longest = max(width_of(name, size) for name in short)
    upright = 72 * longest < 0.9 * cell * every
    left, bottom = longest + 0.43, (0.15 if upright else longest) + 0.38
    width, height = left + side + 0.9, bottom + side + 0.6
    page.set_size_inches(width, height)

    def place(x: float, y: float, wide: float, high: float) -> Axes:
        return page.add_axes((x / width, y / height, wide / width, high / height))

    axes = place(left, bottom, side, side)
    bar_axes = place(left + side + 0.15, bottom + 0.15 * side, 0.13, 0.7 * side)
    ticks = range(0, len(names), every)
    axes.set_xticks(ticks, short, rotation=0 if upright else 90, fontsize=size)
    axes.set_yticks(ticks, short, fontsize=size)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.xaxis.set_label_coords(0.5, (0.1 - bottom) / side)
    axes.xaxis.label.set_verticalalignment("bottom")
    axes.yaxis.set_label_coords((0.1 - left) / side, 0.5)
    axes.yaxis.label.set_verticalalignment("top")
    axes.spines[:].set_visible(False)
    if len(names) <= 60:
        between = np.arange(len(names) - 1) + 0.5
        axes.set_xticks(between, minor=True)
        axes.set_yticks(between, minor=True)
        axes.grid(visible=True, which="minor", linewidth=min(0.6, cell / 30))
    axes.tick_params(which="both", length=0, pad=3)
    return axes, bar_axes


def _beside_accuracy(counts: npt.NDArray[np.int64]) -> str:
    """What the accuracy is to be seen beside where classes are of unequal size."""
    images = counts.sum(1)
    recalls = counts.diagonal()[images > 0] / images[images > 0]
    largest = 100 * images.max() / images.sum()
    return f"balanced {100 * recalls.mean():.2f} %, always the largest class {largest:.2f} %"


def _frame_never_right(axes: Axes, counts: npt.NDArray[np.int64], side: float) -> None:
    """A frame on the diagonal for each class with examples of which none was answered right."""
    thickness = min(2.5, max(0.7, 8 * side / len(counts)))
    for k in np.flatnonzero((counts.diagonal() == 0) & (counts.sum(1) > 0)):
        axes.add_patch(
            Rectangle(
                (k - 0.5, k - 0.5), 1, 1,
                fill=False, edgecolor=WRONG, linewidth=thickness, clip_on=False,
            )
        )  # fmt: skip


def _write_counts(
    axes: Axes, counts: npt.NDArray[np.int64], dark: npt.NDArray[np.bool_], side: float
) -> None:
    """The number of each cell, white on a dark one, pale when it is 0."""
    digits = len(str(counts.max()))
    size = min(10.0, 72 * side / len(counts) / (0.72 * (digits + 0.6)))
    for (i, j), count in np.ndenumerate(counts):
        colour = "white" if dark[i, j] else INK if count else "#BFBFBF"
        axes.text(j, i, str(count), ha="center", va="center", fontsize=size, color=colour)
