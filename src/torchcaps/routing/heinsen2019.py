"""Routing with credit for use and for ignoring: Heinsen (2019)."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import agreement, log_sigmoid
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.moments import (
    Moments,
    about,
    constant_if_too_large,
    least_variance,
    moments,
    spread_about,
    starting_centre,
    weighted_total,
    widest,
)
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper, check_choice, check_switch

__all__ = ["Heinsen2019Routing"]

EPSILON = 1e-5  # beside every sum of uses, and in every variance


class Totals(NamedTuple):
    """`Moments` with the weights use_ij, and s_j = Σ_i (β_use,ij use_ij − β_ign,ij ignore_ij)."""

    mass: Tensor
    first: Tensor
    second: Tensor
    credit: Tensor


class State(NamedTuple):
    """μ_j and σ²_j / scale² `[..., J, D]`, the score of the parent `[..., J]`, the centre
    `[..., J, D]`, which no result depends on, and the scale `[..., J, 1]`."""

    mean: Tensor
    variance: Tensor
    score: Tensor
    centre: Tensor
    scale: Tensor


class Heinsen2019Routing(Routing[Totals, State]):
    """EM routing in which a parent is paid for the data it uses, and pays for what it ignores.

    R_ij = 1/J, then for t = 1 … r, with use_ij = a_i R_ij and ignore_ij = a_i − use_ij:
    s_j = Σ_i β_use,ij use_ij − Σ_i β_ign,ij ignore_ij,  w_ij = use_ij / (Σ_i use_ij + 1e-5),
    μ_j = Σ_i w_ij V_ij,  σ²_j = Σ_i w_ij (V_ij − μ_j)² + 1e-5,
    R_i· = softmax_j (ln σ(s_j) + ln p_ij),
    ln p_ij = −Σ_h ((V_ijh − μ_jh)² / 2σ²_jh + ln σ_jh)  (or −Σ_h (V_ijh − μ_jh)², k-means)

    Heinsen's layers pass unbounded scores on. Here the activation is a_j = σ(s_j), as it enters
    the next layer there; a_i likewise are activations, not scores. Poses that are matrices are
    taken as vectors. The variances σ²_j, which that code returns too, stay in the state.

    Args:
        iterations: r ≥ 1.
        density: "gaussian", or "means" for k-means.
        single_beta: β_ign is β_use.
        detach, backend: as for every `Routing`.

    Learned: `beta_use` and (unless single_beta) `beta_ignore`, `[I, J]`, from 0.

    Reference: Heinsen (2019), *An Algorithm for Routing Capsules in All Domains*, arXiv 1911.00792.

    Example:
        >>> routing = Heinsen2019Routing(3).build(in_caps=6, in_dim=16, out_caps=10, out_dim=16)
        >>> routing(torch.randn(2, 6, 10, 16), torch.rand(2, 6)).activation.shape
        torch.Size([2, 10])
    """

    name = "heinsen2019"
    paper = Paper(
        "Heinsen", 2019, "An Algorithm for Routing Capsules in All Domains", "arXiv 1911.00792"
    )
    class_loss = "log_odds"
    widens = True

    beta_use: nn.Parameter
    beta_ignore: nn.Parameter

    def __init__(
        self,
        iterations: int = 3,
        *,
        density: str = "gaussian",
        single_beta: bool = False,
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        check_choice("density", density, ("gaussian", "means"))
        check_switch("single_beta", single_beta)
        self.density = density
        self.single_beta = single_beta
        for name in self.learned():
            self.register_parameter(name, None)

    @property
    def laws(self) -> frozenset[Law]:
        always = {
            Law.ODD, Law.COUPLING_SHARES_ONE_UNIT, Law.INACTIVE_INPUTS_HAVE_NO_INFLUENCE,
        }  # fmt: skip
        of_means = {Law.ROTATION_EQUIVARIANT} if self.density == "means" else set()
        return frozenset(always | of_means)

    def learned(self) -> list[str]:
        return ["beta_use"] if self.single_beta else ["beta_use", "beta_ignore"]

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        for name in self.learned():
            self.register_parameter(name, nn.Parameter(torch.zeros(in_caps, out_caps)))
        return self

    @property
    def built_for(self) -> dict[str, int]:
        in_caps, out_caps = self.beta_use.shape
        return {"in_caps": in_caps, "out_caps": out_caps}

    def begin(self, tile: Tile) -> State:
        centre, scale = starting_centre(tile)
        nothing = torch.zeros_like(centre)
        return State(nothing, nothing, nothing[..., 0], centre, scale)

    def widen(self, state: State, other: State) -> State:
        found: State = widest(state, other)
        return found

    def view(self, tile: Tile, state: State) -> Tile:
        return about(tile, state.centre, state.scale)

    def score(self, tile: Tile, state: State) -> Tensor:
        """ln σ(s_j) + ln p_ij; the votes are taken about μ_j here."""
        squares, scale = tile.votes.square(), state.scale
        if self.density == "gaussian":
            deviations = 0.5 * state.variance.log().sum(dim=-1)
            deviations = deviations + squares.shape[-1] * scale.squeeze(-1).log()
            distance = deviations.unsqueeze(-2) + agreement(squares, 0.5 / state.variance)
        else:
            largest = torch.finfo(squares.dtype).max / 4
            area = scale.square().clamp(max=largest).squeeze(-1).unsqueeze(-2)
            distance = (squares.sum(dim=-1) * area).clamp(max=largest)
        logits = log_sigmoid(state.score).unsqueeze(-2) - distance
        return constant_if_too_large(logits, scale)

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Totals:
        beta_use = self.beta_use[tile.indices]
        beta_ignore = beta_use if self.single_beta else self.beta_ignore[tile.indices]
        a = tile.activation.unsqueeze(-1)
        use = a * coupling
        credit = (beta_use * use - beta_ignore * (a - use)).sum(dim=-2)
        return Totals(*moments(tile, coupling), credit)

    def settle(self, statistics: Totals, state: State, t: int) -> State:
        centre, scale = state.centre, state.scale
        of_votes, credit = Moments(*statistics[:3]), statistics.credit
        mass = of_votes.mass + EPSILON
        mean = weighted_total(of_votes, centre, scale) / mass
        variance = spread_about(mean, of_votes, centre, scale) / mass
        return State(mean, variance + least_variance(EPSILON, scale), credit, mean, scale)

    def finish(self, state: State) -> Capsules:
        return Capsules(state.mean, torch.sigmoid(state.score))
