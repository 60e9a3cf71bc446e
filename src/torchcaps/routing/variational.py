"""Variational Bayes routing: Ribeiro, Leontidis, Kollias (2020)."""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import agreement, digamma
from torchcaps.routing.batch_norm import BatchNorm
from torchcaps.routing.law import Law
from torchcaps.routing.moments import (
    GaussianRouting,
    Moments,
    constant_if_too_large,
    least_variance,
    moments,
    spread_about,
    weighted_total,
)
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper, check_choice, check_number

__all__ = ["VariationalRouting"]

ROUNDING = 8  # of a covariance matrix, in units of its last digit: so much it is kept from singular


class State(NamedTuple):
    """The posterior of the parents, and about what votes are taken.

    m_j `[..., J, D]`; Q_j / scale², `[..., J, D]`, or its Cholesky factor `[..., J, D, D]`;
    ν_j, Λ_j = E ln |precision| and π_j = E ln (mixing coefficient), each `[..., J, 1]`; the
    centre `[..., J, D]`, which no result depends on, and the scale `[..., J, 1]`, 1 for votes of
    ordinary size.
    """

    mean: Tensor
    spread: Tensor
    nu: Tensor
    log_precision: Tensor
    log_share: Tensor
    centre: Tensor
    scale: Tensor


