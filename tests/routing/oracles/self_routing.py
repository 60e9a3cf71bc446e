"""Self-routing (Hahn, Pyeon, Kim 2019), one scalar at a time."""

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
    pose: Array,
    **_: Any,
) -> dict[str, Array]:
    """The one iteration, for V [B, I, J, D], a [B, I] and poses u [B, I, P]."""
    B, I, J, D = votes.shape
    weight, bias = learned["weight"], learned["bias"]
    trace = oracle.empty_trace(1, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        a = {i: 1.0 if activation is None else float(activation[n, i]) for i in real}
        c = {}
        for i in real:
            logits = [math.fsum(weight[i, j] * pose[n, i]) + bias[i, j] for j in range(J)]
            c[i] = oracle.softmax(logits, leaky=False)
            trace["logits"][0, n, i], trace["coupling"][0, n, i] = logits, c[i]
        for j in range(J):
            mass = math.fsum(a[i] * c[i][j] for i in real)
            active = math.fsum(a[i] for i in real)
            trace["activation"][0, n, j] = mass / max(active, 1e-6)
            for d in range(D):
                total = math.fsum(a[i] * c[i][j] * votes[n, i, j, d] for i in real)
                trace["pose"][0, n, j, d] = total / max(mass, 1e-6)
    return trace
