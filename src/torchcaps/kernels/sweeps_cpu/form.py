"""What the sweeps are told about votes, without Numba, which is loaded when they are called."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["SHARED", "SOFTMAX", "Form", "block_width"]

SHARED, SOFTMAX = 0.0, -1.0  # couplings: equal shares of 1, and by the logits; above 0: constant


class Form(NamedTuple):
    """How votes come from their factors, and who competes.

    Attributes:
        rows: of a pose.
        outputs: J.
        cells: K, the places of a window.
        places, counts: in which windows a child of the map is, `[positions, most]`, `[positions]`.
    """

    rows: int
    outputs: int
    cells: int
    places: np.ndarray[Any, np.dtype[np.int64]]
    counts: np.ndarray[Any, np.dtype[np.int64]]


def block_width(itemsize: int) -> int:
    """L, the samples side by side: what 64 bytes hold."""
    return 64 // itemsize
