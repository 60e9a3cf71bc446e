"""Every iteration of every routing against its loops over single numbers, in float64."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from tests.routing.test_contract import OPTIONS, ROWS, draw_what_it_learns
from torchcaps import LinearVotes
from torchcaps.routing import ROUTINGS, create_routing

P = 4
SHAPES = [(2, 5, 3, 4), (1, 1, 1, 1), (1, 7, 2, 3), (3, 1, 4, 2), (2, 4, 1, 5), (2, 3, 6, 1)]
WANG_AND_LIU = {"squash": "direction", "accumulate": False, "scale": 1.5}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "ar_capsnet": [{}],
    "attention": [{}],
    "deepcaps": [{}],
    "dynamic": [
        {},
        {"leaky": True},
        {"squash": "half"},
        {"coupling": "max_min", "squash": "soft"},
        {"coupling": "softmax_times_parents", "scale": 8.0, "learned_bias": True},
        WANG_AND_LIU,
    ],
    "em": [
        {"lambda_scale": 0.25},
        {},
        {"final_lambda": 0.5},
        {"mean_momentum": 0.3, "mass_floor": 0.1},
        {"constant_lambda": True, "first_coupling": "whole"},
    ],
    "group_equivariant": [{}],
    "heinsen2019": [{}, {"density": "means"}, {"single_beta": True}],
    "heinsen2022": [{}, {"shared": True}],
    "interests": [
        {},
        {"update": "dot", "power": 0.5},
        {"update": "cosine", "scale": 5.0},
        {"update": "residual", "scale": 2.0, "power": 2.0},
    ],
    "kde": [{}],
    "locally_constrained": [{}, {"squash": "half"}],
    "self_attention": [{}],
    "self_routing": [{}],
    "variational": [{}, {"covariance": "full"}, {"evidence_floor": 1e-3}],
}
# A routing without iterations is tried once.
CASES = [
    (row, options, iterations)
    for row in ROWS
    for options in VARIANTS[row]
    for iterations in ([1, 2, 3, 5] if "iterations" in ROUTINGS[row].option_names else [None])
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("masked", "activities"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize(("row", "options", "iterations"), CASES)
def test_every_iteration_is_the_oracles(
    shape: tuple[int, ...],
    masked: bool,
    activities: bool,
    row: str,
    options: dict[str, Any],
    iterations: int | None,
) -> None:
    batch, inputs, outputs, dim = shape
    given = {} if iterations is None else {"iterations": iterations}
    routing = create_routing(row, **given, **options)
    routing.build(inputs, P, outputs, dim).double().eval()
    draw_what_it_learns(routing)
    pose = torch.randn(batch, inputs, P, dtype=torch.float64)
    weight = torch.randn(inputs, outputs, dim, P, dtype=torch.float64) / P**0.5
    votes = LinearVotes(pose, weight)
    activation = torch.rand(shape[:2], dtype=torch.float64) if activities else None
    mask = torch.rand(shape[:2]) < 0.7 if masked else None
    with torch.no_grad():
        trace = routing.trace(votes, activation, mask)
    poses = {"pose": pose.numpy()} if routing.needs_pose else {}
    expected = importlib.import_module(f"tests.routing.oracles.{row}").route(
        votes.materialize().numpy(),
        None if activation is None else activation.numpy(),
        None if mask is None else mask.numpy(),
        {name: value.detach().numpy() for name, value in routing.state_dict().items()},
        **routing.options(),
        **poses,
    )
    counted = torch.ones(shape[:2], dtype=torch.bool) if mask is None else mask
    for name in ("logits", "coupling", "pose", "activation"):
        found, true = getattr(trace, name).numpy(), expected[name]
        if name == "logits":  # those of masked children say nothing
            found, true = found[:, counted.numpy()], true[:, counted.numpy()]
        np.testing.assert_allclose(found, true, rtol=1e-9, atol=1e-12, err_msg=name)


def test_every_row_has_variants() -> None:
    assert set(VARIANTS) == set(ROWS) == set(OPTIONS)
