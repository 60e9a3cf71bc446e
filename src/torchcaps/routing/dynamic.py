"""Dynamic routing between capsules: Procedure 1 of Sabour, Frosst and Hinton (2017)."""

import math
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import SQUASHES, agreement, constant_if_huge, max_min, weighted_sum
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.tile import Tile
from torchcaps.routing.trace import RoutingTrace
from torchcaps.types import Capsules, Paper, check_choice, check_number, check_switch
from torchcaps.votes import MapVotes, Votes, WindowVotes

SMALLEST_SCALE = 1e-12  # of the logits: with 0 every coupling would be 1/J
LONGEST_VOTE = 2.0  # times √D, of votes before training: longer ones decide couplings at once

__all__ = ["DynamicRouting", "dynamic_routing", "dynamic_routing_trace"]


class Total(NamedTuple):
    """s_j, `[..., J, D]`."""

    s: Tensor


class State(NamedTuple):
    """v_j of an iteration, and A_j, their sum over the iterations so far; `[..., J, D]`."""

    v: Tensor
    A: Tensor


class DynamicRouting(Routing[Total, State]):
    """Input capsules go to the output capsules that agree with their votes.

    b_ij = 0, then r times (Procedure 1):
    c_ij = softmax_j b_ij,  s_j = Σ_i c_ij û_ij,  v_j = squash(s_j),  b_ij += û_ij · v_j

    Every increment of b is linear in the vote, so that b_ij = û_ij · A_j with A_j = Σ v_j over the
    iterations before: no logit has to be kept.

    Args:
        iterations: r ≥ 1. With r = 1 every c_ij stays 1/J.
        leaky: the softmax has one more term with logit 0 (where a child competes over several
            positions, one at each), so that an input capsule may send its coupling nowhere (the
            authors' code, for CIFAR-10).
        squash: "squash" (Eq 1), "half", "soft" or "direction" (a unit vector); see `SQUASHES`.
        coupling: "softmax"; "max_min", (b_ij − min_k b_ik) / (max_k b_ik − min_k b_ik), and 1 where
            all b_ik are equal; or "softmax_times_parents", J times the softmax.
        scale: factor of the b of which couplings are made; above 0.
        accumulate: whether b adds up (line 7), or is û_ij · v_j of the iteration before.
        learned_bias: s_j gets a bias `[J, D]`, learned as `bias`, in every iteration.
        detach, backend: as for every `Routing`.

    Variants, by their options:
        - max-min normalisation (Zhao and others 2019, arXiv 1903.09662): coupling="max_min".
        - Wang and Liu (2018, *An Optimization View on Dynamic Routing Between Capsules*, ICLR
          workshop), of temperature α: squash="direction", accumulate=False, scale=1/α.
        - DeepCaps (Rajasegaran and others 2019, CVPR), class layer: learned_bias=True; its second
          dense layer: coupling="softmax_times_parents", scale=8, detach=True.

    Returns of `forward`:
        `Capsules(pose [..., J, D], activation [..., J])`, activation = |pose| in [0, 1]. The
        activations of the input capsules are not looked at. route(−û) = −route(û), unless votes
        have a bias, or the routing learns one.

    Reference: Sabour, Frosst, Hinton (2017), Procedure 1, Eqs 1–3. Full gradient, as in their code.

    Example:
        >>> DynamicRouting(3)(torch.randn(2, 6, 10, 16)).pose.shape
        torch.Size([2, 10, 16])
    """

    name = "dynamic"
    paper = Paper(
        "Sabour, Frosst, Hinton", 2017, "Dynamic Routing Between Capsules", "arXiv 1710.09829"
    )
    fused: ClassVar[bool] = True

    def __init__(
        self,
        iterations: int = 3,
        *,
        leaky: bool = False,
        squash: str = "squash",
        coupling: str = "softmax",
        scale: float = 1.0,
        accumulate: bool = True,
        learned_bias: bool = False,
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        switches = {"leaky": leaky, "accumulate": accumulate, "learned_bias": learned_bias}
        for name, value in switches.items():
            check_switch(name, value)
        check_choice("squash", squash, tuple(SQUASHES))
        check_choice("coupling", coupling, ("softmax", "max_min", "softmax_times_parents"))
        check_number("scale", scale, least=SMALLEST_SCALE)
        if leaky and coupling == "max_min":
            raise ValueError("leaky adds a term to a softmax, and max_min has none: choose one")
        self.leaky = leaky
        self.squash = squash
        self.coupling = coupling
        self.scale = scale
        self.accumulate = accumulate
        self.learned_bias = learned_bias
        if learned_bias:
            self.register_parameter("bias", None)

    @property
    def laws(self) -> frozenset[Law]:
        found = {Law.LENGTH_IS_ACTIVATION, Law.INPUT_ORDER_IS_FREE}
        if not self.learned_bias:
            found |= {Law.ODD, Law.ROTATION_EQUIVARIANT}
        if self.coupling == "softmax" and not self.leaky:
            found.add(Law.COUPLING_SHARES_ONE_UNIT)
        return frozenset(found)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        if self.learned_bias:
            self.bias = nn.Parameter(nn.init.xavier_uniform_(torch.empty(out_caps, out_dim)))
        return self

    @property
    def built_for(self) -> dict[str, int]:
        if not self.learned_bias:
            return {}
        out_caps, out_dim = self.bias.shape
        return {"out_caps": out_caps, "out_dim": out_dim}

    def initial_vote_length(
        self, in_caps: int, out_caps: int, out_dim: int, length: float
    ) -> float:
        """What gives |v_j| = `length` after the last iteration.

        For votes in random directions and couplings near 1/J, |s|² = I |û|² / J² in the first
        iteration, and A of the iterations before adds A · I |û|² / (J D) to s, in its direction.
        (Other couplings start at 1, and what A adds is left out.)
        """
        if self.squash == "direction":  # of length 1 whatever the votes
            return super().initial_vote_length(in_caps, out_caps, out_dim, length)
        ratio = out_caps / out_dim if self.coupling == "softmax" else 0.0
        shortest, longest = 0.0, 1e3
        for _ in range(60):  # by bisection, the first |s|
            middle = (shortest + longest) / 2
            too_short = self.length_at_random(middle, ratio) < length
            shortest, longest = (middle, longest) if too_short else (shortest, middle)
        wanted = shortest / self.first_share(out_caps) / math.sqrt(in_caps)
        return min(wanted, LONGEST_VOTE * math.sqrt(out_dim))

    def length_at_random(self, first: float, ratio: float) -> float:
        """|v_j| after all iterations, from the first |s_j|, for votes in random directions.

        `ratio` is J / D.
        """
        s, length, total = first, 0.0, 0.0
        for _ in range(self.iterations):
            length = float(torch.linalg.vector_norm(self.squashed(torch.tensor([s], device="cpu"))))
            total += length
            s = first + ratio * first * first * total
        return length

    def vote_gain(self, in_caps: int, out_caps: int) -> float:
        """I/J: s_j is a sum."""
        return in_caps * self.first_share(out_caps)

    @property
    def counts_absent(self) -> bool:
        return self.coupling != "softmax"

    def first_share(self, out_caps: int) -> float:
        """The coupling of the first iteration."""
        return 1 / out_caps if self.coupling == "softmax" else 1.0

    def score(self, tile: Tile, state: State) -> Tensor:
        """b_ij = û_ij · A_j (line 7, added up)"""
        logits = agreement(tile.votes, state.A)
        if self.squash == "direction":  # A is not small where the votes are large
            logits = constant_if_huge(logits)
        return logits if self.scale == 1 else self.scale * logits

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        """c_ij = softmax_j b_ij (line 4)"""
        if self.coupling == "max_min":
            if isinstance(tile.source, (WindowVotes, MapVotes)):
                raise ValueError(
                    "coupling='max_min' compares the parents at one position, and here a child "
                    "competes over several: take competition='window', or another coupling"
                )
            return max_min(logits)
        if self.leaky:
            none_of_them = logits.new_zeros(*logits.shape[:-1], 1)
            coupling = tile.compete(torch.cat([none_of_them, logits], dim=-1))[..., 1:]
        else:
            coupling = tile.compete(logits)
        parents = logits.shape[-1] if self.coupling == "softmax_times_parents" else 1
        return coupling if parents == 1 else parents * coupling

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Total:
        """s_j = Σ_i c_ij û_ij (line 5)"""
        return Total(weighted_sum(coupling, tile.votes))

    def settle(self, statistics: Total, state: State, t: int) -> State:
        """v_j = squash(s_j) (line 6)"""
        s = statistics.s + self.bias if self.learned_bias else statistics.s
        v = self.squashed(s)
        return State(v, state.A + v if self.accumulate and t > 1 else v)

    def squashed(self, s: Tensor) -> Tensor:
        """The non-linearity, of s `[..., J, D]`."""
        return SQUASHES[self.squash](s)

    def finish(self, state: State) -> Capsules:
        """v_j and its length."""
        return Capsules(state.v, torch.linalg.vector_norm(state.v, dim=-1))


def dynamic_routing(
    votes: Votes | Tensor,
    iterations: int = 3,
    *,
    mask: Tensor | None = None,
    leaky: bool = False,
    detach: bool = False,
    backend: str = "auto",
) -> Capsules:
    """Route input capsules to the output capsules that agree with their votes.

    b_ij = 0, then r times:
    c_ij = softmax_j b_ij,  s_j = Σ_i c_ij û_ij,  v_j = squash(s_j),  b_ij += û_ij · v_j

    Args:
        votes: û, `[..., I, J, D]`, or `LinearVotes` (then û_ij = W_ij u_i). Half precision is
            computed in float32, under autocast too.
        iterations: r ≥ 1. With r = 1 every c_ij stays 1/J.
        mask: `[..., I]` bool, False for padding: such a capsule has no effect on any output or
            gradient, not even if its pose is NaN. Default: all count.
        leaky: the softmax has one more term with logit 0, so that an input capsule may send its
            coupling nowhere (the authors' code, for CIFAR-10).
        detach: no gradient through any iteration but the last: c^r is a constant in backward. The
            default is the full gradient, as in the authors' code.
        backend: "cpu" and "cuda" (fused: take `LinearVotes` on that device, "cuda" not in float64,
            and never hold the votes; first derivatives only), "tiles" (likewise, in plain torch),
            "reference" (all votes at once), or "auto": the fastest that can run.

    Returns:
        `Capsules(pose [..., J, D], activation [..., J])`, activation = |pose| in [0, 1], in the
        dtype of the votes. Each sample is routed by itself. route(−û) = −route(û), unless votes
        have a bias.

    Raises:
        ValueError: a shape, `iterations` or `backend` out of range, or a backend that cannot route
            these votes (with the reasons). TypeError: another type.

    Reference: Sabour, Frosst, Hinton (2017), Procedure 1, Eqs 1–3.

    Example:
        >>> from torchcaps import LinearVotes
        >>> votes = LinearVotes(torch.randn(4, 1152, 8), 0.1 * torch.randn(1152, 10, 16, 8))
        >>> pose, activation = dynamic_routing(votes, iterations=3)
        >>> pose.shape, activation.shape
        (torch.Size([4, 10, 16]), torch.Size([4, 10]))
    """
    return DynamicRouting(iterations, leaky=leaky, detach=detach, backend=backend)(votes, mask=mask)


def dynamic_routing_trace(
    votes: Votes | Tensor,
    iterations: int = 3,
    *,
    mask: Tensor | None = None,
    leaky: bool = False,
) -> RoutingTrace:
    """Route as `dynamic_routing` does and keep what happened in every iteration.

    Args, raises and reference: as `dynamic_routing`.

    Returns:
        `RoutingTrace(logits [r, ..., I, J], coupling [r, ..., I, J], pose [r, ..., J, D],
        activation [r, ..., J])`.

    Example:
        >>> trace = dynamic_routing_trace(torch.randn(1, 3, 2, 4))  # 3 inputs, 2 outputs
        >>> trace.coupling[0]  # maximum confusion
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """
    return DynamicRouting(iterations, leaky=leaky).trace(votes, mask=mask)
