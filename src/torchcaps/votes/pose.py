"""Poses without votes, for a routing that makes its votes itself."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torchcaps.types import check_counts, check_float_tensor, is_exporting
from torchcaps.votes.base import Votes

__all__ = ["PoseVotes"]


@dataclass(frozen=True)
class PoseVotes(Votes):
    """Poses that vote for nobody: what is routed where the routing makes its votes itself.

    Its votes are zeros, which take no memory.

    Args:
        pose: `[..., I, P]`.
        out_caps: J.
        out_dim: D.
        count: how many input capsules count, `[...]`; default: all of them.

    Example:
        >>> votes = PoseVotes(torch.randn(2, 6, 8), out_caps=10, out_dim=16)
        >>> votes.shape, votes.materialize().untyped_storage().nbytes()
        (torch.Size([2, 6, 10, 16]), 4)
    """

    pose: Tensor
    out_caps: int
    out_dim: int
    count: Tensor | None = None

    def __post_init__(self) -> None:
        check_float_tensor("pose", self.pose)
        if not is_exporting():  # a traced program's sizes are tensors
            check_counts(out_caps=self.out_caps, out_dim=self.out_dim)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.pose.shape[:-1], self.out_caps, self.out_dim))

    @property
    def in_pose(self) -> Tensor:
        return self.pose

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return (self.pose,)

    def with_factors(self, *factors: Tensor) -> "PoseVotes":
        return replace(self, pose=factors[0])

    def select(self, inputs: slice) -> "PoseVotes":
        return replace(self, pose=self.pose[..., inputs, :], count=self.counted())

    def materialize(self) -> Tensor:
        return self.pose.new_zeros(()).expand(self.shape)

    def masked(self, mask: Tensor) -> "PoseVotes":
        pose = self.pose.masked_fill(~mask.unsqueeze(-1), 0)
        return replace(self, pose=pose, count=mask.sum(dim=-1))

    def counted(self) -> Tensor:
        """How many input capsules count, `[...]`."""
        if self.count is not None:
            return self.count
        shape = self.pose.shape
        return self.pose.new_full(shape[:-2], shape[-2], dtype=torch.int64)
