"""Procedure 1 of Sabour, Frosst and Hinton (2017), one scalar at a time."""

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
    leaky: bool = False,
    squash: str = "squash",
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for û [B, I, J, D]; activations of the inputs are not looked at."""
    B, I, J, D = votes.shape
    r = iterations
    trace = {
        "logits": np.zeros((r, B, I, J)),
        "coupling": np.zeros((r, B, I, J)),
        "pose": np.zeros((r, B, J, D)),
        "activation": np.zeros((r, B, J)),
    }
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        b = {(i, j): 0.0 for i in real for j in range(J)}  # line 2
        for t in range(r):  # line 3
            c = {}
            for i in real:  # line 4
                for j, value in enumerate(oracle.softmax([b[i, k] for k in range(J)], leaky)):
                    c[i, j] = value
            for j in range(J):  # lines 5 and 6
                s = [math.fsum(c[i, j] * votes[n, i, j, d] for i in real) for d in range(D)]
                v = oracle.squash(np.array(s), half=0.5 if squash == "half" else 1.0)
                trace["pose"][t, n, j] = v
                trace["activation"][t, n, j] = math.sqrt(math.fsum(x * x for x in v))
            for (i, j), logit in b.items():
                trace["logits"][t, n, i, j] = logit
                trace["coupling"][t, n, i, j] = c[i, j]
            for i, j in b:  # line 7
                v = trace["pose"][t, n, j]
                b[i, j] += math.fsum(votes[n, i, j, d] * v[d] for d in range(D))
    return trace


def procedure_1(
    u_hat: Array, r: int, *, mask: Array | None = None, leaky: bool = False
) -> dict[str, Array]:
    """The same by the paper's names: {"b", "c"}: [r, B, I, J], "v": [r, B, J, D]."""
    trace = route(u_hat, None, mask, {}, iterations=r, leaky=leaky)
    return {"b": trace["logits"], "c": trace["coupling"], "v": trace["pose"]}
