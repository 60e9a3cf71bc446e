"""Time and memory of every contender as multiples of ours, shape by shape."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from torchcaps.training.pictures.style import BLUE, GREEN, INK, WIDTH, WRONG, Path, figure

__all__ = ["draw_chart"]

COLOURS = {"broadcast": WRONG, "einsum": "#E69F00", "einsum compiled": GREEN, "torchcaps": BLUE}
LABELS = {
    "broadcast": "broadcast matmul, as in most public code",
    "einsum": "einsum",
    "einsum compiled": "einsum under torch.compile",
    "torchcaps": "torchcaps",
}


def draw_chart(rows: Sequence[Mapping[str, Any]], *, path: Path) -> None:
    """Draw forward and backward of every shape as bars: time on the left, memory on the right.

    A bar's length is the multiple of ours; the figure at its end is the time or memory itself.

    Args:
        rows: as `measure` gives them, of one device.
        path: the PNG file to write.
    """
    rows = [row for row in rows if row["direction"] == "forward+backward"]
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    height = 1.1 + 0.19 * (len(LABELS) + 1) * len(shapes)
    with figure(WIDTH, height, path=path) as page:
        page.set_layout_engine("constrained")
        left, right = page.subplots(1, 2, sharey=True)
        _bars(left, rows, shapes, "times_torchcaps", "median_ms", milliseconds)
        _bars(right, rows, shapes, "memory_times_torchcaps", "extra_mib", mebibytes)
        left.set_title("Time, forward and backward", fontweight="bold")
        right.set_title("Extra memory", fontweight="bold")
        page.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9
        )


def milliseconds(value: float) -> str:
    return f"{value / 1e3:.2g} s" if value >= 1000 else f"{value:.3g} ms"


def mebibytes(value: float) -> str:
    return f"{value / 1024:.2g} GiB" if value >= 1024 else f"{value:.3g} MiB"


def _bars(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    shapes: Sequence[str],
    ratio: str,
    quantity: str,
    shown: Any,
) -> None:
    """One panel: a group of bars for each shape, the first on top."""
    places = {
        (shape, name): -(len(LABELS) + 1) * group - place
        for group, shape in enumerate(shapes)
        for place, name in enumerate(LABELS)
    }
    for name, label in LABELS.items():
        own = [row for row in rows if row["contender"] == name and row[ratio] is not None]
        y = [places[row["shape"], name] for row in own]
        axes.barh(y, [row[ratio] for row in own], height=0.86, color=COLOURS[name], label=label)
        for row, at in zip(own, y):
            text = f" {shown(row[quantity])}"
            axes.text(row[ratio], at, text, va="center", fontsize=7, color=INK)
    measured = {(row["shape"], row["contender"]) for row in rows}
    for key, at in places.items():
        if key not in measured:
            axes.text(0, at, " not measured", va="center", fontsize=7, color=COLOURS[key[1]])
    axes.set(xlabel="times torchcaps", yticks=[places[shape, "einsum"] - 0.5 for shape in shapes])
    axes.set_yticklabels(shapes)
    axes.tick_params(axis="y", length=0)
    axes.axvline(1, color=INK, linewidth=0.6)
    axes.grid(visible=True, axis="x")
    axes.margins(x=0.16, y=0.01)
    axes.set_xlim(left=0)
