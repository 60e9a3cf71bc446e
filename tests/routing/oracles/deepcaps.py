"""3-D routing of DeepCaps (Rajasegaran and others 2019), one scalar at a time."""

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
    **options: Any,
) -> dict[str, Array]:
    """Every iteration for V [B, I, J, D]: a map of one position."""
    seen = None if mask is None else mask[:, None, None]
    trace = route_map(votes[:, None, None], seen, learned["bias"], **options)
    return {name: values[:, :, 0, 0] for name, values in trace.items()}


def route_map(
    votes: Array,
    mask: Array | None,
    bias: Array,
    *,
    iterations: int,
    squash: str = "squash",
    joint_norm: bool = False,
    over_map: bool = True,
    **_: Any,
) -> dict[str, Array]:
    """Every iteration for V [B, F_y, F_x, T, C, D]; `over_map`: the softmax of a child runs over
    all positions, else (SegCaps) over the parents at one position."""
    B, F_y, F_x, T, C, D = votes.shape
    r = iterations
    trace = {
        "logits": np.zeros((r, B, F_y, F_x, T, C)),
        "coupling": np.zeros((r, B, F_y, F_x, T, C)),
        "pose": np.zeros((r, B, F_y, F_x, C, D)),
        "activation": np.zeros((r, B, F_y, F_x, C)),
    }
    positions = [(y, x) for y in range(F_y) for x in range(F_x)]
    half = 0.5 if squash == "half" else 1.0
    for n in range(B):
        b = np.zeros((F_y, F_x, T, C))
        for t in range(r):
            k = np.zeros((F_y, F_x, T, C))
            for child in range(T):
                for group in [positions] if over_map else [[p] for p in positions]:
                    places = [(y, x, child, c) for y, x in group for c in range(C)]
                    if mask is None or mask[n, *places[0][:3]]:
                        shares = oracle.softmax([float(b[place]) for place in places], leaky=False)
                        for place, share in zip(places, shares):
                            k[place] = share
            s = np.zeros((F_y, F_x, C, D))
            for y, x, c, d in np.ndindex(s.shape):
                real = [i for i in range(T) if mask is None or mask[n, y, x, i]]
                total = math.fsum(k[y, x, i, c] * votes[n, y, x, i, c, d] for i in real)
                s[y, x, c, d] = total + bias[c, d]
            v = np.zeros_like(s)
            for c in range(C):
                if joint_norm:
                    v[:, :, c] = oracle.squash(s[:, :, c].ravel(), half).reshape(F_y, F_x, D)
                else:
                    for y, x in positions:
                        v[y, x, c] = oracle.squash(s[y, x, c], half)
            trace["logits"][t, n], trace["coupling"][t, n], trace["pose"][t, n] = b, k, v
            for y, x, c in np.ndindex(F_y, F_x, C):
                length = math.sqrt(math.fsum(value**2 for value in v[y, x, c]))
                trace["activation"][t, n, y, x, c] = length
            for y, x, i, c in np.ndindex(b.shape):
                if mask is None or mask[n, y, x, i]:
                    b[y, x, i, c] += math.fsum(votes[n, y, x, i, c] * v[y, x, c])
    return trace
