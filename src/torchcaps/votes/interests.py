"""Votes for the interests of a user, of whom some may have fewer than others."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchcaps.types import (
    check_bool_tensor,
    check_first_axes,
    check_float_tensor,
    check_last_axes,
)
from torchcaps.votes.base import WrappedVotes

__all__ = ["InterestVotes"]


@dataclass(frozen=True)
class InterestVotes(WrappedVotes):
    """Votes with the logits that routing starts from, and with output capsules that are left out.

    Args:
        votes: in any form, `[..., I, J, D]`.
        logits: b⁰, `[..., I, J]`, constants; default: zeros.
        present: `[..., J]`, False for an output capsule that is to get no votes, and for which none
            competes; default: all are. (What a routing learns may give it a pose all the same.)

    Raises:
        ValueError: logits or `present` of other numbers of capsules; `InterestVotes` within these.
            TypeError: no tensors.

    Example:
        >>> from torchcaps.routing.interests import InterestRouting
        >>> from torchcaps.votes.base import FormedVotes
        >>> present = torch.tensor([[True, True, False]])
        >>> votes = InterestVotes(FormedVotes(torch.randn(1, 5, 3, 8)), present=present)
        >>> InterestRouting(3)(votes).activation[0, 2].item()
        0.0
    """

    keeps_competition: ClassVar[bool] = True
    logits: Tensor | None = None
    present: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        capsules = self.votes.shape[-3:-1]
        if self.logits is not None:
            check_float_tensor("logits", self.logits)
            check_last_axes("logits", self.logits, "I, J", capsules)
            check_first_axes("logits", self.logits.shape[:-2], self.votes.shape[:-3])
        if self.present is not None:
            check_bool_tensor("present", self.present)
            check_last_axes("present", self.present, "J", capsules[1:])
            check_first_axes("present", self.present.shape[:-1], self.votes.shape[:-3])

    def select(self, inputs: slice) -> "InterestVotes":
        logits = None if self.logits is None else self.logits[..., inputs, :]
        return replace(self, votes=self.votes.select(inputs), logits=logits)

    def masked(self, mask: Tensor) -> "InterestVotes":
        logits = self.logits
        if logits is not None:  # a NaN there would reach a gradient as 0 · NaN
            logits = logits.masked_fill(~mask.unsqueeze(-1), 0)
        return replace(self, votes=self.votes.masked(mask), logits=logits)

    def compete(self, scores: Tensor) -> Tensor:
        """The softmax over the output capsules that are present; 0 where none is."""
        if self.present is None:
            return self.votes.compete(scores)
        absent = self.absent(scores)
        # −∞ would make the shares NaN where all are absent.
        least = torch.finfo(scores.dtype).min
        return self.votes.compete(scores.masked_fill(absent, least)).masked_fill(absent, 0)

    def evidence(self, scores: Tensor) -> Tensor:
        if self.present is not None:
            scores = scores.masked_fill(self.absent(scores), torch.finfo(scores.dtype).min)
        return self.votes.evidence(scores)

    def without_absent(self, coupling: Tensor) -> Tensor:
        return coupling if self.present is None else coupling.masked_fill(self.absent(coupling), 0)

    def absent(self, scores: Tensor) -> Tensor:
        """Which scores `[..., i, J]` do not count; where there is one more, first, it does."""
        assert self.present is not None
        more = scores.shape[-1] - self.present.shape[-1]
        return nn.functional.pad(~self.present, (more, 0), value=False).unsqueeze(-2)