class VariationalRouting(GaussianRouting[State]):
    """Output capsules are Gaussians of a mixture with priors, fitted by variational Bayes.

    R_ij = 1/J, then for t = 1 … r, with w_ij = R_ij a_i and N_j = Σ_i w_ij:
    α_j = κ_j = 1 + N_j,  ν_j = D + 1 + N_j,  m_j = Σ_i w_ij V_ij / κ_j,
    Q_j = I + Σ_i w_ij (V_ij − m_j)(V_ij − m_j)ᵀ + m_j m_jᵀ  (or its diagonal),
    Λ_j = Σ_{h<D} ψ((ν_j − h) / 2) + D ln 2 − ln |Q_j|,  π_j = ψ(α_j) − ψ(Σ_k α_k),
    ℓ_ij = π_j + ½ Λ_j − ½ D ln 2π − ½ (D / κ_j + ν_j (V_ij − m_j)ᵀ Q_j⁻¹ (V_ij − m_j)),
    R_ij = exp(ℓ_ij − max(Z_i, ln evidence_floor)),  Z_i = ln Σ_j exp ℓ_ij.
    With the entropy H_j = ½ D ln(2πe) − ½ Λ_j:
    a_j = σ(BN(β_a,j − e^π_j H_j − β_u,j)),  pose_j = BN(m_j)

    (Q as here is the authors' Ψ + Σ w (V − x̄)(V − x̄)ᵀ + (N/κ) x̄ x̄ᵀ with the mean x̄ = κ m / N, in a
    form without division by N, which may be 0.) The prior keeps variances from collapsing: there
    is no variance floor. Everything is in logarithms; the published code, which is not, gives NaN
    where all densities underflow.

    Args:
        iterations: r ≥ 1.
        covariance: "diagonal" or "full".
        evidence_floor: in [0, 1]. An input capsule whose evidence Σ_j exp ℓ_ij is below it gives
            away less than 1 in all, as an outlier. 0 as in the paper; the published code has 1e-11,
            which is above the density of an ordinary vote for 16 components.
        detach, backend: as for every `Routing`.

    Learned: `beta_a`, `beta_u` `[J]`, from 0. `norm_activation` and `norm_pose` are batch norms
    without scale and shift, one mean and variance a parent. In training they look at the whole
    batch, which then must have more than one sample.

    Reference: Ribeiro, Leontidis, Kollias (2020), *Capsule Routing via Variational Bayes*, AAAI.

    Example:
        >>> routing = VariationalRouting(3).build(in_caps=6, in_dim=16, out_caps=10, out_dim=16)
        >>> routing(torch.randn(2, 6, 10, 16), torch.rand(2, 6)).activation.shape
        torch.Size([2, 10])
    """

    name = "variational"
    counts_absent = True  # π_j is a share of all parents
    fused = True
    paper = Paper(
        "Ribeiro, Leontidis, Kollias", 2020, "Capsule Routing via Variational Bayes", "AAAI 34"
    )
    class_loss = "log_odds"

    def __init__(
        self,
        iterations: int = 3,
        *,
        covariance: str = "diagonal",
        evidence_floor: float = 0.0,
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        check_choice("covariance", covariance, ("diagonal", "full"))
        check_number("evidence_floor", evidence_floor, least=0, most=1)
        self.covariance = covariance
        self.evidence_floor = evidence_floor
        for name in ("beta_a", "beta_u"):
            self.register_parameter(name, None)
        for name in ("norm_activation", "norm_pose"):
            self.register_module(name, None)

    @property
    def laws(self) -> frozenset[Law]:
        laws = {Law.INPUT_ORDER_IS_FREE, Law.INACTIVE_INPUTS_HAVE_NO_INFLUENCE}
        return frozenset(laws if self.evidence_floor else laws | {Law.COUPLING_SHARES_ONE_UNIT})

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        self.beta_a = nn.Parameter(torch.zeros(out_caps))
        self.beta_u = nn.Parameter(torch.zeros(out_caps))
        self.norm_activation = BatchNorm(out_caps)
        self.norm_pose = BatchNorm(out_caps)
        return self

    @property
    def built_for(self) -> dict[str, int]:
        return {"out_caps": len(self.beta_a)}

    def first_state(self, centre: Tensor, scale: Tensor) -> State:
        unknown, one = torch.zeros_like(centre), torch.zeros_like(centre[..., :1])
        return State(unknown, self.full(unknown), one, one, one, centre, scale)

    def score(self, tile: Tile, state: State) -> Tensor:
        """ℓ_ij; the votes are taken about m_j here."""
        parent, precision = self.density(state)
        if self.covariance == "full":
            whitened = self.whitened(tile.votes, state.spread)
            squares = 0.5 * state.nu.squeeze(-1).unsqueeze(-2) * whitened.square().sum(dim=-1)
        else:
            squares = agreement(tile.votes.square(), precision)
        return constant_if_too_large(parent.unsqueeze(-2) - squares, state.scale)

    def density(self, state: State) -> tuple[Tensor, Tensor]:
        """ℓ at m_j `[..., J]`, and, where the covariance is diagonal, half the precisions
        `[..., J, D]`."""
        D = state.mean.shape[-1]
        kappa = state.nu - D
        constant = state.log_share + 0.5 * state.log_precision - 0.5 * D * math.log(2 * math.pi)
        precision = state.spread if self.covariance == "full" else 0.5 * state.nu / state.spread
        return (constant - 0.5 * D / kappa).squeeze(-1), precision

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        if not self.evidence_floor:
            return tile.compete(logits)
        evidence = tile.evidence(logits).clamp(min=math.log(self.evidence_floor))
        return torch.exp(logits - evidence.unsqueeze(-1))

    def couple_first(self, tile: Tile, logits: Tensor) -> Tensor:
        """1/J, at each position that sees a child, where positions compete (as published)."""
        return torch.full_like(logits, 1 / max(1, logits.shape[-1]))

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Moments:
        found = moments(tile, coupling)
        if self.covariance == "diagonal":
            return found
        w, d = coupling * tile.activation.unsqueeze(-1), tile.votes
        return found._replace(second=torch.einsum("...ij,...ijd,...ije->...jde", w, d, d))

    def first_share(self, outputs: int) -> float:
        return 1 / outputs

    def settle(self, statistics: Moments, state: State, t: int) -> State:
        centre, scale = state.centre, state.scale
        D = centre.shape[-1]
        alpha = kappa = 1 + statistics.mass
        nu = D + kappa
        mean = weighted_total(statistics, centre, scale) / kappa
        spread, log_det = self.posterior_spread(mean, statistics, centre, scale)
        orders = torch.arange(D, dtype=nu.dtype, device=nu.device)
        psi = digamma((nu - orders) / 2).sum(dim=-1, keepdim=True)
        log_precision = psi + D * math.log(2) - log_det
        log_share = digamma(alpha) - digamma(alpha.sum(dim=-2, keepdim=True))
        return State(mean, spread, nu, log_precision, log_share, mean, scale)

    def posterior_spread(
        self, mean: Tensor, statistics: Moments, centre: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Q_j / scale² as `State` holds it, and ln |Q_j|, `[..., J, 1]`."""
        prior, relative = least_variance(1, scale), mean / scale
        log_scale = 2 * mean.shape[-1] * scale.log()
        if self.covariance == "diagonal":
            spread = prior + relative.square() + spread_about(mean, statistics, centre, scale)
            return spread, spread.log().sum(dim=-1, keepdim=True) + log_scale
        m, first, second = statistics
        shift = (mean - centre) / scale
        cross = outer(shift, first)
        scatter = second - cross - cross.mT + m.unsqueeze(-1) * outer(shift, shift)
        Q = scatter + outer(relative, relative)
        # What rounding leaves is of the size of the sum, or of terms that cancel.
        total = Q.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True)
        terms = second.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True)
        size = torch.where(terms > ROUNDING * total, terms, total)
        least = ROUNDING * torch.finfo(Q.dtype).eps * size.detach()
        factor = torch.linalg.cholesky(Q + torch.diag_embed((prior + least).expand_as(mean)))
        log_diagonal = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1, keepdim=True)
        return factor, 2 * log_diagonal + log_scale

    def finish(self, state: State) -> Capsules:
        entropy = 0.5 * (
            state.mean.shape[-1] * math.log(2 * math.pi * math.e) - state.log_precision
        )
        cost = (state.log_share.exp() * entropy).squeeze(-1) + self.beta_u
        logit, mean = self.beta_a - cost, state.mean
        samples = logit.unsqueeze(0).flatten(0, -2), mean.unsqueeze(0).flatten(0, -3)
        logit = self.norm_activation(samples[0]).reshape(logit.shape)
        pose = self.norm_pose(samples[1]).reshape(mean.shape)
        return Capsules(pose, torch.sigmoid(logit))

    def full(self, x: Tensor) -> Tensor:
        """x `[..., D]`, with one more axis of the same length where covariances are full."""
        return outer(x, x) if self.covariance == "full" else x

    @staticmethod
    def whitened(d: Tensor, factor: Tensor) -> Tensor:
        """L_j⁻¹ d_ij of `[..., i, J, D]` and Cholesky factors L_j `[..., J, D, D]`."""
        columns = d.movedim(-3, -1)  # [..., J, D, i]
        solved: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
        return solved.movedim(-1, -3)


def outer(x: Tensor, y: Tensor) -> Tensor:
    """x yᵀ, `[..., D, D]`."""
    return x.unsqueeze(-1) * y.unsqueeze(-2)
