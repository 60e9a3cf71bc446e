"""Heinsen's routing of 2022, one scalar at a time."""

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
    pose: Array,
    iterations: int,
    shared: bool = False,
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for poses x [B, I, P]; the votes are not looked at but for their shape."""
    B, I, J, D = votes.shape
    P = pose.shape[-1]
    trace = oracle.empty_trace(iterations, votes.shape)
    for n in range(B):
        real = [i for i in range(I) if mask is None or mask[n, i]]
        x = {i: [float(value) for value in pose[n, i]] for i in real}
        small = {i: [value / math.sqrt(len(real)) for value in x[i]] for i in real}
        own = {i: 0 if shared else i for i in real}  # the row of what is learned
        f, V, beta = {}, {}, {}
        for i in real:
            f[i] = sigmoid(dot(small[i], learned["W_A"][own[i]]) + learned["B_A"][own[i]])
            for j in range(J):
                beta[i, j] = [
                    dot(x[i], learned[f"{name}.weight"][j]) + learned[f"{name}.bias"][j]
                    if shared
                    else learned[name][i, j]
                    for name in ("beta_use", "beta_ign")
                ]
                through = [small[i][p] * learned["F1"][j, p] for p in range(P)]
                V[i, j] = [
                    dot(through, learned["F2"][:, d]) + learned["B_F2"][j, d] for d in range(D)
                ]
        y = np.zeros((J, D))
        for t in range(iterations):
            phi = {}
            for i in real:
                logits = [0.0] * J
                for j in range(J):
                    if t > 0:
                        fit = dot(x[i], predicted(y[j], learned, j))
                        z = learned["W_S"][own[i], j] * fit + learned["B_S"][own[i], j]
                        logits[j] = min(z, 0.0) - math.log1p(math.exp(-abs(z)))
                R = oracle.softmax(logits, leaky=False)
                trace["logits"][t, n, i], trace["coupling"][t, n, i] = logits, R
                for j in range(J):
                    use = f[i] * R[j]
                    phi[i, j] = beta[i, j][0] * use - beta[i, j][1] * (f[i] - use)
            for j in range(J):
                y[j] = [math.fsum(phi[i, j] * V[i, j][d] for i in real) for d in range(D)]
                out = layer_norm(y[j])
                trace["pose"][t, n, j] = out
                z = dot(out, learned["head.weight"][0]) + float(learned["head.bias"][0])
                trace["activation"][t, n, j] = sigmoid(z)
    return trace


def predicted(y: Array, learned: dict[str, Array], j: int) -> list[float]:
    """The input that output capsule j predicts."""
    out = layer_norm(y)
    P = learned["G1"].shape[1]
    return [
        dot(out, learned["G1"][:, p]) * learned["G2"][j, p] + learned["B_G2"][j, p]
        for p in range(P)
    ]


def layer_norm(x: Array) -> list[float]:
    """To mean 0 and variance 1; a single number is left as it is."""
    values = [float(value) for value in x]
    if len(values) == 1:
        return values
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return [(value - mean) / math.sqrt(variance + 1e-5) for value in values]


def dot(x: Any, y: Any) -> float:
    return math.fsum(float(a) * float(b) for a, b in zip(x, y, strict=True))


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))
