"""The picture of `dimensions`: the strongest effect on each measure."""

import numpy as np
import numpy.typing as npt

from reproduction.dimensions.shape_measures import MEASURES
from reproduction.dimensions.tweaks import TWEAKS
from reproduction.harness.charts import headline
from torchcaps.training.pictures.style import WIDTH, Path, figure

__all__ = ["draw_tweaks", "most_changed"]

Array = npt.NDArray[np.generic]


def most_changed(effects: Array) -> list[tuple[int, int]]:
    """(class, dimension) with the strongest effect on each measure, from [J, D, M]."""
    sizes = np.abs(effects)
    places = [
        np.unravel_index(int(sizes[..., m].argmax()), sizes.shape[:2]) for m in range(len(MEASURES))
    ]
    return [(int(k), int(d)) for k, d in places]


def draw_tweaks(effects: Array, examples: Array, *, path: Path) -> None:
    """Draw, for each measure, the class and dimension with the strongest effect on it.

    Args:
        effects: [J, D, M].
        examples: [J, M, 11, H, W], a class's drawings along its strongest dimension for a measure,
            in 256 shades.
        path: the PNG file to write.
    """
    places = most_changed(effects)
    with figure(WIDTH, 0.62 * len(MEASURES) + 0.95, path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(len(MEASURES), 1, squeeze=False)[:, 0]
        for m, (axes, name) in enumerate(zip(panels, MEASURES)):
            k, d = places[m]
            strip = np.concatenate(list(examples[k, m]), axis=1)
            axes.imshow(strip, cmap="gray", vmin=0, vmax=255)
            width = strip.shape[1] / len(TWEAKS)
            ticks = (np.arange(len(TWEAKS)) + 0.5) * width
            last = axes is panels[-1]
            axes.set_xticks(ticks, [f"{t:+.2f}" if last else "" for t in TWEAKS.tolist()])
            axes.set_yticks([])
            words = f"{name}\nclass {k}, dimension {d + 1}"
            axes.set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
        panels[-1].set_xlabel("added to the dimension")
        headline(page, "One dimension of a class capsule changed: strongest effects on a measure")
