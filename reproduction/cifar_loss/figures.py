"""The picture of `cifar-loss`: the training loss of every epoch."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from reproduction.harness.charts import headline
from torchcaps.training.pictures.style import BLUE, WIDTH, WRONG, Path, figure

__all__ = ["Curves", "draw_curves"]

STYLES = {1: (WRONG, "s"), 3: (BLUE, "o")}
Curves = Mapping[int, npt.NDArray[np.float64]]  # r → margin loss [seeds, epochs]


def draw_curves(curves: Curves, *, path: Path) -> None:
    """Draw every training faintly and their mean.

    Args:
        curves: by r, [seeds, epochs].
        path: the PNG file to write.
    """
    with figure(0.75 * WIDTH, 3.4, path=path) as page:
        page.set_layout_engine("constrained")
        axes = page.subplots()
        for r, losses in curves.items():
            colour, marker = STYLES[r]
            epochs = np.arange(1, losses.shape[1] + 1)
            axes.plot(epochs, losses.T, color=colour, linewidth=0.7, alpha=0.5)
            look = marker if len(epochs) <= 40 else None
            label = f"r = {r}, mean of {len(losses)}"
            axes.plot(epochs, losses.mean(0), color=colour, marker=look, label=label)
        axes.set(xlabel="epoch", ylabel="margin loss while training")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True)
        axes.legend(loc="upper right")
        headline(page, "Training loss with one and with three routing iterations")
