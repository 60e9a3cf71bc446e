"""Time and memory of every contender as multiples of ours, shape by shape."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from torchcaps.training.pictures.style import BLUE, GREEN, INK, QUIET, WIDTH, WRONG, Path, figure

__all__ = ["draw_chart", "slower_than"]

Rows = Sequence[Mapping[str, Any]]
COLOURS = {"broadcast": QUIET, "einsum": "#E69F00", "einsum compiled": GREEN, "torchcaps": BLUE}
LABELS = {
    "broadcast": "broadcast matmul, as in most public code",
    "einsum": "einsum",
    "einsum compiled": "einsum under torch.compile",
    "torchcaps": "torchcaps",
}
LEAST = 0.005  # ratio that is drawn: in rows, smaller ones are rounded to 0
OTHERS = tuple(name for name in LABELS if name != "torchcaps")


class Panel(NamedTuple):
    """What a panel shows: a ratio of the rows of one direction, and the quantity itself."""

    title: str
    direction: str
    ratio: str
    quantity: str


PANELS = (
    Panel("Time, forward", "forward", "times_torchcaps", "median_ms"),
    Panel("Time, forward and backward", "forward+backward", "times_torchcaps", "median_ms"),
    Panel("Extra memory, the same", "forward+backward", "memory_times_torchcaps", "extra_mib"),
)


def draw_chart(rows: Rows, *, path: Path) -> None:
    """Draw time and memory of the contenders as multiples of ours, on logarithmic axes.

    A bar goes from 1, which is torchcaps, to the multiple; the figures at its end are the multiple
    and the time or memory itself. A bar to the left, in red, is one that is better than ours.

    Args:
        rows: as `measure` gives them, of one device.
        path: the PNG file to write.
    """
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    height = 2.0 + 0.15 * (len(OTHERS) + 1) * len(shapes)
    with figure(WIDTH, height, path=path) as page:
        page.set_layout_engine("constrained")
        for axes, panel in zip(page.subplots(1, len(PANELS), sharey=True), PANELS):
            draw_panel(axes, rows, shapes, panel)
        worse = [f for p in PANELS for f in slower_than(of_direction(rows, p), p.ratio)]
        said = f"Ratios below 1: {len(worse)}; there torchcaps is not the best"
        if not worse:
            said = "No ratio is below 1"
        page.suptitle(
            f"Multiples of torchcaps. {said}.", x=0.01, ha="left", fontsize=10, fontweight="bold",
            color=WRONG if worse else INK,
        )  # fmt: skip
        handles = [Patch(color=COLOURS[name], label=LABELS[name]) for name in OTHERS]
        page.legend(handles=handles, loc="outside lower center", ncols=len(OTHERS), fontsize=8)


def slower_than(rows: Rows, ratio: str) -> list[str]:
    """Where another way takes less than torchcaps, in words.

    Args:
        rows: as `measure` gives them.
        ratio: "times_torchcaps" or "memory_times_torchcaps".
    """
    return [
        f"{row['shape']}, {row['direction']}: {row['contender']} {row[ratio]:g}"
        for row in rows
        if row["contender"] in OTHERS and row[ratio] is not None and row[ratio] < 1
    ]


def of_direction(rows: Rows, panel: Panel) -> list[Mapping[str, Any]]:
    """The rows that a panel shows."""
    return [row for row in rows if row["direction"] == panel.direction]


def draw_panel(axes: Axes, rows: Rows, shapes: Sequence[str], panel: Panel) -> None:
    """A group of bars for each shape, the first on top."""
    places = {
        (shape, name): -(len(OTHERS) + 1) * group - place
        for group, shape in enumerate(shapes)
        for place, name in enumerate(OTHERS)
    }
    found = {(row["shape"], row["contender"]): row for row in of_direction(rows, panel)}
    ratios = [row[panel.ratio] for row in found.values() if row[panel.ratio] is not None]
    lowest, largest = 0.8 * max(LEAST, min([0.5, *ratios])), max([1.0, *ratios])
    for (shape, name), y in places.items():
        row = found.get((shape, name))
        if row is None or row[panel.ratio] is None:
            axes.text(1, y, " not measured", va="center", fontsize=6, color=QUIET)
            continue
        ratio, better = max(LEAST, row[panel.ratio]), row[panel.ratio] < 1
        axes.barh(
            y, max(ratio, 1) - min(ratio, 1), left=min(ratio, 1), height=0.8,
            color=WRONG if better else COLOURS[name], hatch="////" if better else None,
        )  # fmt: skip
        shown = milliseconds if panel.quantity == "median_ms" else mebibytes
        text = f" {ratio:.3g}× ({shown(row[panel.quantity])})"
        axes.text(
            max(ratio, 1), y, text, va="center", fontsize=6, color=WRONG if better else INK,
            fontweight="bold" if better else "normal", in_layout=False,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(lowest, largest * max(100.0, largest / lowest))  # half is room for the figures
    axes.xaxis.set_major_locator(LogLocator(base=10))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if value <= largest else "")
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(panel.title, fontweight="bold", fontsize=9)
    axes.set_yticks([places[shape, "einsum"] for shape in shapes], labels=shapes, fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.axvline(1, color=BLUE, linewidth=1.2)
    axes.grid(visible=True, axis="x")
    axes.set_ylim(min(places.values()) - 0.6, 0.6)


def milliseconds(value: float) -> str:
    return f"{value / 1e3:.2g} s" if value >= 1000 else f"{value:.3g} ms"


def mebibytes(value: float) -> str:
    return f"{value / 1024:.2g} GiB" if value >= 1024 else f"{value:.3g} MiB"
