"""Group-equivariant capsules: Lenssen, Fey, Libuschewski (2018)."""

from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import agreement, direction, weighted_sum
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper

__all__ = ["GroupEquivariantRouting"]


class Totals(NamedTuple):
    """Σ_i w_ij V_ij `[..., J, D]`; Σ_i (1 − d_ij) w_ij and the number of w_ij that are not 0,
    `[..., J, 1]`, with the w of the sweep before."""

    votes: Tensor
    fit: Tensor
    counted: Tensor


class State(NamedTuple):
    """v_j and the one before it, `[..., J, D]`; Σ_i (1 − d_ij) w_ij and the number of w_ij that are
    not 0, `[..., J, 1]`."""

    v: Tensor
    before: Tensor
    fit: Tensor
    counted: Tensor


class GroupEquivariantRouting(Routing[Totals, State]):
    """Poses are rotations, as unit vectors; output capsules are their weighted means.

    w_ij = a_i, then r times: v_j = direction(Σ_i w_ij V_ij),  w_ij = a_i (1 − d_ij),
    with the distance d_ij = (1 − V_ij · v_j) / 2 in [0, 1]; v_j once more, and
    a_j = σ(α · mean_i of (1 − d_ij) w_ij + β − 1), over the children whose w_ij is not 0 (and 0
    where there are none).

    Votes that are all rotated by one rotation give poses that are rotated by it, and the same
    activations. Votes are made unit vectors. There is no competition: a child fits each parent as
    it fits it. (The published network is a convolution on a graph; this is its routing.)

    Args:
        iterations: r ≥ 1.
        detach: as for every `Routing`. In the mean of (1 − d_ij) w_ij the distance has a gradient,
            and of w_ij the a_i alone.
        backend: as for every `Routing`.

    Learned: `alpha` and `beta`, one number each; both start at 1, as in the authors' code.

    Reference: Lenssen, Fey, Libuschewski (2018), *Group Equivariant Capsule Networks*, NeurIPS 31,
    for the group SO(2); unit vectors of any dimension are taken.

    Example:
        >>> routing = GroupEquivariantRouting(3).build(6, 2, 10, 2)
        >>> pose, activation = routing(torch.randn(2, 6, 10, 2), torch.rand(2, 6))
        >>> torch.allclose(pose.norm(dim=-1), torch.ones(2, 10))
        True
    """

    name = "group_equivariant"
    paper = Paper(
        "Lenssen, Fey, Libuschewski", 2018, "Group Equivariant Capsule Networks", "NeurIPS 31"
    )
    class_loss = "log_odds"
    laws = frozenset(
        {
            Law.ODD,
            Law.ROTATION_EQUIVARIANT,
            Law.INPUT_ORDER_IS_FREE,
            Law.INACTIVE_INPUTS_HAVE_NO_INFLUENCE,
        }
    )

    def __init__(self, iterations: int = 3, *, detach: bool = False, backend: str = "auto") -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        self.register_parameter("alpha", None)
        self.register_parameter("beta", None)

    @property
    def sweeps(self) -> int:
        """The first mean, r more, and the activation."""
        return self.iterations + 2

    @property
    def detached_sweeps(self) -> int:
        """All but the last mean, and the activation."""
        return self.iterations

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        self.alpha = nn.Parameter(torch.ones(1))
        self.beta = nn.Parameter(torch.ones(1))
        return self

    def begin(self, tile: Tile) -> State:
        nothing = torch.zeros_like(tile.votes.sum(dim=-3))
        return State(nothing, nothing, nothing[..., :1], nothing[..., :1])

    def view(self, tile: Tile, state: State) -> Tile:
        """The votes as unit vectors."""
        return replace(tile, votes=direction(tile.votes))

    def start(self, tile: Tile) -> Tensor:
        return tile.votes.new_ones(tile.votes.shape[:-1])

    def score(self, tile: Tile, state: State) -> Tensor:
        """1 − d_ij"""
        return self.closeness(tile, state.v)

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        """As it is: no competition."""
        return logits

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Totals:
        a = tile.activation.unsqueeze(-1)
        near, before = coupling, self.closeness(tile, state.before)
        if self.detach:  # the coupling is what was before; 1 − d is no coupling any more
            near = tile.source.without_absent(self.closeness(tile, state.v))
            before = before.detach()
        before = a * before  # w of the sweep before
        counted = (before != 0).to(before.dtype)
        fit, number = (x.sum(dim=-2).unsqueeze(-1) for x in (near * before, counted))
        return Totals(weighted_sum(a * coupling, tile.votes), fit, number)

    def settle(self, statistics: Totals, state: State, t: int) -> State:
        v, fit, counted = statistics
        if t < self.sweeps:
            return State(direction(v), state.v, state.fit, state.counted)
        return State(state.v, state.before, fit, counted)

    def finish(self, state: State) -> Capsules:
        mean = state.fit / state.counted.clamp(min=1)
        activation = torch.sigmoid(self.alpha * mean + self.beta - 1) * (state.counted > 0)
        return Capsules(state.v, activation.squeeze(-1))

    @staticmethod
    def closeness(tile: Tile, v: Tensor) -> Tensor:
        """1 − d_ij = (1 + V_ij · v_j) / 2, `[..., i, J]`."""
        return (1 + agreement(tile.votes, v)) / 2
