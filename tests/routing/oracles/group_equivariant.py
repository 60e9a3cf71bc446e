"""Group-equivariant capsules (Lenssen, Fey, Libuschewski 2018), one scalar at a time."""

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
    """Every sweep for V [B, I, J, D] and a [B, I]: the means, then the activation."""
    B, I, J, D = votes.shape
    alpha, beta = float(learned["alpha"][0]), float(learned["beta"][0])
    trace = oracle.empty_trace(iterations + 2, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        for j in range(J):
            V = {i: unit(votes[n, i, j]) for i in real}
            a = {i: 1.0 if activation is None else float(activation[n, i]) for i in real}
            closeness = dict.fromkeys(real, 1.0)
            v = np.zeros(D)
            for t in range(iterations + 2):
                w_before = {i: a[i] * closeness[i] for i in real}
                if t > 0:
                    for i in real:
                        product = math.fsum(V[i][d] * v[d] for d in range(D))
                        closeness[i] = 1 - (1 - product) / 2
                for i in real:
                    trace["coupling"][t, n, i, j] = closeness[i]
                    trace["logits"][t, n, i, j] = closeness[i]
                if t < iterations + 1:
                    v = unit(
                        np.array(
                            [
                                math.fsum(a[i] * closeness[i] * V[i][d] for i in real)
                                for d in range(D)
                            ]
                        )
                    )
                else:
                    counted = [i for i in real if w_before[i] != 0]
                    fit = math.fsum(closeness[i] * w_before[i] for i in counted)
                    if counted:
                        z = alpha * fit / len(counted) + beta - 1
                        trace["activation"][t, n, j] = 1 / (1 + math.exp(-z))
                trace["pose"][t, n, j] = v
    return trace


def unit(x: Array) -> Array:
    """x / |x|, or 0."""
    length = math.sqrt(math.fsum(float(value) ** 2 for value in x))
    return x / length if length else np.zeros_like(x)
