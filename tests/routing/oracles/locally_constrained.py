"""Locally-constrained routing of SegCaps (LaLonde, Bagci 2018), one scalar at a time."""

from typing import Any

from tests.oracle import Array
from tests.routing.oracles import deepcaps


def route(
    votes: Array,
    activation: Array | None,
    mask: Array | None,
    learned: dict[str, Array],
    **options: Any,
) -> dict[str, Array]:
    """Every iteration for V [B, I, J, D]: 3-D routing on a map of one position."""
    return deepcaps.route(votes, activation, mask, learned, **options)
