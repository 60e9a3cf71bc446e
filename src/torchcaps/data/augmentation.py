"""How training images are varied, every random number a function of (seed, step, place in batch).

Written here, though kornia has all of it: kornia draws from torch's global generator, a whole batch
at a time. What is drawn for an image would depend on what ran before and on the number of
processes, and a run could not be continued exactly.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.data.augment import Border, apply_shift, check_shift, shift_offsets
from torchcaps.data.indexed_random import IndexedRandom
from torchcaps.errors import InputError

__all__ = ["Augmentation"]

PADDING_MODES = {"zeros": "zeros", "edge": "border", "mirror": "reflection"}  # of grid_sample
FLIP, ROTATION, BRIGHTNESS, CONTRAST, SATURATION = range(5)  # which number of an image


@dataclass(frozen=True)
class Augmentation:
    """Vary each image of a batch at random; the default changes nothing.

    Args:
        max_shift: by up to so many whole pixels up or down, and left or right.
        border: what moves in, in a shift or a rotation: "zeros", the "edge" repeated, or the
            "mirror" image of what is there.
        flip: left and right are exchanged in half of the images.
        max_rotation: about the middle, by up to so many degrees to either side (bilinear).
        jitter: brightness, contrast and (of several channels) saturation are each multiplied by
            1 − jitter to 1 + jitter, in [0, 1]; what leaves [0, 1] is cut off.

    Raises:
        InputError: a value out of range.

    Example:
        >>> images = torch.rand(8, 3, 32, 32)
        >>> vary = Augmentation(max_shift=4, border="mirror", flip=True)
        >>> last = vary(images[4:], seed=0, step=7, batch_size=8, first=4)
        >>> torch.equal(vary(images, seed=0, step=7)[4:], last)
        True
    """

    max_shift: int = 0
    border: Border = "zeros"
    flip: bool = False
    max_rotation: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.border not in PADDING_MODES:
            raise InputError(f"border is {self.border!r}; expected {', '.join(PADDING_MODES)}")
        for name, most in {"max_shift": math.inf, "max_rotation": 180, "jitter": 1}.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InputError(f"{name} is {value}; expected a number from 0 to {most}")

    def __call__(
        self,
        images: Tensor,
        *,
        seed: int,
        step: int,
        batch_size: int | None = None,
        first: int = 0,
    ) -> Tensor:
        """Vary images `[b, C, H, W]` in [0, 1], those at `first`, `first + 1`, … of a batch.

        Args:
            images: on the CPU, float32; they are not changed.
            seed, step: of the run.
            batch_size: of the whole batch, of which a process may have a part.
            first: place of the first image in it.

        Returns:
            `[b, C, H, W]`; the given images themselves where nothing is to be varied.

        Raises:
            InputError: `max_shift` would push whole images out of sight.
        """
        batch_size = len(images) if batch_size is None else batch_size
        draws = IndexedRandom("augment", seed, step * batch_size + first, len(images))
        if self.max_rotation:
            angle = draws.uniform(ROTATION, -self.max_rotation, self.max_rotation)
            images = _rotated(images, angle.float().deg2rad(), self.border)
        if self.max_shift:
            check_shift(images, self.max_shift)
            offsets = shift_offsets(batch_size, self.max_shift, seed, step)
            images = apply_shift(images, offsets[first : first + len(images)], self.border)
        if self.flip:
            flipped = draws.integers(FLIP, 2).bool()
            images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
        if self.jitter:
            images = _jittered(images, draws, self.jitter)
        return images

    def __str__(self) -> str:
        """In words, for a person who trains."""
        filled = {"zeros": "black", "edge": "their edge repeated", "mirror": "their mirror image"}
        said = []
        if self.max_shift:
            said.append(f"shifts by up to {self.max_shift} pixels ({filled[self.border]} moves in)")
        if self.flip:
            said.append("left and right exchanged in half of the images")
        if self.max_rotation:
            said.append(f"rotations by up to {self.max_rotation:g} degrees")
        if self.jitter:
            said.append(f"brightness, contrast and saturation changed by up to {self.jitter:.0%}")
        return "; ".join(said) or "none"


def _rotated(images: Tensor, angle: Tensor, border: Border) -> Tensor:
    """Turned to the left by an angle each, `[b]` in radians."""
    height, width = images.shape[2:]
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Places count from −1 to 1 over height and over width: a turn of an oblong mixes the units.
    upper = torch.stack([cos, -sin * height / width, zero], dim=1)
    lower = torch.stack([sin * width / height, cos, zero], dim=1)
    grid = F.affine_grid(
        torch.stack([upper, lower], dim=1), list(images.shape), align_corners=False
    )
    turned: Tensor = F.grid_sample(
        images, grid, padding_mode=PADDING_MODES[border], align_corners=False
    )
    return turned


def _jittered(images: Tensor, draws: IndexedRandom, jitter: float) -> Tensor:
    brightness, contrast, saturation = (
        draws.uniform(which, 1 - jitter, 1 + jitter).float().view(-1, 1, 1, 1)
        for which in (BRIGHTNESS, CONTRAST, SATURATION)
    )
    images = images * brightness
    # x → m + (x − m)·f, for the mean m of the image and for that of the pixel's channels
    images = torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, contrast)
    if images.shape[1] > 1:
        images = torch.lerp(images.mean(dim=1, keepdim=True), images, saturation)
    return images.clamp(0, 1)
