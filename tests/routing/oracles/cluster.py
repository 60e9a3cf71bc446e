"""Cluster routing (Zhao, Cheng 2021), one scalar at a time."""

import math

import numpy as np

from tests.oracle import Array


def route(votes: Array) -> Array:
    """Σ_t k_tc μ_tc of V [B, F_y, F_x, T, N, C, D], before the LayerNorm: [B, F_y, F_x, C, D]."""
    B, F_y, F_x, T, N, C, D = votes.shape
    found = np.zeros((B, F_y, F_x, C, D))
    for n, y, x, c, d in np.ndindex(found.shape):
        means, closeness = [], []
        for t in range(T):
            cluster = [float(votes[n, y, x, t, k, c, d]) for k in range(N)]
            mean = math.fsum(cluster) / N
            spread = math.fsum((value - mean) ** 2 for value in cluster) / N
            means.append(mean)
            closeness.append(1 / math.sqrt(spread + 1e-12))
        total = math.fsum(k * mean for k, mean in zip(closeness, means))
        found[n, y, x, c, d] = total / math.fsum(closeness)
    return found
