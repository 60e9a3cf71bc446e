"""Which images a step sees, as a function of (seed, step) alone: what exact resume rests on."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from torchcaps.data import ImageData, apply_shift, shift_offsets
from torchcaps.errors import InputError
from torchcaps.seeding import mix_seed

__all__ = ["Batches"]


@dataclass(frozen=True)
class Batches:
    """The training batches of a run.

    Every epoch visits the images in a new random order; the last, incomplete batch of an epoch is
    left out (other images are, each time). Each process gets its slice of the global batch, so that
    the number of processes changes nothing but rounding (and which units drop out, in a network
    that has dropout).

    Args:
        data: the training images.
        batch_size: of the global batch.
        seed: of order and shifts.
        max_shift: in pixels, 0 for none.
        rank, world: this process, and how many there are.
    """

    data: ImageData
    batch_size: int
    seed: int
    max_shift: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise InputError(
                f"--batch-size {self.batch_size} must be a multiple of the {self.world} processes"
            )
        if len(self.data) < self.batch_size:
            raise InputError(
                f"there are {len(self.data)} training images, fewer than one batch: "
                f"take --batch-size {len(self.data)} or less"
            )
        if self.max_shift >= min(self.data.image_size):
            raise InputError(
                f"--max-shift {self.max_shift} would push whole images of "
                f"{'×'.join(map(str, self.data.image_size))} out of sight: "
                f"take {min(self.data.image_size) - 1} or less"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return len(self.data) // self.batch_size

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's images `[b, C, H, W]` and labels `[b]` of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        share = self.batch_size // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        order = epoch_order(self.seed, epoch, len(self.data))
        images, labels = self.data.batch(order[start : start + self.batch_size][mine])
        if self.max_shift:
            offsets = shift_offsets(self.batch_size, self.max_shift, seed=self.seed, step=step)
            images = apply_shift(images, offsets[mine])
        return images, labels


@lru_cache(maxsize=1)  # asked for at every step
def epoch_order(seed: int, epoch: int, images: int) -> Tensor:
    """The order in which an epoch visits the images, `[images]`."""
    generator = torch.Generator().manual_seed(mix_seed("order", seed, epoch))
    return torch.randperm(images, generator=generator)
