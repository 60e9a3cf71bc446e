"""The picture of `league`: the error of every network, the lowest first."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from reproduction.harness.charts import headline
from reproduction.harness.comparison import error_of
from reproduction.harness.crossed import Estimate
from reproduction.harness.experiment import Results
from reproduction.league.entrants import CNN, ENTRANTS, UNIFORM
from torchcaps.training.pictures.style import BLUE, WIDTH, WRONG, Path, figure

__all__ = ["draw_errors"]

# By the array of what is answered wrongly: the column of its share, and what the images are.
KINDS = {
    "wrong": ("test_error", "held-out images"),
    "affine_wrong": ("affine_error", "transformed ones"),
}


def draw_errors(results: Results, names: Sequence[str], *, path: Path) -> None:
    """Draw the error of every network with its interval over seeds and images, and every seed.

    Args:
        results: of the experiment.
        names: the networks, in the order to draw them in.
        path: the PNG file to write.
    """
    rows = {name: results.of(name) for name in names}
    shown = {
        kind: (column, words)
        for kind, (column, words) in KINDS.items()
        if all(row[column] is not None for own in rows.values() for row in own)
    }
    with figure(WIDTH, 1.2 + 0.3 * len(rows), path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, (kind, (column, words)) in zip(panels, shown.items()):
            for place, (name, own) in enumerate(rows.items()):
                colour = WRONG if name in (CNN, UNIFORM) else BLUE
                errors = [100 * row[column] for row in own]
                draw_line(axes, -place, errors, error_of(results, name, kind), colour)
            axes.set(xlabel=f"error on {words}, %")
            axes.grid(visible=True)
        panels[0].set_yticks(
            [-place for place in range(len(rows))], [ENTRANTS[name].label for name in rows]
        )
        headline(page, "One network, many routings; red: controls without routing")


def draw_line(
    axes: Axes, place: float, errors: Sequence[float], known: Estimate, colour: str
) -> None:
    """The errors of a network: their mean, its interval where there are three, and each."""
    axes.plot(errors, [place] * len(errors), ".", color=colour, markersize=4, alpha=0.45)
    axes.plot([100 * known.mean], [place], "o", color=colour)
    if known.seeds > 2:
        low, high = 100 * max(0.0, known.low), 100 * known.high
        axes.hlines(place, low, high, color=colour, linewidth=1.2)
