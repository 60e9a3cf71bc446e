"""One image and what a model says about it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from torchcaps.training.pictures.style import BLUE, PAD, WIDTH, Path, figure
from torchcaps.training.pictures.text import drawable, legible, shortened
from torchcaps.training.pictures.tiles import check_count, pixels_of

__all__ = ["draw_prediction"]


def draw_prediction(
    image: Tensor,
    reconstruction: Tensor | None,
    activation: Tensor,
    class_names: Sequence[str],
    *,
    path: Path,
    title: str,
) -> None:
    """Draw one image, its reconstruction, and how active each class is, the winner in blue.

    Classes stand in their own order. Of more than 20, only the 20 most active are drawn.

    Args:
        image: [C, H, W] in [0, 1], as the network sees it.
        reconstruction: [C, H, W] in [0, 1], or None for a model that has none.
        activation: [J] in [0, 1], the length of each class capsule (or its probability).
        class_names: the J names.
        path: the PNG file to write.
        title: a line above all, such as the name of the file.

    Raises:
        ValueError: there is not one name for each class.
    """
    check_count(len(class_names), activation=activation)
    lengths = activation.detach().cpu().float().numpy()
    chosen = np.sort(np.argsort(-lengths, kind="stable")[:20])  # NaN comes last
    pictures = {"input": image}
    if reconstruction is not None:
        pictures["reconstruction"] = reconstruction
    tall = len(chosen) > 14  # then there is room for one picture below the other
    rows: list[Any] = [[name, "bars"] for name in pictures] if tall else [[*pictures, "bars"]]
    width = WIDTH if len(rows[0]) == 3 else 6.6
    with figure(width, max(2.9, 1.1 + 0.21 * len(chosen)), path=path) as page:
        page.set_layout_engine("constrained")
        heading = shortened(drawable(title), 0.78 * width, 11)  # bold is wider
        page.suptitle(heading, x=PAD / width, ha="left", fontsize=11, fontweight="bold")
        places = page.subplot_mosaic(rows, width_ratios=[1.0] * (len(rows[0]) - 1) + [1.7])
        for name, picture in pictures.items():
            _show(places[name], name, picture)
        names = legible(class_names)
        names = [shortened(names[k], 1.4) for k in chosen]
        _bars(places["bars"], lengths[chosen], names)
        if len(chosen) < len(lengths):
            few = f"activation (the {len(chosen)} highest of {len(lengths)} classes)"
            places["bars"].set_xlabel(few)


def _show(axes: Axes, name: str, picture: Tensor) -> None:
    axes.imshow(pixels_of(picture[None])[0])
    axes.set_title(name, fontsize=10)
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set_visible(False)


def _bars(axes: Axes, lengths: npt.NDArray[Any], names: Sequence[str]) -> None:
    winner = int(np.argmax(np.nan_to_num(lengths, nan=-1)))
    rows = range(len(names))
    colours = [BLUE if k == winner else "#B8C4CC" for k in rows]
    axes.barh(rows, np.nan_to_num(lengths), color=colours, height=0.72)
    axes.set_yticks(rows, names, fontsize=9)
    axes.set(xlim=(0, 1.16), ylim=(len(names) - 0.4, -0.6), xlabel="activation")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for k, length in enumerate(lengths):
        weight = "bold" if k == winner else "normal"
        beside = max(0.0, float(np.nan_to_num(length))) + 0.015
        axes.text(beside, k, f"{length:.2f}", va="center", fontsize=8, fontweight=weight)
    axes.get_yticklabels()[winner].set(fontweight="bold", color=BLUE)
    axes.set_title(f"prediction: {names[winner]} ({lengths[winner]:.2f})", fontsize=10)
