"""MultiMNIST: two digits of different classes, shifted and laid over each other on the fly."""

from typing import NamedTuple

import torch
from torch import Tensor

from torchcaps.data.augment import apply_shift
from torchcaps.data.images import ImageData
from torchcaps.data.indexed_random import IndexedRandom
from torchcaps.errors import InputError
from torchcaps.plain_numbers import is_whole

__all__ = ["MultiMNIST", "PairBatch"]


class PairBatch(NamedTuple):
    """Some pairs of digits.

    Attributes:
        images: `[B, C, H, W]` float32 in [0, 1], both digits.
        digits: `[B, 2, C, H, W]`, each of the two by itself, where it lies in the image.
        labels: `[B, 2]` int64, the class of each; the two differ.
    """

    images: Tensor
    digits: Tensor
    labels: Tensor

    def targets(self, num_classes: int) -> Tensor:
        """T_k of Eq 4, `[B, num_classes]`: 1 for the two classes that are present.

        Example:
            >>> batch = PairBatch(torch.zeros(1), torch.zeros(1), torch.tensor([[2, 0]]))
            >>> batch.targets(4)
            tensor([[1., 0., 1., 0.]])
        """
        shape = (len(self.labels), num_classes)
        ones = torch.ones_like(self.labels, dtype=torch.float32)
        return torch.zeros(shape, device=self.labels.device).scatter_(1, self.labels, ones)


class MultiMNIST:
    """Pairs of digits of different classes laid over each other, without end.

    Pair k is a function of (data, seed, k) alone, so that nothing has to be stored, and a training
    that goes on from any step sees what it would have seen. The first digit of a pair is any of the
    data; the second is any of those of other classes; each is shifted by its own whole number of
    pixels to each side; the two are added and cut off at 1.

    Args:
        data: the digits, of at least two classes. Take pairs to learn from and pairs to be judged
            on from different parts of the data.
        seed: any integer; another seed gives other pairs.
        max_shift: shifts (down, right) are uniform over the integers in [−max_shift, max_shift]².
            4 in the paper; 6 in the authors' script.
        padding: pixels that are added at each edge first: 28×28 becomes 36×36. Where max_shift is
            more, a digit may be cut off at the edge; of MNIST's, which have an empty rim, 6 cuts
            one in a hundred, and of that less than a tenth of its ink.

    Raises:
        InputError: the data hold one class, or a number is negative.

    Reference: Sabour, Frosst, Hinton (2017), §6.1.

    Example:
        >>> from torchcaps.data import load_data
        >>> pairs = MultiMNIST(load_data("mnist5k").train, seed=1)
        >>> images, digits, labels = pairs.batch(0, 8)
        >>> images.shape, digits.shape
        (torch.Size([8, 1, 36, 36]), torch.Size([8, 2, 1, 36, 36]))
        >>> torch.equal(digits.sum(1).clamp(max=1), images)
        True
        >>> torch.equal(pairs.batch(5, 1).images, images[5:6])
        True
    """

    def __init__(
        self, data: ImageData, seed: int = 0, *, max_shift: int = 4, padding: int = 4
    ) -> None:
        for name, value in {"max_shift": max_shift, "padding": padding}.items():
            if not is_whole(value):
                raise TypeError(f"{name} is {value!r}; expected an integer")
            if value < 0:
                raise InputError(f"{name} is {value}; expected an integer of at least 0")
        self.data, self.seed, self.max_shift, self.padding = data, seed, max_shift, padding
        if data.multi_label:
            raise InputError(
                f"images of {data.name!r} show several classes each; expected one class an image, "
                "to lay two of them over each other"
            )
        labels = data.labels.cpu()
        # Ordered by class, the images of the other classes are all but one range of places.
        self._by_class = labels.argsort(stable=True)
        self._sizes = labels.bincount(minlength=data.num_classes)
        self._starts = self._sizes.cumsum(0) - self._sizes
        if int((self._sizes > 0).sum()) < 2:
            raise InputError(
                f"every image of {data.name!r} is of one class; a pair needs two different ones"
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of a pair."""
        height, width = self.data.image_size
        return height + 2 * self.padding, width + 2 * self.padding

    def places(self, start: int, count: int) -> Tensor:
        """Which two of the data make the pairs number `start` to `start + count − 1`, `[B, 2]`."""
        return self._places(IndexedRandom("pairs", self.seed, start, count))

    def _places(self, draws: IndexedRandom) -> Tensor:
        first = draws.integers(0, len(self.data))
        own = self.data.labels.cpu()[first]
        place = draws.integers(1, len(self.data) - self._sizes[own])
        place += torch.where(place >= self._starts[own], self._sizes[own], 0)
        return torch.stack([first, self._by_class[place]], dim=1)

    def batch(self, start: int, count: int) -> PairBatch:
        """The pairs number `start` to `start + count − 1`, on the device of the data."""
        draws = IndexedRandom("pairs", self.seed, start, count)
        chosen = self._places(draws).flatten()  # [2B]
        span = 2 * self.max_shift + 1
        shifts = torch.stack([draws.integers(k, span) for k in (2, 3, 4, 5)], dim=1)
        chosen, shifts = (part.to(self.data.labels.device) for part in (chosen, shifts))
        padded = torch.nn.functional.pad(self.data.subset(chosen).images, 4 * (self.padding,))
        digits = apply_shift(padded, shifts.view(-1, 2) - self.max_shift)
        digits = digits.view(count, 2, *digits.shape[1:])
        if digits.dtype == torch.uint8:
            digits = digits.to(torch.float32).div_(255)
        labels = self.data.labels[chosen].view(count, 2)
        return PairBatch(digits.sum(dim=1).clamp_(max=1), digits, labels)
