"""Votes that are the same for all output capsules."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torchcaps.types import check_counts, check_float_tensor, is_exporting
from torchcaps.votes.base import Votes

__all__ = ["SharedVotes"]


@dataclass(frozen=True)
class SharedVotes(Votes):
    """One vote of each input capsule for all output capsules, as of a map that they share.

    Args:
        tensor: `[..., I, D]`.
        out_caps: J.

    Raises:
        ValueError: fewer than two axes. TypeError: not a floating-point tensor.

    Example:
        >>> SharedVotes(torch.randn(2, 20, 16), out_caps=4).shape
        torch.Size([2, 20, 4, 16])
    """

    tensor: Tensor
    out_caps: int

    def __post_init__(self) -> None:
        check_float_tensor("votes", self.tensor)
        if self.tensor.dim() < 2:
            raise ValueError(f"votes must be [..., I, D], got shape {tuple(self.tensor.shape)}")
        if not is_exporting():  # a traced program's sizes are tensors
            check_counts(out_caps=self.out_caps)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.tensor.shape[:-1], self.out_caps, self.tensor.shape[-1]))

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return (self.tensor,)

    @property
    def formed(self) -> bool:
        return True

    def with_factors(self, *factors: Tensor) -> "SharedVotes":
        return replace(self, tensor=factors[0])

    def select(self, inputs: slice) -> "SharedVotes":
        return replace(self, tensor=self.tensor[..., inputs, :])

    def materialize(self) -> Tensor:
        """All votes, a view."""
        return self.tensor.unsqueeze(-2).expand(self.shape)

    def masked(self, mask: Tensor) -> "SharedVotes":
        return replace(self, tensor=self.tensor.masked_fill(~mask.unsqueeze(-1), 0))
