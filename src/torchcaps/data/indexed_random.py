"""Random numbers of the item with a number: the same whichever items are drawn before it."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchcaps.errors import InputError
from torchcaps.plain_numbers import is_whole
from torchcaps.seeding import mix_seed

__all__ = ["IndexedRandom"]

BLOCK = 4  # numbers that Philox gives at each count
BLOCKS = 2


class IndexedRandom:
    """Eight random numbers of 64 bits for each of the items `start`, `start + 1`, …

    Those of an item depend on what they are for, the seed and the item's number alone: Philox, a
    generator that counts and mixes, is asked to begin at that item's count.

    Args:
        purpose: two purposes have nothing in common, whatever the seed.
        seed: any integer.
        start: number of the first item, from 0.
        count: of items.

    Raises:
        InputError: `start` or `count` is negative. TypeError: one of them is not an integer.

    Reference: Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.

    Example:
        >>> ten, last = IndexedRandom("example", 0, 0, 10), IndexedRandom("example", 0, 9, 1)
        >>> int(ten.integers(0, 100)[9]) == int(last.integers(0, 100)[0])
        True
    """

    def __init__(self, purpose: str, seed: int, start: int, count: int) -> None:
        for name, value in {"seed": seed, "start": start, "count": count}.items():
            if not is_whole(value):
                raise TypeError(f"{name} is {value!r}; expected an integer")
            if name != "seed" and value < 0:
                raise InputError(f"{name} is {value}; expected an integer of at least 0")
        philox = np.random.Philox(key=mix_seed(purpose, seed), counter=BLOCKS * start)
        self._bits = philox.random_raw(BLOCK * BLOCKS * count).reshape(count, BLOCK * BLOCKS)

    def integers(self, which: int, choices: int | Tensor) -> Tensor:
        """Number `which` (0 to 7) of each item as an integer from 0 to choices − 1, `[count]`.

        Args:
            which: each gives other numbers.
            choices: how many there are, less than 2³²; or `[count]`, for each item its own.
        """
        most = choices.numpy().astype(np.uint64) if isinstance(choices, Tensor) else choices
        # The upper 32 bits as a fraction: uneven by less than one in 2³² / choices.
        upper: npt.NDArray[np.uint64] = self._bits[:, which] >> np.uint64(32)
        drawn = (upper * np.asarray(most, np.uint64)) >> np.uint64(32)
        return torch.from_numpy(drawn.astype(np.int64))

    def uniform(self, which: int, low: float, high: float) -> Tensor:
        """Number `which` (0 to 7) of each item in [low, high), float64 `[count]`."""
        fraction = (self._bits[:, which] >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return torch.from_numpy(low + (high - low) * fraction)
