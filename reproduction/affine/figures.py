"""Digits that were only moved beside transformed ones, and the errors on both while training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from reproduction.affine.doses import DOSES, UNITS, column_of
from reproduction.harness.cell import Arrays, Row
from reproduction.harness.charts import headline, legend_above
from reproduction.harness.comparison import Comparison
from reproduction.harness.image_rows import ImageRow, draw_image_rows
from torchcaps.training.pictures.style import BLUE, GREEN, INK, PINK, QUIET, WIDTH, WRONG, figure
from torchcaps.training.pictures.tiles import pixels_of

__all__ = ["draw_curves", "draw_digits", "draw_doses"]

MOST_MOVED = 6  # pixels, in training
Curves = Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
STYLES = {
    "cnn": (INK, "D"), "r1": (WRONG, "s"), "r3": (BLUE, "o"),
    "em": (GREEN, "^"), "self_routing": (PINK, "v"), "attention": (QUIET, "P"),
}  # fmt: skip


def draw_digits(arrays: Arrays, path: Path) -> None:
    """Draw held-out digits as they were trained on, and transformed.

    Args:
        arrays: `shown_moved` and `shown_transformed`, uint8 [N, C, H, W].
        path: the PNG file to write.
    """
    words = {"shown_moved": "only moved, as in training", "shown_transformed": "transformed"}
    draw_image_rows(
        [
            ImageRow(said, pixels_of(torch.from_numpy(arrays[name]).float() / 255))
            for name, said in words.items()
        ],
        title="The same held-out digits, moved and transformed",
        path=path,
    )


def draw_doses(
    comparisons: Mapping[str, Comparison], rows: Mapping[str, Sequence[Row]], path: Path
) -> None:
    """Draw the error against the dose, a panel for each cause; bars from the lowest seed to the
    highest.

    Args:
        comparisons: the networks.
        rows: of each.
        path: the PNG file to write.
    """
    with figure(WIDTH, 6.4, path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(2, 2, sharey=True).flatten()
        for axes, (cause, doses) in zip(panels, DOSES.items()):
            for name, one in comparisons.items():
                colour, marker = STYLES[name]
                found = [
                    [100 * row[column_of(cause, dose)] for row in rows[name]] for dose in doses
                ]
                means = [sum(own) / len(own) for own in found]
                ends = [[m - min(own), max(own) - m] for m, own in zip(means, found)]
                axes.errorbar(
                    doses, means, np.array(ends).T, color=colour, marker=marker, markersize=4,
                    linewidth=1, label=one.label,
                )  # fmt: skip
            axes.set(xlabel=f"{cause}, {UNITS[cause]}", yscale="log")
            axes.yaxis.set_major_locator(FixedLocator((0.5, 1, 2, 5, 10, 20, 50, 90)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.grid(visible=True)
        panels[0].axvline(MOST_MOVED, color=INK, linestyle=":", linewidth=1.2)
        for axes in panels[::2]:
            axes.set_ylabel("error, %")
        handles, labels = panels[0].get_legend_handles_labels()
        page.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        headline(page, "Digits changed in one way alone; dotted: how far training moved them")


def draw_curves(
    comparisons: Mapping[str, Comparison], curves: Mapping[str, Curves], level: float, path: Path
) -> None:
    """Draw, for each training, the error on transformed digits over that on moved ones.

    Args:
        comparisons: the networks.
        curves: for each training of a network, its accuracies look by look on moved and on
            transformed digits kept aside.
        level: the accuracy at which networks are compared.
        path: the PNG file to write.
    """
    with figure(WIDTH, 4.2, path=path) as page:
        page.set_layout_engine("constrained")
        axes = page.subplots()
        for name, one in comparisons.items():
            colour, marker = STYLES[name]
            for k, (moved, transformed) in enumerate(curves[name]):
                axes.plot(
                    100 * (1 - moved), 100 * (1 - transformed), color=colour, marker=marker,
                    markersize=3, linewidth=0.8, alpha=0.8, label=one.label if k == 0 else None,
                )  # fmt: skip
        axes.axvline(100 * (1 - level), color=INK, linestyle=":", linewidth=1.2, label="level")
        if all(moved.max() < 1 for own in curves.values() for moved, _ in own):  # no zero error
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator((0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set(
            xlabel="error on digits that are only moved, %", ylabel="error on transformed digits, %"
        )
        axes.invert_xaxis()
        axes.grid(visible=True)
        legend_above(axes, columns=4)
        headline(page, "Errors on training digits kept aside, while training goes on")
