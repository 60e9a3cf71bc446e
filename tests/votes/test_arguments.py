"""Wrong arguments of votes are refused in one sentence that names them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from torchcaps import ConvCaps
from torchcaps.layers.interest_logits import starting_logits
from torchcaps.votes import (
    ConvolvedVotes,
    FormedVotes,
    InterestVotes,
    MapVotes,
    PoseVotes,
    SharedVotes,
    WindowVotes,
)
from torchcaps.votes.windows import Windows

POSE, WEIGHT = torch.randn(3, 6, 6, 8), torch.randn(1, 4, 16, 8, 3, 3)
TENSOR: Any = POSE  # where votes are wanted
THREE: Any = (1, 1, 1)
LIST: Any = [1]
FOUR = FormedVotes(torch.randn(1, 5, 3, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvolvedVotes(POSE, WEIGHT, stride=(0, 0)), "stride must be at least 1"),
        (
            lambda: MapVotes(FormedVotes(torch.zeros(3, 2, 8))),
            "votes of a map must be",
        ),
        (lambda: ConvolvedVotes(POSE, WEIGHT, stride=THREE), "stride must be a whole number"),
        (lambda: ConvolvedVotes(POSE, WEIGHT, padding=(-1, -1)), "padding must be at least 0"),
        (lambda: ConvolvedVotes(POSE, WEIGHT, LIST), "bias must be a tensor, got list"),
        (lambda: MapVotes(TENSOR), "votes must be Votes, such as FormedVotes.*, got Tensor"),
        (lambda: InterestVotes(TENSOR), "votes must be Votes, such as FormedVotes.*, got Tensor"),
        (lambda: SharedVotes(POSE, -1), "out_caps must be at least 1, got -1"),
        (lambda: PoseVotes(POSE, 0, 2), "out_caps must be at least 1, got 0"),
        (lambda: PoseVotes(POSE, 2, -2), "out_dim must be at least 1, got -2"),
        (
            lambda: InterestVotes(FOUR, present=torch.ones(4, 3, dtype=torch.bool)),
            r"present must begin with the axes of the votes, \(1,\), or 1 for each, got \(4,\)",
        ),
        (
            lambda: InterestVotes(FOUR, logits=torch.zeros(2, 5, 3)),
            r"logits must begin with the axes of the votes, \(1,\), or 1 for each, got \(2,\)",
        ),
        (
            lambda: InterestVotes(FOUR, logits=torch.zeros(2, 1, 5, 3)),
            r"logits must begin with the axes of the votes, \(1,\), or 1 for each, got \(2, 1\)",
        ),
        (lambda: starting_logits(-1, 2), "length must be at least 1, got -1"),
        (
            lambda: MapVotes(InterestVotes(FormedVotes(torch.zeros(2, 2, 4, 3, 5)))),
            "InterestVotes within MapVotes would lose .* other way round, InterestVotes around Map",
        ),
        (
            lambda: WindowVotes.of(
                InterestVotes(FormedVotes(torch.zeros(3, 3, 4, 3, 5))),
                Windows((4, 4), (2, 2), (1, 1), (0, 0)),
            ),
            "InterestVotes within WindowVotes would lose how their output capsules compete",
        ),
        (
            lambda: MapVotes(
                WindowVotes.of(
                    FormedVotes(torch.zeros(3, 3, 4, 3, 5)),
                    Windows((4, 4), (2, 2), (1, 1), (0, 0)),
                )
            ),
            "WindowVotes within MapVotes would lose .* leave out one of the two",
        ),
        (
            lambda: InterestVotes(InterestVotes(FOUR)),
            "InterestVotes within InterestVotes would lose .* give one InterestVotes all that both",
        ),
    ],
)
def test_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_whole_numbers_stand_for_both_axes() -> None:
    votes = ConvolvedVotes(POSE, WEIGHT, stride=2, padding=1)  # type: ignore[arg-type]
    assert (votes.stride, votes.padding) == ((2, 2), (1, 1))
    assert ConvCaps(3, 16, 4, 16, np.int64(3), stride=np.int64(2)).stride == (2, 2)  # type: ignore[arg-type]
