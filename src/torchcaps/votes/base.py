"""The votes (prediction vectors û) that one layer of capsules casts on the next.

Routing asks `Votes` for their shape, for the votes of a few input capsules at a time, and for the
competition between the parents of a child. What holds factors never has to form all votes at once.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from torchcaps.types import check_float_tensor

__all__ = ["FormedVotes", "Votes", "WrappedVotes", "as_votes", "softmax_over_parents"]


class Votes(ABC):
    """Votes `[..., I, J, D]` of I input capsules for J output capsules, in any form.

    A kind of votes states its `factors`, how the same kind is made from other factors, how to
    `select` some of the input capsules, and how to `materialize`.
    """

    @property
    @abstractmethod
    def shape(self) -> torch.Size:
        """`[..., I, J, D]`, the shape of the votes."""

    @property
    @abstractmethod
    def factors(self) -> tuple[Tensor, ...]:
        """The tensors that the votes are made of; gradients go to them."""

    @abstractmethod
    def with_factors(self, *factors: Tensor) -> Self:
        """The same kind of votes from other factors, in the order of `factors`."""

    @abstractmethod
    def select(self, inputs: slice) -> Self:
        """The votes of some input capsules; its factors are views of these."""

    @abstractmethod
    def materialize(self) -> Tensor:
        """All votes û as a tensor `[..., I, J, D]`."""

    @abstractmethod
    def masked(self, mask: Tensor) -> Self:
        """The same votes, with what input capsules hold that are masked out (False) set to zero."""

    @property
    def in_pose(self) -> Tensor | None:
        """u, `[..., I, P]`, the poses of the input capsules; None where only votes are known."""
        return None

    @property
    def formed(self) -> bool:
        """Whether the votes are a tensor already, so that tiles of them save no memory."""
        return False

    @property
    def biased(self) -> bool:
        """Whether an input capsule that is masked, and so zero, still votes."""
        return False

    @property
    def together(self) -> int:
        """How many neighbouring input capsules compete with each other, and so share a tile."""
        return 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the votes: what their factors promote to."""
        dtype = self.factors[0].dtype
        for factor in self.factors[1:]:
            dtype = torch.promote_types(dtype, factor.dtype)
        return dtype

    @property
    def device(self) -> torch.device:
        """The device of the factors."""
        return self.factors[0].device

    def to(self, dtype: torch.dtype) -> Self:
        """The same votes with every factor in `dtype`."""
        return self.with_factors(*(factor.to(dtype) for factor in self.factors))

    def compete(self, scores: Tensor) -> Tensor:
        """The softmax of scores `[..., i, J]` over the parents of each child."""
        return softmax_over_parents(scores)

    def evidence(self, scores: Tensor) -> Tensor:
        """ln Σ exp of scores `[..., i, J]` over the parents of each child, `[..., i]`."""
        return torch.logsumexp(scores, dim=-1)

    def without_absent(self, coupling: Tensor) -> Tensor:
        """Coupling `[..., i, J]`, zero for parents that are to get nothing; here there are none."""
        return coupling


@dataclass(frozen=True)
class FormedVotes(Votes):
    """Votes that are a tensor already.

    Args:
        tensor: û, `[..., I, J, D]`.

    Raises:
        ValueError: fewer than three axes. TypeError: not a floating-point tensor.

    Example:
        >>> FormedVotes(torch.zeros(2, 6, 10, 16)).select(slice(0, 4)).shape
        torch.Size([2, 4, 10, 16])
    """

    tensor: Tensor

    def __post_init__(self) -> None:
        check_float_tensor("votes", self.tensor)
        if self.tensor.dim() < 3:
            raise ValueError(f"votes must be [..., I, J, D], got shape {tuple(self.tensor.shape)}")

    @property
    def shape(self) -> torch.Size:
        return self.tensor.shape

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return (self.tensor,)

    @property
    def formed(self) -> bool:
        return True

    def with_factors(self, *factors: Tensor) -> "FormedVotes":
        return FormedVotes(*factors)

    def select(self, inputs: slice) -> "FormedVotes":
        return FormedVotes(self.tensor[..., inputs, :, :])

    def materialize(self) -> Tensor:
        return self.tensor

    def masked(self, mask: Tensor) -> "FormedVotes":
        return FormedVotes(self.tensor.masked_fill(~mask[..., None, None], 0))


@dataclass(frozen=True)
class WrappedVotes(Votes):
    """Other votes, with another competition: a kind overrides `compete` and `evidence`.

    Raises:
        TypeError: no `Votes`. ValueError: votes that have another competition already, unless the
            kind keeps it (`keeps_competition`).
    """

    keeps_competition: ClassVar[bool] = False

    votes: Votes

    def __post_init__(self) -> None:
        if not isinstance(self.votes, Votes):
            raise TypeError(
                f"votes must be Votes, such as FormedVotes(tensor), got {type(self.votes).__name__}"
            )
        if isinstance(self.votes, WrappedVotes) and not (
            self.keeps_competition and type(self.votes) is not type(self)
        ):
            within, kind = type(self.votes).__name__, type(self).__name__
            advice = "leave out one of the two, as by its .votes"
            if within == kind:
                advice = f"give one {kind} all that both have"
            elif self.votes.keeps_competition:
                advice = f"put them the other way round, {within} around {kind}"
            raise ValueError(
                f"{within} within {kind} would lose how their output capsules compete: {advice}"
            )

    @property
    def shape(self) -> torch.Size:
        return self.votes.shape

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return self.votes.factors

    @property
    def in_pose(self) -> Tensor | None:
        return self.votes.in_pose

    @property
    def formed(self) -> bool:
        return self.votes.formed

    @property
    def biased(self) -> bool:
        return self.votes.biased

    @property
    def together(self) -> int:
        return self.votes.together

    def with_factors(self, *factors: Tensor) -> Self:
        return replace(self, votes=self.votes.with_factors(*factors))

    def select(self, inputs: slice) -> Self:
        return replace(self, votes=self.votes.select(inputs))

    def materialize(self) -> Tensor:
        return self.votes.materialize()

    def masked(self, mask: Tensor) -> Self:
        return replace(self, votes=self.votes.masked(mask))


def as_votes(votes: object) -> Votes:
    """Votes as they are, or a tensor of votes as `FormedVotes`."""
    return votes if isinstance(votes, Votes) else FormedVotes(votes)  # type: ignore[arg-type]


def softmax_over_parents(scores: Tensor) -> Tensor:
    """The softmax over the last axis: `torch.softmax(scores, dim=-1)`, with that axis laid first.

    PyTorch takes the softmax of many short rows one number at a time; over the first axis it takes
    whole vectors, and is 10 times as fast with ten parents.
    """
    return torch.softmax(scores.movedim(-1, 0).contiguous(), dim=0).movedim(0, -1)
