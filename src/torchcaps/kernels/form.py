"""What the kernels of sums are told about votes, and what they share."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["SHARED", "SOFTMAX", "Form", "added_up"]

SHARED, SOFTMAX = 0.0, -1.0  # couplings: equal shares of 1, and by the logits; above 0: constant


class Form(NamedTuple):
    """How votes come from their factors, who competes, and what adds them up.

    Attributes:
        backend: "cpu" or "cuda".
        rows: of a pose.
        outputs: J.
        cells: K, the places of a window.
        places, counts: in which windows a position of the map is, as window·K + place, `[Q, most]`,
            and in how many, `[Q]`.
        positions: the position of every place, `[F·K]`.
    """

    backend: str
    rows: int
    outputs: int
    cells: int
    places: Tensor
    counts: Tensor
    positions: Tensor


def added_up(parts: Tensor) -> Tensor:
    """The sum over the first axis."""
    return parts[0] if len(parts) == 1 else parts.sum(dim=0)
