"""Digits turned, sheared, stretched and moved, within the published ranges of affNIST."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.data.augment import apply_shift
from torchcaps.data.images import ImageData
from torchcaps.data.indexed_random import IndexedRandom
from torchcaps.errors import InputError
from torchcaps.plain_numbers import is_whole
from torchcaps.types import check_number

__all__ = ["AFFNIST_RANGES", "AffineRanges", "affine_images", "pad_images", "place_images"]

SIDE = 40  # pixels, in affNIST
AT_ONCE = 1000


@dataclass(frozen=True)
class AffineRanges:
    """How far images are transformed; each number is drawn evenly between −x and x, or 1 ± x.

    Attributes:
        rotation: in degrees, to either side.
        shear: pixels to the right a pixel up; 1 leans a vertical line by 45 degrees.
        scale: 0.2 is from 0.8 to 1.2 times as high, and by another draw as wide; below 1.

    Raises:
        ValueError: a number that is negative, or no number; a scale of 1 or more.
    """

    rotation: float = 20.0
    shear: float = 0.2
    scale: float = 0.2

    def __post_init__(self) -> None:
        check_number("rotation", self.rotation, least=0)
        check_number("shear", self.shear, least=0)
        check_number("scale", self.scale, least=0, most=0.99)


AFFNIST_RANGES = AffineRanges()


def affine_images(
    data: ImageData,
    seed: int = 0,
    *,
    size: int = SIDE,
    ranges: AffineRanges = AFFNIST_RANGES,
) -> ImageData:
    """Transform each image and put it at a random place of a larger one.

    Image k is first stretched, then sheared, then turned about its middle (bilinear), then moved by
    whole pixels to any of the places where none of it is lost. The transformation is a function of
    (seed, k) alone.

    This is the published recipe of affNIST, not its data: another generator drew those, and moved
    them by fractions of pixels. `read_affnist` reads the published ones.

    Args:
        data: images at most `size` pixels high and wide, light on black.
        seed: any integer; another seed gives other transformations.
        size: of the new images, a square. What does not fit is cut off at both sides alike.
        ranges: of the transformations.

    Returns:
        The images in their order, `[N, C, size, size]`, uint8.

    Raises:
        InputError: images larger than `size`.

    Reference: Tieleman (2013), the affNIST data set: rotation by up to 20 degrees, shear by up to
    0.2, vertical and horizontal scale of 0.8 to 1.2, and a translation that keeps all of the digit
    on 40×40 pixels.

    Example:
        >>> from torchcaps.data import load_data
        >>> affine_images(load_data("mnist5k").test, seed=1)
        ImageData('mnist5k, affine': 1000 images 1×40×40 uint8, 10 classes)
    """
    canvas = _canvas(_check_size(data, size), size, ranges)
    parts = []
    for start in range(0, len(data), AT_ONCE):
        chosen = torch.arange(start, min(start + AT_ONCE, len(data)))
        images, _ = data.batch(chosen)
        draws = IndexedRandom("affine", seed, start, len(chosen))
        moved = _resampled(images, _backward(draws, ranges), canvas)
        moved = (255 * moved).round().to(torch.uint8)
        moved = apply_shift(moved, _free_shifts(moved, size, draws))
        edge = (canvas - size) // 2
        parts.append(moved[..., edge : edge + size, edge : edge + size])
    return ImageData(torch.cat(parts), data.labels, data.class_names, f"{data.name}, affine")


def pad_images(data: ImageData, size: int = SIDE) -> ImageData:
    """Put each image into the middle of a larger one, `[N, C, size, size]`.

    Shifted by up to (size − H) / 2 pixels they are then anywhere on it.

    Example:
        >>> from torchcaps.data import load_data
        >>> pad_images(load_data("mnist5k").test).image_size
        (40, 40)
    """
    _check_size(data, size)
    height, width = data.image_size
    top, left = (size - height) // 2, (size - width) // 2
    edges = (left, size - width - left, top, size - height - top)
    return ImageData(F.pad(data.images, edges), data.labels, data.class_names, data.name)


def place_images(data: ImageData, seed: int = 0, *, size: int = SIDE) -> ImageData:
    """Put each image at a random place of a larger one; the place depends on (seed, k) alone.

    Example:
        >>> from torchcaps.data import load_data
        >>> place_images(load_data("mnist5k").test, seed=1)
        ImageData('mnist5k, placed': 1000 images 1×40×40 uint8, 10 classes)
    """
    _check_size(data, size)
    draws = IndexedRandom("place", seed, 0, len(data))
    height, width = data.image_size
    to_edge = torch.stack(
        [draws.integers(k, size - side + 1) for k, side in enumerate((height, width))], dim=1
    )
    images = F.pad(data.images, (0, size - width, 0, size - height))
    moved = apply_shift(images, to_edge)
    return ImageData(moved, data.labels, data.class_names, f"{data.name}, placed")


def _check_size(data: ImageData, size: int) -> int:
    """The larger side of the images."""
    largest = max(data.image_size)
    if not is_whole(size) or size < largest:
        raise InputError(
            f"size is {size!r} for images of {'×'.join(map(str, data.image_size))}; expected a "
            "whole number of pixels, no less than theirs"
        )
    return largest


def _canvas(largest: int, size: int, ranges: AffineRanges) -> int:
    """The side of a square in which no transformed image is cut, even or odd as `size`."""
    farthest = math.sqrt(2) * (1 + ranges.scale) * (1 + ranges.shear)
    canvas = max(size, math.ceil(farthest * largest) + 2)
    return canvas + (canvas - size) % 2


def _backward(draws: IndexedRandom, ranges: AffineRanges) -> Tensor:
    """`[B, 2, 2]`: from a place in the new image (right, down from its middle) to the old one."""
    angle = draws.uniform(0, -ranges.rotation, ranges.rotation).deg2rad()
    shear = draws.uniform(1, -ranges.shear, ranges.shear)
    wide, high = (draws.uniform(k, 1 - ranges.scale, 1 + ranges.scale) for k in (2, 3))
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    # With y downwards: a positive angle turns to the left, a positive shear leans to the right.
    turned = _matrices(cos, sin, -sin, cos)
    leaning = _matrices(one, -shear, zero, one)
    stretched = _matrices(wide, zero, zero, high)
    backward: Tensor = torch.linalg.inv(turned @ leaning @ stretched)
    return backward


def _matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """[[a, b], [c, d]] for each entry."""
    return torch.stack([torch.stack([a, b], dim=-1), torch.stack([c, d], dim=-1)], dim=-2)


def _resampled(images: Tensor, backward: Tensor, canvas: int) -> Tensor:
    """Images `[B, C, canvas, canvas]`, bilinear, black around."""
    height, width = images.shape[-2:]
    # `grid_sample` counts places from −1 to 1 over the image that they are in.
    scale = torch.tensor([[canvas / width], [canvas / height]], dtype=torch.float64)
    theta = F.pad(backward * scale, (0, 1)).to(images.dtype)
    shape = (len(images), images.shape[1], canvas, canvas)
    grid = F.affine_grid(theta, list(shape), align_corners=False)
    moved: Tensor = F.grid_sample(images, grid, align_corners=False)
    return moved


def _free_shifts(images: Tensor, size: int, draws: IndexedRandom) -> Tensor:
    """`[B, 2]`: a shift for each image after which its middle square of `size` holds all of it."""
    shifts = []
    for axis, which in ((2, 4), (3, 5)):
        bright = images.amax(dim=(1, 5 - axis)) > 0  # [B, canvas]
        places = torch.arange(bright.shape[1])
        first = torch.where(bright, places, bright.shape[1]).amin(dim=1)
        last = torch.where(bright, places, -1).amax(dim=1)
        edge = (bright.shape[1] - size) // 2
        least, most = edge - first, edge + size - 1 - last
        empty = ~bright.any(dim=1)
        least, most = least.masked_fill(empty, 0), most.masked_fill(empty, 0)
        room = most - least
        drawn = least + draws.integers(which, room.clamp(min=0) + 1)
        shifts.append(torch.where(room >= 0, drawn, (least + most) // 2))
    return torch.stack(shifts, dim=1)
