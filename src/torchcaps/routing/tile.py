"""What some of the input capsules bring to routing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from torchcaps.votes import Votes

__all__ = ["Problem", "Tile"]


@dataclass(frozen=True)
class Tile:
    """Some of the input capsules, i of them, as an algorithm sees them; in float32 or wider.

    Attributes:
        votes: `[..., i, J, D]`; zero for a masked child.
        activation: `[..., i]`; 1 where none were given, 0 for a masked child.
        pose: `[..., i, P]`, or None where the votes were formed already.
        indices: which of the I children these are, for what is learned for each of them.
        mask: `[..., i]`, False for children that do not count; None where all do.
        source: the votes that these are a part of, which know who competes.
    """

    votes: Tensor
    activation: Tensor
    pose: Tensor | None
    indices: slice
    mask: Tensor | None
    source: Votes

    def compete(self, scores: Tensor) -> Tensor:
        """The softmax of scores `[..., i, J]` over the parents of each child."""
        return self.source.compete(scores)

    def evidence(self, scores: Tensor) -> Tensor:
        """ln Σ exp of scores `[..., i, J]` over the parents of each child, `[..., i]`."""
        return self.source.evidence(scores)

    def without_masked(self, coupling: Tensor) -> Tensor:
        """The coupling `[..., i, J]`, zero for masked children."""
        return coupling if self.mask is None else coupling.masked_fill(~self.mask.unsqueeze(-1), 0)

    def detach(self) -> "Tile":
        """The same, constant in backward."""
        pose = None if self.pose is None else self.pose.detach()
        return replace(
            self, votes=self.votes.detach(), activation=self.activation.detach(), pose=pose
        )


class Problem(NamedTuple):
    """All that is routed: votes, activations `[..., I]` or None, mask `[..., I]` or None."""

    votes: Votes
    activation: Tensor | None
    mask: Tensor | None

    @classmethod
    def of(cls, votes: Votes, activation: Tensor | None, mask: Tensor | None) -> "Problem":
        """The same, with nothing left of what masked children hold: a NaN there must reach neither
        the output nor, as 0 · NaN, a gradient."""
        if mask is not None:
            votes = votes.masked(mask)
            activation = None if activation is None else activation.masked_fill(~mask, 0)
        return cls(votes, activation, mask)

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return torch.promote_types(self.votes.dtype, torch.float32)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that has a gradient: the factors of the votes, and the activations where given."""
        return self.votes.factors + (() if self.activation is None else (self.activation,))

    def with_tensors(self, tensors: Sequence[Tensor]) -> "Problem":
        """The same problem with others in their place."""
        factors = len(self.votes.factors)
        activation = None if self.activation is None else tensors[factors]
        return Problem(self.votes.with_factors(*tensors[:factors]), activation, self.mask)

    def select(self, inputs: slice) -> "Problem":
        """The problem of some input capsules alone; its tensors are views of these."""
        activation, mask = (
            None if of_all is None else of_all[..., inputs]
            for of_all in (self.activation, self.mask)
        )
        return Problem(self.votes.select(inputs), activation, mask)

    def tile(self, indices: slice) -> Tile:
        """All input capsules of this problem, which are those with these indices among all; their
        votes are formed."""
        source = self.votes.to(self.dtype)
        votes = source.materialize()
        if self.activation is None:
            activation = votes.new_ones(votes.shape[:-2])
        else:
            activation = self.activation.to(self.dtype)
        if self.mask is not None:  # a bias votes for a masked child too
            if source.biased:
                votes = votes.masked_fill(~self.mask[..., None, None], 0)
            activation = activation.masked_fill(~self.mask, 0)
        return Tile(votes, activation, source.in_pose, indices, self.mask, source)
