"""Inverted dot-product attention routing: Tsai, Srivastava, Goh, Salakhutdinov (2020)."""

import math
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from torchcaps.functional import agreement, of_ordinary_size, weighted_sum
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.module_copy import module_copy
from torchcaps.routing.packed import PackedVotes
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper, check_switch

__all__ = ["AttentionRouting"]

TINY = 1e-10  # beside a sum of couplings, as in the authors' code


class Total(NamedTuple):
    """Σ_i R_ij V_ij, `[..., J, D]`."""

    s: Tensor


class State(NamedTuple):
    """The poses v_j, `[..., J, D]`."""

    v: Tensor


class AttentionRouting(Routing[Total, State]):
    """Every input capsule attends to the output capsules: they compete for it, not it for them.

    R_ij = 1/J at first, then r − 1 times R_i· = softmax_j(V_ij · v_j / √D) with the v of the
    iteration before; v_j = LayerNorm(Σ_i R_ij V_ij). Logits are replaced, not added up.

    The published algorithm knows no activations: its classifier is a linear map D → 1 shared by all
    class capsules, followed by a softmax over the classes. Here that map is learned with the
    routing, and the activation is σ(w · v_j + w_0), so that any layer and loss can use it; its
    logit is what the authors' softmax takes. Activations of the input capsules are not looked at.

    Args:
        iterations: r ≥ 1.
        activations: False leaves out the map to activations, which are then 1: the published
            network has it in its last layer alone.
        detach, backend: as for every `Routing`.

    Learned: `norm` (weight and bias `[D]`, shared by all parents; none where D = 1), `head`
    (D → 1, with `activations`).

    Reference: Tsai, Srivastava, Goh, Salakhutdinov (2020), *Capsules with Inverted Dot-Product
    Attention Routing*, ICLR. One layer after the other (their "sequential" order).

    Example:
        >>> routing = AttentionRouting(2).build(in_caps=6, in_dim=8, out_caps=10, out_dim=16)
        >>> routing(torch.randn(2, 6, 10, 16)).pose.shape
        torch.Size([2, 10, 16])
    """

    name = "attention"
    fused = True
    paper = Paper(
        "Tsai, Srivastava, Goh, Salakhutdinov",
        2020,
        "Capsules with Inverted Dot-Product Attention Routing",
        "ICLR, arXiv 2002.04764",
    )
    class_loss = "log_odds"
    laws = frozenset({Law.INPUT_ORDER_IS_FREE, Law.COUPLING_SHARES_ONE_UNIT})

    def __init__(
        self,
        iterations: int = 3,
        *,
        activations: bool = True,
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        check_switch("activations", activations)
        self.activations = activations
        self.register_module("norm", None)
        self.register_module("head", None)
        self.previous: Tensor | None = None
        self.stepped: list[Tensor] | None = None

    def one_step(self, pose: Tensor | None) -> "AttentionRouting":
        """The same routing for one iteration: from these poses v, or for None the first.

        Its calls add the new poses to its `stepped`, `[..., J, D]` as routing has them. For layers
        that are routed at the same time: see `torchcaps.layers.route_concurrently`.
        """
        same = module_copy(self)
        same.iterations, same.backend = 1, "reference"
        same.previous, same.stepped = pose, []
        return same

    def begin(self, tile: Tile) -> State:
        return cast(State, ()) if self.previous is None else State(self.previous)

    def iterate(self, tile: Tile, state: State, t: int) -> tuple[Tensor, Tensor, Total]:
        """There are poses to score against from the second iteration on, or from the first."""
        return super().iterate(tile, state, 2 if state else 1)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        self.norm = nn.LayerNorm(out_dim) if out_dim > 1 else nn.Identity()
        self.head = nn.Linear(out_dim, 1) if self.activations else nn.Identity()
        return self

    @property
    def built_for(self) -> dict[str, int]:
        return {
            "out_dim": self.norm.normalized_shape[0] if isinstance(self.norm, nn.LayerNorm) else 1
        }

    def score(self, tile: Tile, state: State) -> Tensor:
        """V_ij · v_j / √D"""
        logits = agreement(tile.votes, state.v) / math.sqrt(tile.votes.shape[-1])
        largest = torch.finfo(logits.dtype).max / 2  # D = 1 has no norm, and the product overflows
        return logits.clamp(-largest, largest)

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        return tile.compete(logits) / (1 + TINY)  # their sum over the parents of a child is 1

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Total:
        return Total(weighted_sum(coupling, tile.votes))

    def sweep_packed(self, votes: PackedVotes, state: State, t: int) -> Total:
        key = None if t == 1 else state.v / math.sqrt(votes.outputs[1])
        return Total(votes.sums(key) / (1 + TINY))

    def settle(self, statistics: Total, state: State, t: int) -> State:
        s = statistics.s
        return State(self.norm(of_ordinary_size(s) if s.shape[-1] > 1 else s))

    def finish(self, state: State) -> Capsules:
        if self.stepped is not None:
            self.stepped.append(state.v)
        if not self.activations:
            return Capsules(state.v, torch.ones_like(state.v[..., 0]))
        return Capsules(state.v, torch.sigmoid(self.head(state.v)).squeeze(-1))
