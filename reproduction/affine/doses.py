"""Held-out digits that were changed in one way alone, by a dose."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.data import ImageData
from torchcaps.data.augment import apply_shift
from torchcaps.data.indexed_random import IndexedRandom

__all__ = ["DOSES", "UNITS", "changed", "column_of"]

# How far; what the networks have seen is "moved" by up to 6 pixels and all else by none.
DOSES: Mapping[str, Sequence[float]] = {
    "moved": (0, 3, 6, 8, 10),
    "turned": (0, 10, 20, 30, 45, 60),
    "sheared": (0, 0.1, 0.2, 0.4, 0.6),
    "scaled": (0.6, 0.8, 1, 1.2, 1.4),
}
UNITS = {
    "moved": "pixels from the middle",
    "turned": "degrees to either side",
    "sheared": "pixels to either side a pixel up",
    "scaled": "times as large",
}


def column_of(cause: str, dose: float) -> str:
    """The name of the error in a row."""
    return f"{cause}_{dose:g}_error"


def changed(data: ImageData, cause: str, dose: float, *, size: int, moved: int) -> ImageData:
    """Each image, changed by this dose of one cause, on a larger one.

    "moved" puts it at exactly so many pixels from the middle, in the direction in which it lies
    farther; where else it lies, and the side that others lean to, are a function of its number.
    All others are then moved by up to `moved` pixels, as in training.

    Args:
        data: images, light on black.
        cause: one of `DOSES`.
        dose: in the units of `UNITS`.
        size: side of the new images.
        moved: how far images are moved in training, in pixels.

    Returns:
        `[N, C, size, size]`, uint8.

    Example:
        >>> from torchcaps.data import load_data
        >>> test = load_data("mnist5k").test
        >>> changed(test, "turned", 30, size=40, moved=6)
        ImageData('mnist5k, turned': 1000 images 1×40×40 uint8, 10 classes)
    """
    draws = IndexedRandom(f"dose {cause}", 0, 0, len(data))
    signs = 2 * draws.integers(0, 2) - 1
    images, _ = data.batch(torch.arange(len(data)))
    height, width = data.image_size
    top, left = (size - height) // 2, (size - width) // 2
    images = F.pad(images, (left, size - width - left, top, size - height - top))
    if cause == "moved":
        shifts = on_a_square(draws, int(dose))
    else:
        images = resampled(images, backward(cause, dose, signs))
        shifts = torch.stack([draws.integers(k, 2 * moved + 1) - moved for k in (1, 2)], dim=1)
    images = apply_shift((255 * images).round().to(torch.uint8), shifts)
    return ImageData(images, data.labels, data.class_names, f"{data.name}, {cause}")


def on_a_square(draws: IndexedRandom, distance: int) -> Tensor:
    """Shifts `[N, 2]` of which the larger part is the distance, evenly along that square."""
    along = draws.integers(1, 2 * distance + 1) - distance
    across = distance * (2 * draws.integers(2, 2) - 1)
    upright = draws.integers(3, 2) == 1
    return torch.where(
        upright[:, None],
        torch.stack([across, along], dim=1),
        torch.stack([along, across], dim=1),
    )


def backward(cause: str, dose: float, signs: Tensor) -> Tensor:
    """From where, `[N, 2, 2]`, a place (x, y) of the new image takes its light: inverse maps."""
    one, zero, lean = torch.ones(len(signs)), torch.zeros(len(signs)), dose * signs
    if cause == "turned":
        angle = lean * math.pi / 180
        rows = [angle.cos(), angle.sin(), -angle.sin(), angle.cos()]
    elif cause == "sheared":
        rows = [one, lean, zero, one]
    else:
        rows = [one / dose, zero, zero, one / dose]
    return torch.stack(rows, dim=1).view(-1, 2, 2)


def resampled(images: Tensor, maps: Tensor) -> Tensor:
    """Bilinear, about the middle of square images."""
    theta = torch.cat([maps, torch.zeros(len(maps), 2, 1)], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
