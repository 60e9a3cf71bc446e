"""The picture of `efficiency`: error against training images, and against parameters."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from reproduction.efficiency.points import CNN, NETWORKS, ROUTED, UNIFORM, Point
from reproduction.harness.charts import headline, legend_above, log_scale, series
from reproduction.harness.comparison import error_of
from reproduction.harness.experiment import Results
from torchcaps.training.pictures.style import BLUE, GREEN, WIDTH, WRONG, Path, figure

__all__ = ["draw_errors"]

LOOKS = {ROUTED: (BLUE, "o"), UNIFORM: (GREEN, "s"), CNN: (WRONG, "D")}


def draw_errors(
    results: Results, by_images: Sequence[Point], by_width: Sequence[Point], *, path: Path
) -> None:
    """Draw the error of every network on logarithmic axes, with intervals over seeds and images.

    Args:
        results: of the experiment.
        by_images, by_width: the points of the two panels.
        path: the PNG file to write.
    """
    with figure(WIDTH, 3.8, path=path) as page:
        page.set_layout_engine("constrained")
        left, right = page.subplots(1, 2, sharey=True)
        draw_panel(left, results, by_images, lambda point: point.images)
        draw_panel(right, results, by_width, lambda point: results.of(point.name)[0]["parameters"])
        left.set(xlabel="training images", ylabel="test error, %")
        right.set(xlabel="parameters")
        legend_above(left, columns=1)
        headline(page, "One stem, with capsules and without")


def draw_panel(
    axes: Axes, results: Results, points: Sequence[Point], place: Callable[[Point], float]
) -> None:
    """A line a network."""
    for network, (label, _) in NETWORKS.items():
        own = [point for point in points if point.network == network]
        own.sort(key=place)
        rows = [results.of(point.name) for point in own]
        # A logarithmic axis has no place for zero: no mistake is drawn as half a one.
        least = [50 / of_point[0]["images"] for of_point in rows]
        errors = [
            [max(half, 100 * row["test_error"]) for row in of_point]
            for half, of_point in zip(least, rows)
        ]
        known = [error_of(results, point.name) for point in own]
        # Nor has it an interval: how rare a mistake is that nobody made is not known.
        bars = [
            (max(half, 100 * one.low), 100 * one.high) if one.error else (-math.inf, math.inf)
            for half, one in zip(least, known)
        ]
        series(axes, [place(point) for point in own], errors, *LOOKS[network], label, bars=bars)
    log_scale(axes)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True)
