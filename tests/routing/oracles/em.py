"""EM routing (Hinton, Sabour, Frosst 2018), one scalar at a time."""

import math
from typing import Any

import numpy as np

from tests import oracle
from tests.oracle import Array


def route(
    votes: Array,
    activation: Array | None,
    mask: Array | None,
    learned: dict[str, Array],
    *,
    iterations: int,
    final_lambda: float | None = None,
    variance_floor: float = 5e-4,
    mean_momentum: float = 0.0,
    mass_floor: float = 1e-7,
    lambda_scale: float = 1.0,
    constant_lambda: bool = False,
    first_coupling: str = "shared",
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for V [B, I, J, D] and a [B, I] (1 where none are given)."""
    B, I, J, D = votes.shape
    r = iterations
    beta_a, beta_u = learned["beta_a"], learned["beta_u"]

    def warm(t: int) -> float:
        return 1.0 if constant_lambda else 1 - 0.95**t

    trace = oracle.empty_trace(r, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        a = [1.0 if activation is None else float(activation[n, i]) for i in range(I)]
        mean, variance, z = np.zeros((J, D)), np.zeros((J, D)), np.zeros(J)
        for t in range(1, r + 1):
            R = {}
            for i in real:  # E-step
                logits = [0.0] * J
                if t > 1:
                    logits = [
                        log_sigmoid(z[j]) + log_normal(votes[n, i, j], mean[j], variance[j])
                        for j in range(J)
                    ]
                R[i] = oracle.softmax(logits, leaky=False)
                if t == 1 and first_coupling == "whole":
                    R[i] = [1.0] * J
                trace["logits"][t - 1, n, i], trace["coupling"][t - 1, n, i] = logits, R[i]
            for j in range(J):  # M-step
                m = math.fsum(R[i][j] * a[i] for i in real) + mass_floor
                previous = mean[j].copy()
                for d in range(D):
                    total = math.fsum(R[i][j] * a[i] * votes[n, i, j, d] for i in real) / m
                    mean[j, d] = (1 - mean_momentum) * total + mean_momentum * previous[d]
                for d in range(D):
                    spread = [R[i][j] * a[i] * (votes[n, i, j, d] - mean[j, d]) ** 2 for i in real]
                    variance[j, d] = math.fsum(spread) / m + variance_floor
                entropy = 0.5 * math.fsum(math.log(x) for x in variance[j])
                cost = m * (D * beta_u[j] + entropy)
                final = final_lambda
                if final is None:  # λ_r = J / Σ_ij w_ij, which is Σ_i a_i
                    active = math.fsum(R[i][k] * a[i] for i in real for k in range(J))
                    final = lambda_scale * J / max(1.0, active) / warm(r)
                z[j] = final * warm(t) * (beta_a[j] - cost)
                trace["pose"][t - 1, n, j] = mean[j]
                trace["activation"][t - 1, n, j] = math.exp(log_sigmoid(z[j]))
    return trace


def log_sigmoid(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def log_normal(x: Array, mean: Array, variance: Array) -> float:
    """Log density of independent Gaussians."""
    return -0.5 * math.fsum(
        math.log(2 * math.pi * variance[d]) + (x[d] - mean[d]) ** 2 / variance[d]
        for d in range(len(x))
    )
