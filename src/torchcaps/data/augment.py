"""Random shifts, as in the paper's MNIST runs, reproducible at any step."""

from typing import Literal, get_args

import torch
from torch import Tensor

from torchcaps.errors import InputError
from torchcaps.plain_numbers import is_whole
from torchcaps.seeding import mix_seed

__all__ = ["Border", "apply_shift", "random_shift", "shift_offsets"]

Border = Literal["zeros", "edge", "mirror"]


def random_shift(images: Tensor, max_shift: int, *, seed: int, step: int) -> Tensor:
    """Shift each image by its own whole number of pixels; what moves in is zero.

    The offsets depend on (seed, step) alone, so that a resumed run repeats them exactly.

    Args:
        images: [B, C, H, W], any dtype, any device.
        max_shift: the offsets (down, right) are uniform over the integers in
            [-max_shift, max_shift]²; less than H and W. 0 returns `images` itself.
        seed: the run's seed, any integer.
        step: the training step, any integer.

    Returns:
        [B, C, H, W], a new tensor (for max_shift=0 the given one).

    Raises:
        InputError: `max_shift` is negative or not less than H and W, or images is not 4-D.
        TypeError: `max_shift`, `seed` or `step` is not an integer.

    Reference:
        Sabour, Frosst, Hinton 2017, section 5: "shifted by up to 2 pixels in each direction with
        zero padding".

    Example:
        >>> images = torch.ones(2, 1, 8, 8)
        >>> shifted = random_shift(images, 2, seed=0, step=7)
        >>> torch.equal(shifted, random_shift(images, 2, seed=0, step=7))
        True
    """
    _check_images(images)
    offsets = shift_offsets(len(images), max_shift, seed, step)
    if max_shift == 0:
        return images
    check_shift(images, max_shift)
    return apply_shift(images, offsets)


def check_shift(images: Tensor, max_shift: int) -> None:
    """Raise unless some of every image stays in sight."""
    height, width = images.shape[-2:]
    if max_shift >= min(height, width):
        raise InputError(
            f"max_shift is {max_shift} for images of {height}×{width}; expected less than the "
            "smaller side, or whole images would be pushed out of sight"
        )


def shift_offsets(batch: int, max_shift: int, seed: int, step: int) -> Tensor:
    """Draw (down, right) for each image: [batch, 2] int64 on the CPU, in [-max_shift, max_shift].

    A distributed run draws for the global batch and each process takes its slice, so that the
    number of processes changes nothing.

    Raises:
        InputError: `batch` or `max_shift` is negative.
        TypeError: an argument is not an integer.

    Example:
        >>> shift_offsets(4, 2, seed=0, step=1).shape
        torch.Size([4, 2])
    """
    for name, value in {"batch": batch, "max_shift": max_shift, "seed": seed, "step": step}.items():
        if not is_whole(value):
            raise TypeError(f"{name} is {value!r}; expected an integer")
        if name in ("batch", "max_shift") and value < 0:
            raise InputError(f"{name} is {value}; expected an integer of at least 0")
    generator = torch.Generator().manual_seed(mix_seed("shift", seed, step))
    return torch.randint(-max_shift, max_shift + 1, (batch, 2), generator=generator)


def apply_shift(images: Tensor, offsets: Tensor, border: Border = "zeros") -> Tensor:
    """Shift images [B, C, H, W] by offsets [B, 2] (down, right), whole pixels.

    Args:
        images: any dtype, any device.
        offsets: an integer dtype.
        border: what moves in: zeros, the pixel at the edge again and again, or the mirror image
            of what is there (the pixel at the edge not repeated; for shifts of less than a side).

    Raises:
        InputError: the shapes do not fit, offsets are not whole numbers (an integer dtype), or
            there is no such border.

    Example:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> apply_shift(image, torch.tensor([[1, 0]])).tolist()
        [[[[0, 0], [1, 2]]]]
        >>> apply_shift(image, torch.tensor([[1, 0]]), border="edge").tolist()
        [[[[1, 2], [1, 2]]]]
    """
    _check_images(images)
    if border not in get_args(Border):
        raise InputError(f"border is {border!r}; expected {', '.join(get_args(Border))}")
    if offsets.shape != (len(images), 2) or offsets.is_floating_point() or offsets.is_complex():
        raise InputError(
            f"offsets is {offsets.dtype} of shape {list(offsets.shape)}; expected integers "
            f"[{len(images)}, 2], one (down, right) per image"
        )
    _, channels, height, width = images.shape
    offsets = offsets.to(images.device, torch.int64)
    row = torch.arange(height, device=images.device) - offsets[:, :1]  # [B, H]
    column = torch.arange(width, device=images.device) - offsets[:, 1:]  # [B, W]
    stored = images
    if border == "zeros":
        # A frame of one zero pixel: every source outside the image is clamped onto it.
        stored = torch.nn.functional.pad(images, (1, 1, 1, 1))
        row, column = row + 1, column + 1
    row, column = (
        _inside(places, side, border) for places, side in zip((row, column), stored.shape[2:])
    )
    source = row[:, :, None] * stored.shape[3] + column[:, None, :]  # [B, H, W]
    source = source.flatten(1)[:, None].expand(-1, channels, -1)  # [B, C, H·W]
    return stored.flatten(2).gather(2, source).view(images.shape)


def _inside(places: Tensor, side: int, border: Border) -> Tensor:
    """Where on a side of `side` pixels what belongs at `places` comes from."""
    if border == "mirror":
        places = (side - 1) - ((side - 1) - places.abs()).abs()
    return places.clamp(0, side - 1)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4:
        raise InputError(f"images has shape {list(images.shape)}; expected [B, C, H, W]")
