"""Interests as recommenders route them (MIND and its kin), one scalar at a time."""

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
    update: str = "add",
    scale: float = 1.0,
    power: float = 1.0,
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for û [B, I, J, D], from logits of 0; activations are not looked at."""
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
                z = [math.fsum(c[i][j] * votes[n, i, j, d] for i in real) for d in range(D)]
                v = squashed(z, power)
                trace["pose"][t, n, j] = v
                trace["activation"][t, n, j] = length(v)
                for i in real:
                    u = [float(x) for x in votes[n, i, j]]
                    with_v, with_z = (math.fsum(map(float.__mul__, u, x)) for x in (v, z))
                    b[i][j] = {
                        "add": b[i][j] + with_v,
                        "dot": over(with_z, length(z)),
                        "cosine": scale * over(with_z, length(z) * length(u)),
                        "residual": scale * (c[i][j] + over(with_z, length(u))),
                    }[update]
    return trace


def length(x: list[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in x))


def over(x: float, y: float) -> float:
    return x / y if y else 0.0


def squashed(z: list[float], power: float) -> list[float]:
    """(|z|² / (1 + |z|²))^power · z / |z|"""
    n = length(z)
    return [over((n * n / (1 + n * n)) ** power * x, n) for x in z]
