"""The ground on which images are drawn, told from their borders."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchcaps.data.images import ImageData

__all__ = ["DARK", "LIGHT", "border_brightness", "ground_brightness", "some_images"]

DARK, LIGHT = 0.25, 0.75  # mean brightness of a border that counts as black or white paper
MOST_IMAGES = 1000
CHUNK = 32  # images held as floats at a time: they may be large
FEW = 0.01  # share of the images that may lie on another ground than the rest


def some_images(data: ImageData) -> Iterator[Tensor]:
    """All images, or of more than 1,000 as many at even distances, as batches [b, C, H, W].

    Folders list their images class by class: the first 1,000 may be those of one class.
    """
    count = min(len(data), MOST_IMAGES)
    for chosen in (torch.arange(count) * len(data) // count).split(CHUNK):
        yield data.batch(chosen)[0]


def border_brightness(images: Tensor) -> Tensor:
    """Mean of the outermost pixels of each of `[..., C, H, W]`: 0 for digits, white on black.

    Example:
        >>> border_brightness(torch.ones(2, 1, 3, 3)).tolist()
        [1.0, 1.0]
    """
    inner = images[..., 1:-1, 1:-1]
    axes = (-3, -2, -1)
    count = images[..., 0, 0, 0].numel()
    pixels = (images.numel() - inner.numel()) / count
    return (images.sum(axes) - inner.sum(axes)) / pixels


def ground_brightness(data: ImageData) -> float | None:
    """Mean brightness of the borders; None where both dark and light grounds are common.

    A network that has learned both takes an image on either as it is.
    """
    brightness = torch.cat([border_brightness(images) for images in some_images(data)])
    mean = float(brightness.mean())
    other = brightness > LIGHT if mean < DARK else brightness < DARK
    middle = DARK <= mean <= LIGHT  # of which nothing is far enough to be swapped
    return None if not middle and other.float().mean() > FEW else mean
