"""Self-attention of Efficient-CapsNet (Mazzia and others 2021), one scalar at a time."""

import math
from typing import Any

from tests import oracle
from tests.oracle import Array


def route(
    votes: Array,
    activation: Array | None,
    mask: Array | None,
    learned: dict[str, Array],
    **_: Any,
) -> dict[str, Array]:
    """Both sweeps, for V [B, I, J, D]; activations of the inputs are not looked at."""
    B, I, J, D = votes.shape
    bias = learned["bias"]
    trace = oracle.empty_trace(2, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        for i in real:
            logits = []
            for j in range(J):
                products = [votes[n, i, j, d] * votes[n, k, j, d] for k in real for d in range(D)]
                logits.append(math.fsum(products) / math.sqrt(D))
            trace["coupling"][0, n, i] = 1.0
            trace["logits"][1, n, i] = logits
            for j, share in enumerate(oracle.softmax(logits, leaky=False)):
                trace["coupling"][1, n, i, j] = share + bias[i, j]
        for t in range(2):
            for j in range(J):
                c = trace["coupling"][t, n]
                s = [math.fsum(c[i, j] * votes[n, i, j, d] for i in real) for d in range(D)]
                length = math.sqrt(math.fsum(x * x for x in s))
                for d in range(D):
                    unit = s[d] / length if length else 0.0
                    trace["pose"][t, n, j, d] = -math.expm1(-length) * unit
                trace["activation"][t, n, j] = -math.expm1(-length)
    return trace
