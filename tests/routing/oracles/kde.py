"""Kernel density estimation (Zhang, Zhao, Wu, Zhao 2018), one scalar at a time."""

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
    trace = oracle.empty_trace(iterations, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        b = {i: [0.0] * J for i in real}
        for t in range(iterations):
            c = {i: oracle.softmax(b[i], leaky=False) for i in real}
            for i in real:
                trace["logits"][t, n, i], trace["coupling"][t, n, i] = b[i], c[i]
            for j in range(J):
                mass = math.fsum(c[i][j] for i in real)
                mean = [
                    math.fsum(c[i][j] * votes[n, i, j, d] for i in real) / mass if real else 0.0
                    for d in range(D)
                ]
                v = oracle.squash(np.array(mean), half=0.5)
                trace["pose"][t, n, j] = v
                trace["activation"][t, n, j] = math.sqrt(math.fsum(x * x for x in v))
                for i in real:
                    q = oracle.squash(votes[n, i, j], half=0.5)
                    b[i][j] += 1 - math.fsum((q[d] - v[d]) ** 2 for d in range(D))
    return trace
