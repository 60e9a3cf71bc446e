"""Bring images to a size and a number of channels."""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from torchcaps.data.images import ImageData
from torchcaps.data.memory_check import check_fits
from torchcaps.errors import InputError

__all__ = ["resize"]

CHUNK = 2048  # images brought to a size at a time, fewer of large ones: it bounds the memory
PIXELS = 2**24  # of a chunk, before and after


def resize(data: ImageData, image_size: tuple[int, int] | None, channels: int | None) -> ImageData:
    """The same images at (H, W) and with 1 or 3 channels; None leaves that as it is.

    Resizing is bicubic with antialiasing, which for uint8 agrees with pillow's BICUBIC (used when
    image files are read) to one grey level. RGB becomes grey by the weights of ITU-R 601-2.

    Raises:
        InputError: the images have neither 1 nor 3 channels and `channels` asks for others; or they
            do not fit into memory.

    Example:
        >>> data = ImageData(torch.zeros(2, 3, 8, 8), torch.arange(2), ("a", "b"), "toy")
        >>> resize(data, (4, 6), 1)
        ImageData('toy': 2 images 1×4×6 float32, 2 classes)
    """
    channels = data.channels if channels is None else channels
    if channels != data.channels:
        if channels not in (1, 3):
            raise InputError(
                f"{data.name}: channels is {channels}, and its images have {data.channels}; "
                "expected as many as they have, or 1 (grey) or 3 (RGB)"
            )
        if data.channels not in (1, 3):
            raise InputError(
                f"{data.name}: the images have {data.channels} channels, so channels={channels} "
                "cannot be met; store 1 (grey) or 3 (RGB), or leave out channels"
            )
    size = image_size or data.image_size
    if (channels, size) == (data.channels, data.image_size):
        return data
    images = data.images
    shape = (len(images), channels, *size)
    # Twice: of the training images those that are not for validation are copied out.
    check_fits(
        2 * math.prod(shape) * images.element_size(),
        f"{data.name}: {len(images)} images of {channels}×{size[0]}×{size[1]}, and a copy,",
        "choose a smaller --image-size (image_size in Python)",
    )
    brought = torch.empty(shape, dtype=images.dtype)
    most = PIXELS // max(math.prod(shape[1:]), math.prod(images.shape[1:]))
    for chosen in torch.arange(len(images)).split(max(1, min(CHUNK, most))):
        part = slice(int(chosen[0]), int(chosen[-1]) + 1)
        brought[part] = _brought(images[part], channels, size)
    return ImageData(brought, data.labels, data.class_names, data.name)


def _brought(images: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    if channels != images.shape[1]:
        images = _to_grey(images) if channels == 1 else images.expand(-1, 3, -1, -1).contiguous()
    return images if images.shape[2:] == size else _resize(images, size)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    # A single pixel in several channels looks like channels_last, and torch trips over it.
    if images.shape[1] > 1 and 1 in (*size, *images.shape[-2:]):
        flat = images.reshape(-1, 1, *images.shape[-2:])
        return _resize(flat, size).reshape(*images.shape[:2], *size)
    resized: Tensor = interpolate(images, size=size, mode="bicubic", antialias=True)
    return resized if images.dtype == torch.uint8 else resized.clamp_(0, 1)


def _to_grey(images: Tensor) -> Tensor:
    red, green, blue = (images[:, c : c + 1] for c in range(3))
    if images.dtype != torch.uint8:
        return (0.299 * red + 0.587 * green + 0.114 * blue).clamp_(0, 1)
    # pillow's integer arithmetic, so that a PNG and an array of the same image agree
    total = red.int() * 19595 + green.int() * 38470 + blue.int() * 7471
    return (total + 0x8000 >> 16).to(torch.uint8)
