"""Routing, iteration by iteration."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from torchcaps.types import exportable

__all__ = ["RoutingTrace", "Step"]


@exportable
class RoutingTrace(NamedTuple):
    """What routing did, iteration by iteration (the first axis, r of them).

    Attributes:
        logits: what the coupling was made from, `[r, ..., I, J]`: in dynamic routing b, zero in the
            first iteration.
        coupling: R (in dynamic routing c), `[r, ..., I, J]`; 0 for masked input capsules.
        pose: `[r, ..., J, D]`; the last one is what routing returns.
        activation: `[r, ..., J]`, likewise.
    """

    logits: Tensor
    coupling: Tensor
    pose: Tensor
    activation: Tensor


@dataclass(frozen=True)
class Step:
    """One iteration: logits and coupling `[..., I, J]`, and the state that it led to."""

    logits: Tensor
    coupling: Tensor
    state: tuple[Tensor, ...]
