"""What the kernels of sums are told about votes, and what they share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

__all__ = ["SHARED", "SOFTMAX", "Form", "SumsCall", "added_up"]

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


@dataclass
class SumsCall(ABC):
    """The arguments of a sum, for a backend to sweep over the votes.

    Tensors as of `moments_of_votes`; of products without k and m, and with an activation only where
    it is the coupling.
    """

    form: Form
    coupling: float
    u: Tensor
    w: Tensor
    p: Tensor
    activation: Tensor | None
    k: Tensor | None
    m: Tensor | None

    @abstractmethod
    def __post_init__(self) -> None:
        """What the sweeps of a backend need besides."""

    @abstractmethod
    def forward(self) -> tuple[Tensor, ...]:
        """S0, S1 and S2, or of products S1."""

    @abstractmethod
    def backward(
        self, e: tuple[Tensor, ...], through: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]:
        """du, dw, d_activation; and Σ_i g, Σ_i g d, Σ_i g d², or of products Σ_i g V."""


def added_up(parts: Tensor) -> Tensor:
    """The sum over the first axis."""
    return parts[0] if len(parts) == 1 else parts.sum(dim=0)
