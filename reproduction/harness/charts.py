"""What the charts of several experiments share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from reproduction.harness.statistics import summarise

__all__ = ["headline", "legend_above", "log_scale", "series"]


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
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def series(
    axes: Axes,
    places: Sequence[float],
    values: Sequence[Sequence[float]],
    colour: str,
    marker: str,
    label: str | None = None,
    *,
    bars: Sequence[tuple[float, float]] | None = None,
) -> None:
    """Means joined by a line, every single value as a dot, and 95 % intervals as bars.

    The interval of two values reaches far beyond any picture: bars are drawn from three on.

    Args:
        axes: where to draw.
        places: x of each group.
        values: the values of each group, one a seed, none of them negative.
        colour, marker, label: of the line.
        bars: (low, high) of each group; default: Student's interval over its values.
    """
    if bars is None:
        bars = [(spread.low, spread.high) for spread in map(summarise, values)]
    means = [sum(group) / len(group) for group in values]
    shown = [
        (mean - max(0.0, low), high - mean) if len(group) > 2 else (0.0, 0.0)
        for mean, group, (low, high) in zip(means, values, bars)
    ]
    reach = np.array(shown).T
    look: dict[str, Any] = {"capsize": 3.0 if reach.any() else 0.0, "elinewidth": 1.2}
    axes.errorbar(places, means, yerr=reach, color=colour, marker=marker, label=label, **look)
    for place, group in zip(places, values):
        if len(group) > 1:
            across = np.full(len(group), place)
            axes.plot(across, group, ".", color=colour, markersize=4, alpha=0.45)
