"""Variational Bayes routing (Ribeiro, Leontidis, Kollias 2020), one scalar at a time.

In the authors' form, with the mean of the votes: where no child has weight, that mean is 0.
"""

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
    covariance: str = "diagonal",
    evidence_floor: float = 0.0,
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for V [B, I, J, D] and a [B, I] (1 where none are given)."""
    B, I, J, D = votes.shape
    trace = oracle.empty_trace(iterations, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        a = {i: 1.0 if activation is None else float(activation[n, i]) for i in real}
        logits = {i: [0.0] * J for i in real}
        R = {i: [1.0 / J] * J for i in real}
        for t in range(iterations):
            for i in real:
                if t > 0:
                    R[i] = shares(logits[i], evidence_floor)
                trace["logits"][t, n, i], trace["coupling"][t, n, i] = logits[i], R[i]
            N = [math.fsum(R[i][j] * a[i] for i in real) for j in range(J)]
            parents = []
            for j in range(J):
                weights = [R[i][j] * a[i] for i in real]
                V = [[float(x) for x in votes[n, i, j]] for i in real]
                log_share = digamma(1 + N[j]) - digamma(J + math.fsum(N))
                parents.append((*posterior(weights, V, D, covariance), log_share))
            for i in real:
                logits[i] = [log_density(votes[n, i, j], *parents[j], covariance) for j in range(J)]
            for j, (m, *_unused, log_precision, log_share) in enumerate(parents):
                entropy = 0.5 * D * math.log(2 * math.pi * math.e) - 0.5 * log_precision
                cost = math.exp(log_share) * entropy + learned["beta_u"][j]
                z = normal(learned["beta_a"][j] - cost, learned, "norm_activation", j)
                trace["activation"][t, n, j] = 1 / (1 + math.exp(-z))
                trace["pose"][t, n, j] = [normal(x, learned, "norm_pose", j) for x in m]
    return trace


def posterior(
    w: list[float], V: list[list[float]], D: int, covariance: str
) -> tuple[list[float], Array, float, float]:
    """m, Q, ν and Λ of a parent."""
    N = math.fsum(w)
    kappa, nu = 1 + N, D + 1 + N
    x = [math.fsum(w[i] * V[i][d] for i in range(len(w))) / N if N else 0.0 for d in range(D)]
    m = [N * x[d] / kappa for d in range(D)]
    Q = np.eye(D)
    for d in range(D):
        for e in range(D):
            if covariance == "full" or d == e:
                spread = [w[i] * (V[i][d] - x[d]) * (V[i][e] - x[e]) for i in range(len(w))]
                Q[d, e] += math.fsum(spread) + N / kappa * x[d] * x[e]
    psi = math.fsum(digamma((nu - h) / 2) for h in range(D))
    return m, Q, nu, psi + D * math.log(2) - float(np.linalg.slogdet(Q)[1])


def log_density(
    vote: Array, m: list[float], Q: Array, nu: float, log_precision: float, log_share: float,
    covariance: str,
) -> float:  # fmt: skip
    D = len(m)
    d = vote - np.array(m)
    distance = float(d @ np.linalg.solve(Q, d))
    whole = log_share + 0.5 * log_precision - 0.5 * D * math.log(2 * math.pi)
    return whole - 0.5 * (D / (nu - D) + nu * distance)


def shares(logits: list[float], floor: float) -> list[float]:
    """Softmax, but of a sum that is at least the floor."""
    top = max(logits)
    evidence = top + math.log(math.fsum(math.exp(x - top) for x in logits))
    if floor:
        evidence = max(evidence, math.log(floor))
    return [math.exp(x - evidence) for x in logits]


def normal(x: float, learned: dict[str, Array], norm: str, j: int) -> float:
    """A batch norm in evaluation mode."""
    mean, variance = learned[f"{norm}.running_mean"][j], learned[f"{norm}.running_var"][j]
    return float((x - mean) / math.sqrt(variance + 1e-5))


def digamma(x: float) -> float:
    """The derivative of ln Γ at x > 0: raised to where its series is exact."""
    below = 0.0
    while x < 20:
        below += 1 / x
        x += 1
    return math.log(x) - 0.5 / x - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6) - below
