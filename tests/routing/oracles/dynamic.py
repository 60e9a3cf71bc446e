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
    coupling: str = "softmax",
    scale: float = 1.0,
    accumulate: bool = True,
    learned_bias: bool = False,
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for û [B, I, J, D]; activations of the inputs are not looked at."""
    B, I, J, D = votes.shape
    r = iterations
    trace = oracle.empty_trace(r, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        b = {(i, j): 0.0 for i in real for j in range(J)}  # line 2
        for t in range(r):  # line 3
            c = {}
            for i in real:  # line 4
                logits = [scale * b[i, k] for k in range(J)]
                for j, value in enumerate(couplings(logits, coupling, leaky)):
                    c[i, j] = value
            for j in range(J):  # lines 5 and 6
                s = [math.fsum(c[i, j] * votes[n, i, j, d] for i in real) for d in range(D)]
                if learned_bias:
                    s = [s[d] + learned["bias"][j, d] for d in range(D)]
                v = squashed(np.array(s), squash)
                trace["pose"][t, n, j] = v
                trace["activation"][t, n, j] = math.sqrt(math.fsum(x * x for x in v))
            for (i, j), logit in b.items():
                trace["logits"][t, n, i, j] = scale * logit
                trace["coupling"][t, n, i, j] = c[i, j]
            for i, j in b:  # line 7
                v = trace["pose"][t, n, j]
                agreement = math.fsum(votes[n, i, j, d] * v[d] for d in range(D))
                b[i, j] = agreement + (b[i, j] if accumulate else 0.0)
    return trace


def couplings(logits: list[float], kind: str, leaky: bool) -> list[float]:
    """What a child gives to each parent."""
    if kind == "max_min":
        least, most = min(logits), max(logits)
        return [1.0 if most == least else (b - least) / (most - least) for b in logits]
    times = len(logits) if kind == "softmax_times_parents" else 1
    return [times * value for value in oracle.softmax(logits, leaky)]


def squashed(s: Array, kind: str) -> Array:
    """One vector, by the name of the non-linearity."""
    if kind in ("squash", "half"):
        return oracle.squash(s, half=0.5 if kind == "half" else 1.0)
    length = math.sqrt(math.fsum(float(x) ** 2 for x in s))
    size = -math.expm1(-length) if kind == "soft" else 1.0
    return np.array([size * float(x) / length if length else 0.0 for x in s])


def procedure_1(
    u_hat: Array, r: int, *, mask: Array | None = None, leaky: bool = False
) -> dict[str, Array]:
    """The same by the paper's names: {"b", "c"}: [r, B, I, J], "v": [r, B, J, D]."""
    trace = route(u_hat, None, mask, {}, iterations=r, leaky=leaky)
    return {"b": trace["logits"], "c": trace["coupling"], "v": trace["pose"]}
