"""Attention routing of AR-CapsNet (Choi and others 2019), one scalar at a time."""

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
    **_: Any,
) -> dict[str, Array]:
    """Its one pass for V [B, I, J, D]; activations of the inputs are not looked at."""
    B, I, J, D = votes.shape
    attention, matrix, bias = (learned[name] for name in ("attention", "matrix", "bias"))
    trace = {
        "logits": np.zeros((1, B, I, J)),
        "coupling": np.zeros((1, B, I, J)),
        "pose": np.zeros((1, B, J, D)),
        "activation": np.zeros((1, B, J)),
    }
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        for j in range(J):
            scores = [
                math.fsum(votes[n, k, j, d] * attention[j, d, k, i] for k in real for d in range(D))
                for i in real
            ]
            shares = oracle.softmax(scores, leaky=False) if real else []
            for i, score, share in zip(real, scores, shares):
                trace["logits"][0, n, i, j], trace["coupling"][0, n, i, j] = score, share
            s = [
                math.fsum(share * votes[n, i, j, d] for i, share in zip(real, shares))
                for d in range(D)
            ]
            for e in range(D):
                total = math.fsum(matrix[j, e, d] * s[d] for d in range(D)) + bias[j, e]
                trace["pose"][0, n, j, e] = math.tanh(total)
            length = math.sqrt(math.fsum(x**2 for x in trace["pose"][0, n, j]))
            trace["activation"][0, n, j] = length / math.sqrt(D)
    return trace
