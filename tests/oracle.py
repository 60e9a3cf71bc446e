"""The paper's equations, one scalar at a time: what every implementation is compared with.

Nothing here is fast, and nothing here uses the package.
"""

import math

import numpy as np

Array = np.ndarray


def squash(s: Array, half: float = 1.0) -> Array:
    """Eq 1 for one vector; with another `half`, |s|² / (half + |s|²) · s / |s|."""
    length = math.sqrt(math.fsum(float(x) ** 2 for x in s))
    if length == 0:
        return np.zeros_like(s)
    return np.array([length**2 / (half + length**2) * float(x) / length for x in s])


def votes(u: Array, W: Array, bias: Array | None = None) -> Array:
    """Eq 2: û[b][i][j] = W[i][j] u[b][i]."""
    (B, I, P), (_, J, D, _) = u.shape, W.shape
    u_hat = np.zeros((B, I, J, D))
    for b in range(B):
        for i in range(I):
            for j in range(J):
                for d in range(D):
                    total = math.fsum(W[i, j, d, p] * u[b, i, p] for p in range(P))
                    u_hat[b, i, j, d] = total + (0 if bias is None else bias[i, j, d])
    return u_hat


def softmax(x: list[float], leaky: bool) -> list[float]:
    """Eq 3; leaky: one more term with logit 0 in the sum."""
    top = max([*x, 0.0] if leaky else x)
    powers = [math.exp(value - top) for value in x]
    total = math.fsum(powers) + (math.exp(-top) if leaky else 0.0)
    return [power / total for power in powers]


def margin_loss(lengths: Array, labels: Array) -> float:
    """Eq 4, summed over classes, averaged over the batch."""
    total = 0.0
    for row, label in zip(lengths, labels):
        for k, length in enumerate(row):
            present = 1.0 if k == label else 0.0
            total += present * max(0.0, 0.9 - length) ** 2
            total += 0.5 * (1 - present) * max(0.0, length - 0.1) ** 2
    return total / len(labels)


def empty_trace(iterations: int, shape: tuple[int, ...]) -> dict[str, Array]:
    """Zeros for what routing of votes [B, I, J, D] did: to be filled, iteration by iteration."""
    B, I, J, D = shape
    return {
        "logits": np.zeros((iterations, B, I, J)),
        "coupling": np.zeros((iterations, B, I, J)),
        "pose": np.zeros((iterations, B, J, D)),
        "activation": np.zeros((iterations, B, J)),
    }
