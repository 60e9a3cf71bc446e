"""Interests of a user from what they have looked at: routing as recommenders have it."""

from typing import NamedTuple

import torch
from torch import Tensor

from torchcaps.functional import (
    agreement,
    constant_if_huge,
    direction,
    direction_and_length,
    hypotenuse,
    weighted_sum,
)
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper, check_choice, check_number
from torchcaps.votes import SharedVotes
from torchcaps.votes.interests import InterestVotes

__all__ = ["InterestRouting"]


class Total(NamedTuple):
    """Σ_i c_ij û_ij, `[..., J, D]`."""

    z: Tensor


class State(NamedTuple):
    """z_j `[..., J, D]`, and what the next logits are made of: A_j = Σ v_j, or z_j / |z_j|, or
    ("residual") all z_j so far, side by side."""

    z: Tensor
    memory: Tensor


class InterestRouting(Routing[Total, State]):
    """Behaviour to interest: items go to the interests that they agree with.

    b⁰_ij as the votes have it (`InterestVotes`), else 0; then r times
    c_ij = softmax_j b_ij,  z_j = Σ_i c_ij û_ij,  v_j = (|z_j|² / (1 + |z_j|²))^power · z_j / |z_j|
    and b_ij, by the option `update`, for h_j = z_j / |z_j|:

        "add"       b_ij + û_ij · v_j                      MIND, ComiRec, DeepMatch
        "dot"       û_ij · h_j                             EasyRec with scale 0
        "cosine"    scale · û_ij · h_j / |û_ij|            EasyRec
        "residual"  scale · (c_ij + û_ij · z_j / |û_ij|)   TorchEasyRec

    With one map for all interests and b⁰ = 0 all interests would be alike for ever: they start
    apart, or have maps of their own. `InterestCaps` sees to that.

    Args:
        iterations: r ≥ 1.
        update: as above.
        scale: of "cosine" and "residual", at least 0. ("residual" scales b⁰ too.)
        power: of the squash, at least 0.5.
        detach: no gradient through any coupling, as in all of the public code; the default.
        backend: as for every `Routing`.

    Reference: Li and others (2019), *Multi-Interest Network with Dynamic Routing for Recommendation
    at Tmall* (MIND), CIKM; Cen and others (2020), *Controllable Multi-Interest Framework for
    Recommendation* (ComiRec), KDD.

    Example:
        >>> InterestRouting(3)(torch.randn(2, 20, 4, 16)).pose.shape
        torch.Size([2, 4, 16])
    """

    name = "interests"
    takes_logits = True
    paper = Paper(
        "Li and others",
        2019,
        "Multi-Interest Network with Dynamic Routing for Recommendation at Tmall",
        "CIKM, arXiv 1904.08030",
    )
    laws = frozenset({
        Law.ODD, Law.ROTATION_EQUIVARIANT, Law.LENGTH_IS_ACTIVATION, Law.INPUT_ORDER_IS_FREE,
        Law.COUPLING_SHARES_ONE_UNIT,
    })  # fmt: skip

    def __init__(
        self,
        iterations: int = 3,
        *,
        update: str = "add",
        scale: float = 1.0,
        power: float = 1.0,
        detach: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        check_choice("update", update, ("add", "dot", "cosine", "residual"))
        check_number("scale", scale, least=0)
        check_number("power", power, least=0.5)
        self.update = update
        self.scale = scale
        self.power = power

    def begin(self, tile: Tile) -> State:
        *batch, _, J, D = tile.votes.shape
        nothing = tile.votes.new_zeros(*batch, J, D)
        return State(nothing, nothing[..., :0])

    def start(self, tile: Tile) -> Tensor:
        """b⁰"""
        given = tile.source.logits if isinstance(tile.source, InterestVotes) else None
        if given is None:
            return super().start(tile)
        logits = given.detach().to(tile.votes.dtype).expand(tile.votes.shape[:-1])
        return self.scale * logits if self.update == "residual" else logits

    def score(self, tile: Tile, state: State) -> Tensor:
        if self.update == "add":
            return self.start(tile) + agreements(votes_of(tile), state.memory)
        if self.update == "dot":
            return constant_if_huge(agreements(votes_of(tile), state.memory))
        units = direction(votes_of(tile))
        if self.update == "cosine":
            return self.scale * agreements(units, state.memory)
        logits = self.start(tile)
        for z in state.memory.split(tile.votes.shape[-1], dim=-1):
            coupling = tile.without_masked(tile.compete(logits))
            logits = self.scale * (coupling + constant_if_huge(agreements(units, z)))
        return logits

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Total:
        return Total(totals(coupling, votes_of(tile)))

    def settle(self, statistics: Total, state: State, t: int) -> State:
        z = statistics.z
        if self.update == "residual":
            return State(z, torch.cat([state.memory, z], dim=-1))
        if self.update != "add":
            return State(z, direction(z))
        v = self.squashed(z)
        return State(z, v if t == 1 else state.memory + v)

    def squashed(self, z: Tensor) -> Tensor:
        """v_j of z_j."""
        unit, length = direction_and_length(z)
        return unit * (length / hypotenuse(length, torch.ones_like(length))) ** (2 * self.power)

    def finish(self, state: State) -> Capsules:
        """v_j and its length."""
        v = self.squashed(state.z)
        return Capsules(v, torch.linalg.vector_norm(v, dim=-1))


def votes_of(tile: Tile) -> Tensor:
    """The votes `[..., i, J, D]`, or `[..., i, D]` where they are the same for all parents: then
    scores and sums are matrix products."""
    source = tile.source.votes if isinstance(tile.source, InterestVotes) else tile.source
    return source.tensor if type(source) is SharedVotes else tile.votes


def agreements(votes: Tensor, pose: Tensor) -> Tensor:
    """`agreement` of what `votes_of` gives."""
    return votes @ pose.mT if votes.dim() == pose.dim() else agreement(votes, pose)


def totals(coupling: Tensor, votes: Tensor) -> Tensor:
    """`weighted_sum` of what `votes_of` gives."""
    shared = votes.dim() == coupling.dim()
    return coupling.mT @ votes if shared else weighted_sum(coupling, votes)
