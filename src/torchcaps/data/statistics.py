"""Mean and standard deviation of each channel, which a model takes off its images."""

import torch
from torch import Tensor

from torchcaps.data.images import ImageData
from torchcaps.plain_numbers import is_whole

__all__ = ["channel_statistics"]

MOST_IMAGES = 10_000  # more would change the third digit at most, and cost a reading of each file
AT_ONCE = 4_000_000  # numbers, 32 MB of float64
CONSTANT = 1e-6  # a standard deviation below this is rounding


def channel_statistics(
    data: ImageData, most: int = MOST_IMAGES
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels of each channel, over images in [0, 1].

    (x − mean) / std has mean 0 and variance 1 in every channel. Of more than `most` images a fixed
    sample is taken; a few are in memory at a time.

    Args:
        data: the images for training alone: what is held out must not be looked at.
        most: images that are looked at, at least 1.

    Returns:
        (mean, std), C numbers each, plain floats to be kept in a model's config. mean is in [0, 1].
        std is positive: 1 for a channel that is constant, which is then only centred.

    Example:
        >>> images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> channel_statistics(ImageData(images, torch.arange(2), ("dark", "light"), "toy"))
        ((0.5,), (0.5,))
    """
    if not is_whole(most) or most < 1:
        raise ValueError(f"most must be a whole number of at least 1, got {most!r}")
    chosen = torch.arange(len(data))
    if len(data) > most:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(data), generator=generator)[:most].sort().values
    height, width = data.image_size
    pixels = len(chosen) * height * width
    total = torch.zeros(data.channels, dtype=torch.float64)
    squares = torch.zeros_like(total)
    for indices in torch.split(chosen, max(1, AT_ONCE // (data.channels * height * width))):
        images = data.batch(indices)[0].to("cpu", torch.float64)
        total += images.sum(dim=(0, 2, 3))
        squares += images.square().sum(dim=(0, 2, 3))
    mean = total / pixels
    std = _root(squares / pixels - mean.square())
    return tuple(mean.tolist()), tuple(std.tolist())


def _root(variance: Tensor) -> Tensor:
    std = variance.clamp(min=0).sqrt()
    return std.masked_fill(std < CONSTANT, 1.0)
