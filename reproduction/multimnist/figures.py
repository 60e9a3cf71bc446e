"""Pairs of digits and their drawings, each digit in a colour of its own (as Fig 5 of the paper)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.colors import to_rgb
from torch import Tensor

from reproduction.harness.cell import Arrays
from reproduction.harness.image_rows import COLOURS, ImageRow, draw_image_rows
from torchcaps.training.pictures.tiles import pixels_of

__all__ = ["draw_examples", "in_two_colours"]

LABELS, TOLD, ABSENT = slice(0, 2), slice(2, 4), 4  # places in `classes` and `drawings`


def in_two_colours(pair: Tensor) -> npt.NDArray[np.float32]:
    """Two grey images `[N, 2, C, H, W]` in [0, 1] as light of two colours on black, `[N, H, W, 3]`.

    Where both are bright it is nearly white.
    """
    grey = pair.float().mean(dim=2).numpy()  # [N, 2, H, W]
    light = sum(grey[:, k, :, :, None] * np.array(to_rgb(COLOURS[k])) for k in (0, 1))
    pixels: npt.NDArray[np.float32] = np.clip(light, 0, 1).astype(np.float32)
    return pixels


def draw_examples(arrays: Arrays, folder: Path) -> list[str]:
    """Draw right answers, wrong answers, and digits that are not there; the pictures as Markdown.

    Args:
        arrays: `image` [N, C, H, W], `drawings` [N, 5, C, H, W], `classes` [N, 5] (two labels, two
            answers, one that is neither) and `right` [N].
        folder: where the files go.
    """
    kept = {name: torch.from_numpy(np.asarray(arrays[name])) for name in ("classes", "right")}
    images, drawings = (
        torch.from_numpy(arrays[name]).float() / 255 for name in ("image", "drawings")
    )
    classes, right = kept["classes"], kept["right"].bool()
    lines = []
    if right.any():
        lines += draw_right(images[right], drawings[right], classes[right], folder)
    if not right.all():
        lines += draw_wrong(images[~right], drawings[~right], classes[~right], folder)
    return lines


def draw_right(images: Tensor, drawings: Tensor, classes: Tensor, folder: Path) -> list[str]:
    """Pairs that are found: drawn as what they are, and with one digit that is not there."""
    told = torch.stack([classes[:, 0], classes[:, ABSENT]], dim=1)
    other = torch.stack([drawings[:, 0], drawings[:, ABSENT]], dim=1)
    draw_image_rows(
        [
            ImageRow("the image", pixels_of(images)),
            ImageRow("the two digits that are there", in_two_colours(drawings[:, LABELS]),
                     classes[:, LABELS]),
            ImageRow("told one that is there, and one that is not", in_two_colours(other), told),
        ],
        title="Pairs that are found, drawn from the capsule of each digit alone",
        path=folder / "right.png",
    )  # fmt: skip
    return [
        "The first held-out pairs that are found. Below them one digit in each colour, drawn from "
        "its own class capsule; then the first digit with one that is not there, the most active "
        "of the other classes.",
        "![Pairs that are found, their two digits drawn apart, and digits that are not there]"
        "(right.png)",
    ]


def draw_wrong(images: Tensor, drawings: Tensor, classes: Tensor, folder: Path) -> list[str]:
    """Pairs that are not found: drawn as what they are, and as what is answered."""
    order = like_labels(classes[:, LABELS], classes[:, TOLD])
    rows = torch.arange(len(order))[:, None]
    draw_image_rows(
        [
            ImageRow("the image", pixels_of(images)),
            ImageRow("the two digits that are there", in_two_colours(drawings[:, LABELS]),
                     classes[:, LABELS]),
            ImageRow("the two answered", in_two_colours(drawings[:, TOLD][rows, order]),
                     classes[:, TOLD][rows, order]),
        ],
        title="Pairs that are not found, drawn as what they are and as what is answered",
        path=folder / "wrong.png",
    )  # fmt: skip
    return [
        "The first held-out pairs that are not found.",
        "![Pairs that are not found, drawn as labelled and as answered](wrong.png)",
    ]


def like_labels(labels: Tensor, told: Tensor) -> Tensor:
    """The order `[N, 2]` of two answers in which one that is right stands where its label does."""
    swapped = (told[:, 0] == labels[:, 1]) | (told[:, 1] == labels[:, 0])
    return torch.where(swapped[:, None], torch.tensor([1, 0]), torch.tensor([0, 1]))
