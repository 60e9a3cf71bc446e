"""What is learned fits votes of the numbers that it was built for: others are refused by name."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.routing.test_contract import EVERY, ROWS
from torchcaps import LinearVotes
from torchcaps.routing import create_routing
from torchcaps.routing.interests import InterestRouting
from torchcaps.votes import FormedVotes
from torchcaps.votes.interests import InterestVotes

AXES = {"in_caps": "I", "in_dim": "P", "out_caps": "J", "out_dim": "D"}
SIZES = {"in_caps": 6, "in_dim": 5, "out_caps": 4, "out_dim": 3}
ALL = [(row, name) for row in ROWS for name in EVERY[row]]


def votes_of(in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> LinearVotes:
    weight = torch.randn(in_caps, out_caps, out_dim, in_dim)
    return LinearVotes(torch.randn(2, in_caps, in_dim), weight)


def learned_shapes(row: str, options: dict[str, Any], sizes: dict[str, int]) -> list[torch.Size]:
    built = create_routing(row, **options).build(**sizes)
    return [value.shape for value in built.state_dict().values()]


@pytest.mark.parametrize("number", AXES)
@pytest.mark.parametrize(("row", "name"), ALL)
def test_other_numbers_than_it_was_built_for(row: str, name: str, number: str) -> None:
    """Where they change the shape of anything learned; where they do not, they are routed."""
    options = EVERY[row][name]
    for size, other in ((SIZES[number],) * 2, (SIZES[number], 7), (SIZES[number], 1), (1, 3)):
        built, handed = SIZES | {number: size}, SIZES | {number: other}
        matters = learned_shapes(row, options, built) != learned_shapes(row, options, handed)
        routing = create_routing(row, **options).build(**built).eval()
        votes = votes_of(**handed)
        every: list[LinearVotes | Tensor] = [votes]
        if not routing.needs_pose and number != "in_dim":
            every.append(votes.materialize())
        for these in every:
            if not matters:
                assert routing(these).pose.shape == (2, handed["out_caps"], handed["out_dim"])
                continue
            what = (
                f"must have {AXES[number]} = {size}, the {number} that this "
                f"{type(routing).__name__} was built for, got {other} (shape ("
            )
            for call in (routing, routing.trace):
                with pytest.raises(ValueError, match=re.escape(what)):
                    call(these)


@pytest.mark.parametrize("row", ROWS)
def test_no_input_capsules_are_as_good_as_any_number(row: str) -> None:
    routing = create_routing(row).build(**SIZES).eval()
    none = votes_of(**SIZES | {"in_caps": 0})
    if not routing.needs_pose:
        assert bool(routing(none).pose.isfinite().all())


@pytest.mark.parametrize(
    ("part", "error", "said"),
    [
        ({"logits": torch.zeros(6, 3)}, ValueError, "logits must be [..., I, J] = [..., 6, 4]"),
        ({"logits": torch.zeros(2, 4)}, ValueError, "got shape (2, 4)"),
        ({"logits": torch.zeros(6, 4).int()}, TypeError, "logits must be a floating-point tensor"),
        ({"present": torch.ones(2, 6) > 0}, ValueError, "present must be [..., J] = [..., 4]"),
        ({"present": torch.ones(2, 4)}, TypeError, "present must be a bool tensor"),
    ],
)
def test_logits_and_outputs_of_other_numbers_than_the_votes(
    part: dict[str, Tensor], error: type[Exception], said: str
) -> None:
    votes = FormedVotes(torch.randn(2, 6, 4, 3))
    with pytest.raises(error, match=re.escape(said)):
        InterestRouting()(InterestVotes(votes, **part))
