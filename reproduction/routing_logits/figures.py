"""The picture of `routing-logits`: each quantity by iteration, early and late in training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from reproduction.harness.charts import headline, legend_above, log_scale
from reproduction.routing_logits.changes import ITERATIONS, QUANTITIES
from torchcaps.training.pictures.style import BLUE, INK, WIDTH, WRONG, Path, figure

__all__ = ["PUBLISHED", "Means", "draw_changes"]

PUBLISHED = {2: 0.007, 5: 1e-5}  # of the change of b
Means = Mapping[str, npt.NDArray[np.floating[Any]]]


def draw_changes(early: Means, late: Means, epochs: int, words: str, *, path: Path) -> None:
    """Draw each quantity by iteration, after the first epoch and after the last.

    Args:
        early, late: by quantity, one value an iteration.
        epochs: which is the last.
        words: what is said of the logits.
        path: the PNG file to write.
    """
    with figure(WIDTH, 3.4, path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(1, len(QUANTITIES), sharey=True, squeeze=False)[0]
        for axes, (name, quantity) in zip(panels, QUANTITIES.items()):
            for values, label, colour, marker in (
                (early[name], "epoch 1", WRONG, "s"),
                (late[name], f"epoch {epochs}", BLUE, "o"),
            ):
                steps = np.arange(quantity.first, quantity.first + len(values))
                axes.plot(steps, values, marker=marker, color=colour, label=label)
            if name == "logit":
                points = list(PUBLISHED), list(PUBLISHED.values())
                axes.plot(*points, "D", color=INK, fillstyle="none", label="published")
            log_scale(axes)
            axes.set(xlabel="iteration", xlim=(0.5, ITERATIONS - 0.5))
            axes.set_title(quantity.label, fontsize=10, pad=34)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(visible=True)
            legend_above(axes)
        panels[0].set_ylim(bottom=max(panels[0].get_ylim()[0], 1e-9))  # what is below is rounding
        headline(page, f"Mean change by each routing iteration: {words}")
