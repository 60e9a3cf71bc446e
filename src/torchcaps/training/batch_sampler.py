"""Which examples a step sees, as a function of (seed, step) alone: what exact resume rests on."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from torchcaps.errors import InputError
from torchcaps.seeding import mix_seed

__all__ = ["BatchSampler"]


@dataclass(frozen=True)
class BatchSampler:
    """The examples of every batch of a run, and this process's share of them.

    Every epoch visits the examples in a new random order; the last, incomplete batch of an epoch is
    left out (other examples are, each time). Each process gets its slice of the global batch, so
    that the number of processes changes nothing but rounding (and which units drop out, in a
    network that has dropout; and the statistics of batch normalisation, which on CPUs are those
    of each process's share).

    Args:
        examples: how many there are to train on.
        batch_size: of the global batch.
        seed: of the order.
        rank, world: this process, and how many there are.
        noun: what the examples are, for messages.

    Raises:
        InputError: the batch cannot be shared by the processes, or there are too few examples.

    Example:
        >>> sampler = BatchSampler(examples=10, batch_size=4, seed=0)
        >>> sampler.steps_per_epoch, len(sampler.indices(step=7))
        (2, 4)
    """

    examples: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    noun: str = "examples"

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise InputError(
                f"--batch-size {self.batch_size} must be a multiple of the {self.world} processes"
            )
        if self.examples < self.batch_size:
            raise InputError(
                f"there are {self.examples} training {self.noun}, fewer than one batch: "
                f"take --batch-size {self.examples} or less"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return self.examples // self.batch_size

    @property
    def share_size(self) -> int:
        """Examples that this process takes of a global batch."""
        return self.batch_size // self.world

    @property
    def share(self) -> slice:
        """Which examples of a global batch this process takes."""
        return slice(self.rank * self.share_size, (self.rank + 1) * self.share_size)

    def indices(self, step: int) -> Tensor:
        """This process's examples `[b]` (int64) of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        order = epoch_order(self.seed, epoch, self.examples)
        return order[start : start + self.batch_size][self.share]


@lru_cache(maxsize=1)  # asked for at every step
def epoch_order(seed: int, epoch: int, examples: int) -> Tensor:
    """The order in which an epoch visits the examples, `[examples]`."""
    generator = torch.Generator().manual_seed(mix_seed("order", seed, epoch))
    return torch.randperm(examples, generator=generator)
