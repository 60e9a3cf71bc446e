"""Inverted dot-product attention (Tsai and others 2020), one scalar at a time."""

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
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for V [B, I, J, D]; activations of the inputs are not looked at."""
    B, I, J, D = votes.shape
    r = iterations
    trace = oracle.empty_trace(r, votes.shape)
    head, bias = learned["head.weight"][0], float(learned["head.bias"][0])
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        v = np.zeros((J, D))
        for t in range(r):
            total = np.zeros((J, D))
            for i in real:
                logits = [0.0] * J
                if t > 0:
                    for j in range(J):
                        fit = math.fsum(votes[n, i, j, d] * v[j, d] for d in range(D))
                        logits[j] = fit / math.sqrt(D)
                shares = oracle.softmax(logits, leaky=False)
                for j in range(J):
                    share = shares[j] / (math.fsum(shares) + 1e-10)
                    trace["logits"][t, n, i, j] = logits[j]
                    trace["coupling"][t, n, i, j] = share
                    for d in range(D):
                        total[j, d] += share * votes[n, i, j, d]
            for j in range(J):
                v[j] = total[j] if D == 1 else layer_norm(total[j], learned)
                trace["pose"][t, n, j] = v[j]
                z = math.fsum(head[d] * v[j, d] for d in range(D)) + bias
                trace["activation"][t, n, j] = 1 / (1 + math.exp(-z))
    return trace


def layer_norm(x: Array, learned: dict[str, Array]) -> Array:
    """To mean 0 and variance 1, then learned scale and shift."""
    mean = math.fsum(x) / len(x)
    variance = math.fsum((value - mean) ** 2 for value in x) / len(x)
    scale, shift = learned["norm.weight"], learned["norm.bias"]
    return np.array(
        [
            (float(value) - mean) / math.sqrt(variance + 1e-5) * scale[d] + shift[d]
            for d, value in enumerate(x)
        ]
    )
