"""Heinsen's routing of 2019, one scalar at a time."""

import math
from typing import Any

from tests import oracle
from tests.oracle import Array


def route(
    votes: Array,
    activation: Array | None,
    mask: Array | None,
    learned: dict[str, Array],
    *,
    iterations: int,
    density: str = "gaussian",
    single_beta: bool = False,
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for V [B, I, J, D] and a [B, I] (1 where none are given)."""
    B, I, J, D = votes.shape
    beta_use = learned["beta_use"]
    beta_ignore = beta_use if single_beta else learned["beta_ignore"]
    trace = oracle.empty_trace(iterations, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        a = {i: 1.0 if activation is None else float(activation[n, i]) for i in real}
        logits = {i: [0.0] * J for i in real}
        for t in range(iterations):
            R = {i: oracle.softmax(logits[i], leaky=False) for i in real}
            for i in real:
                trace["logits"][t, n, i], trace["coupling"][t, n, i] = logits[i], R[i]
            for j in range(J):
                use = {i: a[i] * R[i][j] for i in real}
                total = math.fsum(use.values()) + 1e-5
                paid = math.fsum(beta_use[i, j] * use[i] for i in real)
                owed = math.fsum(beta_ignore[i, j] * (a[i] - use[i]) for i in real)
                V = {i: votes[n, i, j] for i in real}
                mu = [math.fsum(use[i] * V[i][d] for i in real) / total for d in range(D)]
                var = [
                    math.fsum(use[i] * (V[i][d] - mu[d]) ** 2 for i in real) / total + 1e-5
                    for d in range(D)
                ]
                score = paid - owed
                sure = min(score, 0.0) - math.log1p(math.exp(-abs(score)))
                for i in real:
                    squares = [(V[i][d] - mu[d]) ** 2 for d in range(D)]
                    if density == "gaussian":
                        terms = [
                            squares[d] / (2 * var[d]) + 0.5 * math.log(var[d]) for d in range(D)
                        ]
                        logits[i][j] = sure - math.fsum(terms)
                    else:
                        logits[i][j] = sure - math.fsum(squares)
                trace["pose"][t, n, j] = mu
                trace["activation"][t, n, j] = 1 / (1 + math.exp(-score))
    return trace
