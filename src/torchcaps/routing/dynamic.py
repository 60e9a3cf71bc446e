"""Dynamic routing between capsules: Procedure 1 of Sabour, Frosst and Hinton (2017)."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from torchcaps.functional import SQUASHES, agreement, weighted_sum
from torchcaps.routing.base import Law, Routing, RoutingTrace
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper, check_choice, check_switch
from torchcaps.votes import Votes

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
        leaky: the softmax has one more term with logit 0, so that an input capsule may send its
            coupling nowhere (the authors' code, for CIFAR-10).
        squash: "squash" (Eq 1) or "half" (see `SQUASHES`).
        detach, backend: as for every `Routing`.

    Returns of `forward`:
        `Capsules(pose [..., J, D], activation [..., J])`, activation = |pose| in [0, 1]. The
        activations of the input capsules are not looked at. route(−û) = −route(û), unless votes
        have a bias.

    Reference: Sabour, Frosst, Hinton (2017), Procedure 1, Eqs 1–3. Full gradient, as in their code.

    Example:
        >>> DynamicRouting(3)(torch.randn(2, 6, 10, 16)).pose.shape
        torch.Size([2, 10, 16])
    """

    name = "dynamic"
    paper = Paper(
        "Sabour, Frosst, Hinton", 2017, "Dynamic Routing Between Capsules", "arXiv 1710.09829"
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
    fused: ClassVar[bool] = True

    def __init__(
        self,
        iterations: int = 3,
        *,
        leaky: bool = False,
        squash: str = "squash",
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        check_switch("leaky", leaky)
        check_choice("squash", squash, tuple(SQUASHES))
        self.leaky = leaky
        self.squash = squash

    def initial_vote_length(
        self, in_caps: int, out_caps: int, out_dim: int, length: float
    ) -> float:
        """What gives |v_j| = `length` after the last iteration.

        For votes in random directions and couplings near 1/J, |s|² = I |û|² / J² in the first
        iteration, and A of the iterations before adds A · I |û|² / (J D) to s, in its direction.
        """
        shortest, longest = 0.0, 1e3
        for _ in range(60):  # by bisection, the first |s|
            middle = (shortest + longest) / 2
            too_short = self.length_at_random(middle, out_caps / out_dim) < length
            shortest, longest = (middle, longest) if too_short else (shortest, middle)
        return min(shortest * out_caps / in_caps**0.5, LONGEST_VOTE * out_dim**0.5)

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
        return in_caps / out_caps

    def score(self, tile: Tile, state: State) -> Tensor:
        """b_ij = û_ij · A_j (line 7, added up)"""
        return agreement(tile.votes, state.A)

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        """c_ij = softmax_j b_ij (line 4)"""
        if not self.leaky:
            return tile.compete(logits)
        none_of_them = logits.new_zeros(*logits.shape[:-1], 1)
        return tile.compete(torch.cat([none_of_them, logits], dim=-1))[..., 1:]

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Total:
        """s_j = Σ_i c_ij û_ij (line 5)"""
        return Total(weighted_sum(coupling, tile.votes))

    def settle(self, statistics: Total, state: State, t: int) -> State:
        """v_j = squash(s_j) (line 6)"""
        v = self.squashed(statistics.s)
        return State(v, v if t == 1 else state.A + v)

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
