"""The picture of `league`: the error of every network, the lowest first."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from reproduction.harness.cell import Row
from reproduction.harness.charts import headline
from reproduction.harness.statistics import summarise
from reproduction.league.entrants import CNN, ENTRANTS, UNIFORM
from torchcaps.training.pictures.style import BLUE, WIDTH, WRONG, Path, figure

__all__ = ["draw_errors"]

TITLES = {"test_error": "held-out images", "affine_error": "transformed ones"}


def draw_errors(rows: Mapping[str, Sequence[Row]], *, path: Path) -> None:
    """Draw the error of every network with its interval over the seeds, and every seed.

    Args:
        rows: by network, in the order to draw them in.
        path: the PNG file to write.
    """
    shown = [
        name
        for name in TITLES
        if all(row[name] is not None for own in rows.values() for row in own)
    ]
    with figure(WIDTH, 1.2 + 0.3 * len(rows), path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, shown):
            for place, (entrant, own) in enumerate(rows.items()):
                colour = WRONG if entrant in (CNN, UNIFORM) else BLUE
                draw_line(axes, -place, [100 * row[name] for row in own], colour)
            axes.set(xlabel=f"error on {TITLES[name]}, %")
            axes.grid(visible=True)
        panels[0].set_yticks(
            [-place for place in range(len(rows))], [ENTRANTS[name].label for name in rows]
        )
        headline(page, "One network, many routings; red: controls without routing")


def draw_line(axes: Axes, place: float, errors: Sequence[float], colour: str) -> None:
    """The errors of a network: their mean, their interval where there are three, and each."""
    spread = summarise(errors)
    axes.plot(errors, [place] * len(errors), ".", color=colour, markersize=4, alpha=0.45)
    axes.plot([spread.mean], [place], "o", color=colour)
    if spread.count > 2:
        axes.hlines(place, max(0.0, spread.low), spread.high, color=colour, linewidth=1.2)
