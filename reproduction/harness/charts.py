"""What the charts of several experiments share."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from reproduction.harness.statistics import summarise

__all__ = [
    "end_without_outlier",
    "headline",
    "legend_above",
    "log_scale",
    "plain_numbers",
    "series",
]

FAR = 3  # times as far from the least as all others: one value flattens the rest


def headline(page: Figure, words: str) -> None:
    """The title of a whole figure, at its left."""
    page.suptitle(words, x=0.012, ha="left", fontsize=11, fontweight="bold")


def legend_above(axes: Axes, columns: int = 2) -> None:
    """The legend between title and panel, where it can hide nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.3,
        borderpad=0,
        ncols=columns,
        columnspacing=1.2,
        handlelength=1.5,
        handletextpad=0.5,
    )


def log_scale(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers."""
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)


def plain_numbers(axis: Axis, most: int = 6) -> None:
    """Of a logarithmic axis, at some of the powers of ten, at most so many."""
    axis.set_major_locator(LogLocator(numticks=most))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def end_without_outlier(groups: Sequence[Sequence[float]]) -> float | None:
    """Where an axis should end so that one group does not flatten all others; None where none does.

    Whoever draws writes at the edge what the group has that lies beyond.

    Example:
        >>> round(end_without_outlier([[59.0, 60.0], [61.0], [90.0]]), 2)
        61.3
        >>> end_without_outlier([[1.0], [2.0], [4.0]])
    """
    *others, largest = sorted(groups, key=max)
    if not others:
        return None
    least, second = min(min(group) for group in groups), max(map(max, others))
    if min(largest) - least <= FAR * (second - least) or second == least:
        return None
    return second + 0.15 * (second - least)


def series(
    axes: Axes,
    places: Sequence[float],
    values: Sequence[Sequence[float]],
    colour: str,
    marker: str,
    label: str | None = None,
    *,
    bars: Sequence[tuple[float, float]] | None = None,
    most: float = math.inf,
) -> None:
    """Means joined by a line, every single value as a dot, and 95 % intervals as bars.

    Student's interval of two values reaches far beyond any picture: from three on it is drawn.

    Args:
        axes: where to draw.
        places: x of each group.
        values: the values of each group, one a seed, none of them negative.
        colour, marker, label: of the line.
        bars: (low, high) of each group, infinite where it is not known; default: Student's
            interval over its values.
        most: no value is greater.
    """
    if bars is None:
        none = (-math.inf, math.inf)
        bars = [
            (spread.low, spread.high) if len(group) > 2 else none
            for group, spread in zip(values, map(summarise, values))
        ]
    means = [sum(group) / len(group) for group in values]
    shown = [
        (mean - max(0.0, low), min(high, most) - mean) if math.isfinite(high) else (0.0, 0.0)
        for mean, (low, high) in zip(means, bars)
    ]
    reach = np.array(shown).T
    look: dict[str, Any] = {"capsize": 3.0 if reach.any() else 0.0, "elinewidth": 1.2}
    axes.errorbar(places, means, yerr=reach, color=colour, marker=marker, label=label, **look)
    for place, group in zip(places, values):
        if len(group) > 1:
            across = np.full(len(group), place)
            axes.plot(across, group, ".", color=colour, markersize=4, alpha=0.45)
