"""The picture of `routing-logits`: by iteration, early and late in training, for both kinds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from reproduction.harness.charts import headline, log_scale
from reproduction.routing_logits.changes import ITERATIONS, QUANTITIES
from torchcaps.training.pictures.style import BLUE, INK, WIDTH, WRONG, Path, figure

__all__ = ["PUBLISHED", "Kind", "Means", "draw_changes"]

PUBLISHED = {2: 0.007, 5: 1e-5}  # of the change of b
Means = Mapping[str, npt.NDArray[np.floating[Any]]]


class Kind(NamedTuple):
    """What is said of the logits, and the means after the first epoch and after the last."""

    words: str
    early: Means
    late: Means


def draw_changes(
    kinds: Sequence[Kind], epochs: int, *, published: Mapping[int, float], path: Path
) -> None:
    """Draw each quantity by iteration, a row a kind of logits.

    Args:
        kinds: the means are by quantity, one value an iteration.
        epochs: which is the last.
        published: the change of b by iteration; empty where nothing is published.
        path: the PNG file to write.
    """
    with figure(WIDTH, 0.6 + 2.5 * len(kinds), path=path) as page:
        page.set_layout_engine("constrained")
        grid = page.subplots(len(kinds), len(QUANTITIES), sharex=True, sharey=True, squeeze=False)
        for panels, kind in zip(grid, kinds):
            for axes, (name, quantity) in zip(panels, QUANTITIES.items()):
                for values, label, colour, marker in (
                    (kind.early[name], "epoch 1", WRONG, "s"),
                    (kind.late[name], f"epoch {epochs}", BLUE, "o"),
                ):
                    steps = np.arange(quantity.first, quantity.first + len(values))
                    axes.plot(steps, values, marker=marker, color=colour, label=label)
                if name == "logit" and published:
                    points = list(published), list(published.values())
                    axes.plot(*points, "D", color=INK, fillstyle="none", label="published")
                log_scale(axes)
                axes.set(xlim=(0.5, ITERATIONS - 0.5))
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                axes.grid(visible=True)
            panels[0].set_ylabel(kind.words)
        for axes, quantity in zip(grid[0], QUANTITIES.values()):
            axes.set_title(quantity.label, fontsize=10)
        for axes in grid[-1]:
            axes.set_xlabel("iteration")
        least = grid[0, 0].get_ylim()[0]
        grid[0, 0].set_ylim(bottom=max(least, 1e-9))  # what is below is rounding
        lines, labels = grid[0, 0].get_legend_handles_labels()
        page.legend(lines, labels, loc="outside lower center", ncols=len(lines))
        headline(page, "Mean change by each routing iteration")
