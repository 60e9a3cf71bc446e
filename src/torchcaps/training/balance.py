"""Every class as often as every other, however few examples it has."""

from functools import lru_cache

import torch
from torch import Tensor

from torchcaps.seeding import mix_seed

__all__ = ["BalancedClasses"]


class BalancedClasses:
    """Examples that stand in for those of an epoch, so that each class comes equally often.

    Of J classes that have examples, class k stands at the positions k, k + J, k + 2J, … of an
    epoch's N positions, with its own examples in an order that is new in every epoch: of a large
    class some are left out, those of a small one come several times.

    Args:
        labels: `[N]`, the classes of the examples.

    Reference: random oversampling, which Buda, Maki, Mazurowski (2018), A systematic study of the
    class imbalance problem in convolutional neural networks, found best nearly everywhere.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 1])
        >>> balanced = BalancedClasses(labels)
        >>> labels[balanced(torch.arange(6), seed=0, epoch=0)].tolist()
        [0, 1, 0, 1, 0, 1]
    """

    def __init__(self, labels: Tensor) -> None:
        labels = labels.cpu()
        self._members = [(labels == k).nonzero().flatten() for k in torch.unique(labels).tolist()]
        self._order = lru_cache(maxsize=1)(self._examples)  # asked for at every step

    def __call__(self, positions: Tensor, seed: int, epoch: int) -> Tensor:
        """The examples at positions `[b]` (0 to N − 1) of an epoch, `[b]`."""
        return self._order(seed, epoch)[positions]

    def _examples(self, seed: int, epoch: int) -> Tensor:
        count = sum(map(len, self._members))
        each = -(-count // len(self._members))
        generator = torch.Generator().manual_seed(mix_seed("balance", seed, epoch))
        columns = []
        for members in self._members:
            order = members[torch.randperm(len(members), generator=generator)]
            columns.append(order[torch.arange(each) % len(members)])
        return torch.stack(columns, dim=1).flatten()[:count]
