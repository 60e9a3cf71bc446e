"""EM routing: Hinton, Sabour, Frosst (2018), matrix capsules."""

import math
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import agreement, log_sigmoid
from torchcaps.routing.law import Law
from torchcaps.routing.moments import (
    LEAST_FLOOR,
    GaussianRouting,
    Moments,
    by_mass,
    constant_if_too_large,
    least_variance,
    moments,
    spread_about,
    weighted_total,
)
from torchcaps.routing.packed import SHARED
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper, check_choice, check_number, check_switch

__all__ = ["EMRouting"]

DECAY = 0.95  # of what λ_t lacks to λ
ENOUGH = 1e-20  # of a mass_floor, that no slope overflows


class State(NamedTuple):
    """The Gaussians of the parents, and about what votes are taken.

    μ_j `[..., J, D]`, σ²_j / scale² `[..., J, D]`, z_j `[..., J]` (the logit of a_j), the centre
    `[..., J, D]`, which no result depends on, and the scale `[..., J, 1]`, 1 for votes of ordinary
    size.
    """

    mean: Tensor
    variance: Tensor
    logit: Tensor
    centre: Tensor
    scale: Tensor


class EMRouting(GaussianRouting[State]):
    """Output capsules are Gaussians, fitted to the votes by expectation maximisation.

    R_ij = 1/J, then for t = 1 … r, with w_ij = R_ij a_i and m_j = Σ_i w_ij:
    μ_j = Σ_i w_ij V_ij / m_j,  σ²_jh = Σ_i w_ij (V_ijh − μ_jh)² / m_j,
    a_j = σ(z_j),  z_j = λ_t (β_a,j − m_j Σ_h (β_u,j + ln σ_jh)),  λ_t = λ (1 − 0.95^t),
    R_i· = softmax_j (ln a_j + ln N(V_ij; μ_j, σ²_j)).

    Second moments are taken about the mean of the iteration before, never as ΣV² − μ²; z is kept,
    never ln(σ(z)). For votes so large that their squares would overflow (1.8e19 in float32) the
    coupling is a constant in backward: what goes through it would overflow too.

    Args:
        iterations: r ≥ 1.
        final_lambda: λ ≥ 0, the inverse temperature (0.01 in the paper). Default: what makes the
            λ_t of the last iteration lambda_scale · J / Σ_j m_j (or lambda_scale · J, where the sum
            is below 1), so that z does not grow with the number of active children. Σ_j m_j is
            Σ_i a_i where the couplings of a child sum to 1, and J times that where each is 1.
        variance_floor: added to every variance, at least 1e-12; without it one child gives
            infinite density. Where a vote is larger than 1e6, at least 1e-12 of its square
            is added (in float64 1e-28): smaller spreads than that are lost to rounding.
        mean_momentum: ρ in [0, 1]: μ is (1 − ρ) of the mean above and ρ of the μ before it, which
            is 0 at first (the authors' code has 0.1, the paper none).
        mass_floor: added to every m_j, at least 0. Without it, a parent that nothing comes to is
            at 0, and one with so little mass that slopes would overflow is a constant in backward.
        lambda_scale: at least 0, factor of the default λ. 1 / D takes the mean of the cost over
            components, which keeps deep networks from starting with all capsules on or off.
        constant_lambda: λ_t = λ in every iteration.
        first_coupling: R in the first iteration: "shared", 1/J; or "whole", 1 for every parent.
        detach, backend: as for every `Routing`.

    Learned: `beta_a`, `beta_u` `[J]`. They start at 0 and 3: votes that spread by e⁻³ = 0.05 give
    z = 0. (Published code starts both at 0 or at ½ to 2, with votes of unit size. Weights of s.d.
    0.1, as in `DenseCaps`, then start with every capsule active, which does not train.)

    Returns of `forward`:
        `Capsules(pose μ [..., J, D], activation a [..., J])`.

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR; λ_t after the
    authors' code. That code's class layer is this one with other names: λ = 2λ', β_a = −2500 β',
    β_u = ½ β_s' (ln 2π + 1), mean_momentum 0.1, mass_floor 1e-5. So is IBM's: λ = 100 λ' J / I,
    β_a = β_a' I / (100 J), β_u = β_v', variance_floor 1e-9; that of yl-1993, but that there a
    cancels: constant_lambda, variance_floor and mass_floor 1e-8; and SR-CapsNet's:
    first_coupling="whole", variance_floor 1e-12, mass_floor 0.

    Example:
        >>> routing = EMRouting(3).build(in_caps=6, in_dim=16, out_caps=10, out_dim=16)
        >>> routing(torch.randn(2, 6, 10, 16), torch.rand(2, 6)).activation.shape
        torch.Size([2, 10])
    """

    name = "em"
    fused = True
    paper = Paper("Hinton, Sabour, Frosst", 2018, "Matrix Capsules with EM Routing", "ICLR")
    class_loss = "log_odds"

    def __init__(
        self,
        iterations: int = 3,
        *,
        final_lambda: float | None = None,
        variance_floor: float = 5e-4,
        mean_momentum: float = 0.0,
        mass_floor: float = 1e-7,
        lambda_scale: float = 1.0,
        constant_lambda: bool = False,
        first_coupling: str = "shared",
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        if final_lambda is not None:
            check_number("final_lambda", final_lambda, least=0)
        check_number("variance_floor", variance_floor, least=LEAST_FLOOR)
        check_number("mean_momentum", mean_momentum, least=0, most=1)
        check_number("mass_floor", mass_floor, least=0)
        check_number("lambda_scale", lambda_scale, least=0)
        check_switch("constant_lambda", constant_lambda)
        check_choice("first_coupling", first_coupling, ("shared", "whole"))
        self.final_lambda = final_lambda
        self.variance_floor = variance_floor
        self.mean_momentum = mean_momentum
        self.mass_floor = mass_floor
        self.lambda_scale = lambda_scale
        self.constant_lambda = constant_lambda
        self.first_coupling = first_coupling
        self.register_parameter("beta_a", None)
        self.register_parameter("beta_u", None)

    @property
    def laws(self) -> frozenset[Law]:
        found = {
            Law.ODD, Law.INPUT_ORDER_IS_FREE, Law.INACTIVE_INPUTS_HAVE_NO_INFLUENCE,
        }  # fmt: skip
        if self.first_coupling == "shared":
            found.add(Law.COUPLING_SHARES_ONE_UNIT)
        return frozenset(found)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        self.beta_a = nn.Parameter(torch.zeros(out_caps))
        self.beta_u = nn.Parameter(torch.full((out_caps,), 3.0))
        return self

    @property
    def built_for(self) -> dict[str, int]:
        return {"out_caps": len(self.beta_a)}

    @property
    def counts_absent(self) -> bool:
        return self.final_lambda is None  # its λ counts the parents

    def first_state(self, centre: Tensor, scale: Tensor) -> State:
        nothing = torch.zeros_like(centre)
        return State(nothing, nothing, nothing[..., 0], centre, scale)

    def score(self, tile: Tile, state: State) -> Tensor:
        """ln a_j + ln N(V_ij; μ_j, σ²_j); the centre is μ_j here."""
        parent, precision = self.density(state)
        logits = parent.unsqueeze(-2) - agreement(tile.votes.square(), precision)
        return constant_if_too_large(logits, state.scale)

    def density(self, state: State) -> tuple[Tensor, Tensor]:
        """ln a_j + ln N at the centre `[..., J]`, and half the precisions `[..., J, D]`."""
        normaliser = self.log_deviations(state.variance, state.scale)
        normaliser = normaliser + 0.5 * math.log(2 * math.pi) * state.mean.shape[-1]
        return log_sigmoid(state.logit) - normaliser, 0.5 / state.variance

    def couple_first(self, tile: Tile, logits: Tensor) -> Tensor:
        if self.first_coupling == "whole":
            return torch.ones_like(logits)
        return self.couple(tile, logits)

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Moments:
        return moments(tile, coupling)

    def first_share(self, outputs: int) -> float:
        return SHARED if self.first_coupling == "shared" else 1.0

    def settle(self, statistics: Moments, state: State, t: int) -> State:
        """The M-step."""
        m, scale = statistics.mass, state.scale
        own = m + self.mass_floor
        fit = partial(self.gaussian, statistics, state)
        if self.mass_floor >= ENOUGH:
            mean, variance = fit(torch.where(own > 0, own, 1))  # at most 0: negative activities
        else:
            mean, variance = by_mass(fit, torch.where(own < 0, 1, own))
        cost = own.squeeze(-1) * (
            mean.shape[-1] * self.beta_u + self.log_deviations(variance, scale)
        )
        logit = self.inverse_temperature(m, t) * (self.beta_a - cost)
        return State(mean, variance, logit, mean, scale)

    def gaussian(self, statistics: Moments, state: State, mass: Tensor) -> tuple[Tensor, Tensor]:
        """μ_j and σ²_j / scale², of parents of these masses."""
        centre, scale = state.centre, state.scale
        weighted_mean = weighted_total(statistics, centre, scale) / mass
        mean = (1 - self.mean_momentum) * weighted_mean + self.mean_momentum * state.mean
        variance = spread_about(mean, statistics, centre, scale) / mass
        return mean, variance + least_variance(self.variance_floor, scale)

    def inverse_temperature(self, m: Tensor, t: int) -> Tensor | float:
        """λ_t, from the masses `[..., J, 1]`."""
        if self.final_lambda is not None:
            return self.final_lambda * self.warm(t)
        active = m.sum(dim=-2).clamp(min=1)  # [..., 1]
        last = self.lambda_scale * m.shape[-2] / active
        return last * (self.warm(t) / self.warm(self.iterations))

    def warm(self, t: int) -> float:
        """λ_t / λ"""
        return 1.0 if self.constant_lambda else 1 - DECAY**t

    def finish(self, state: State) -> Capsules:
        return Capsules(state.mean, torch.sigmoid(state.logit))

    @staticmethod
    def log_deviations(variance: Tensor, scale: Tensor) -> Tensor:
        """Σ_h ln σ_jh, `[..., J]`."""
        return 0.5 * variance.log().sum(dim=-1) + variance.shape[-1] * scale.squeeze(-1).log()
