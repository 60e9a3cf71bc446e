"""Routing by kernel density estimation: Zhang, Zhao, Wu, Zhao (2018)."""

from typing import NamedTuple

import torch
from torch import Tensor

from torchcaps.functional import agreement, half_squash, weighted_sum
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper

__all__ = ["KDERouting"]

TINY = 1e-30  # beside a sum of couplings, which is 0 where there is no child


class Totals(NamedTuple):
    """Σ_i c_ij `[..., J, 1]` and Σ_i c_ij V_ij `[..., J, D]`."""

    mass: Tensor
    votes: Tensor


class State(NamedTuple):
    """v_j `[..., J, D]`, and over the iterations so far: A_j = Σ v_j, Σ |v_j|² `[..., J, 1]`, and
    how many they are, `[..., J, 1]`."""

    v: Tensor
    A: Tensor
    squares: Tensor
    passes: Tensor


class KDERouting(Routing[Totals, State]):
    """Output capsules are modes of the density of votes, with the Epanechnikov kernel.

    b_ij = 0, then r times, with q(s) = |s|² / (½ + |s|²) · s / |s|:
    c_ij = softmax_j b_ij,  v_j = q(Σ_i c_ij V_ij / Σ_i c_ij),  b_ij += 1 − |q(V_ij) − v_j|²

    Of t iterations b_ij = t (1 − |q(V_ij)|²) − Σ |v_j|² + 2 q(V_ij) · A_j, with A_j = Σ v_j over
    these iterations: no logit has to be kept.

    The published code has a second version, which stops when a measure of the whole batch changes
    little: its results depend on the other samples, and where that measure is negative it does not
    stop at all. It is not offered; on the authors' problems 10 iterations give the same.

    Args:
        iterations: r ≥ 1.
        detach, backend: as for every `Routing`.

    Returns of `forward`:
        `Capsules(pose [..., J, D], activation [..., J])`, activation = |pose| in [0, 1]. The
        activations of the input capsules are not looked at.

    Reference: Zhang, Zhao, Wu, Zhao (2018), *Fast Dynamic Routing Based on Weighted Kernel Density
    Estimation*, after the code of Zhao, Peng, Eger, Cambria, Yang (2019), NLP-Capsule, ACL.

    Example:
        >>> KDERouting(3)(torch.randn(2, 6, 10, 16)).pose.shape
        torch.Size([2, 10, 16])
    """

    name = "kde"
    paper = Paper(
        "Zhang, Zhao, Wu, Zhao",
        2018,
        "Fast Dynamic Routing Based on Weighted Kernel Density Estimation",
        "arXiv 1805.10807",
    )
    laws = frozenset(
        {
            Law.ODD,
            Law.ROTATION_EQUIVARIANT,
            Law.LENGTH_IS_ACTIVATION,
            Law.INPUT_ORDER_IS_FREE,
            Law.COUPLING_SHARES_ONE_UNIT,
        }
    )

    def begin(self, tile: Tile) -> State:
        nothing = torch.zeros_like(tile.votes.sum(dim=-3))
        return State(nothing, nothing, nothing[..., :1], nothing[..., :1])

    def score(self, tile: Tile, state: State) -> Tensor:
        """b_ij: how near the vote was to v_j in the iterations so far."""
        q = half_squash(tile.votes)
        passes, squares = state.passes.squeeze(-1), state.squares.squeeze(-1)  # [..., J]
        own = passes.unsqueeze(-2) * (1 - q.square().sum(dim=-1))
        return own - squares.unsqueeze(-2) + 2 * agreement(q, state.A)

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Totals:
        mass = coupling.sum(dim=-2).unsqueeze(-1)
        return Totals(mass, weighted_sum(coupling, tile.votes))

    def settle(self, statistics: Totals, state: State, t: int) -> State:
        v = half_squash(statistics.votes / (statistics.mass + TINY))
        squares = state.squares + v.square().sum(dim=-1, keepdim=True)
        return State(v, state.A + v, squares, state.passes + 1)

    def finish(self, state: State) -> Capsules:
        """v_j and its length."""
        return Capsules(state.v, torch.linalg.vector_norm(state.v, dim=-1))
