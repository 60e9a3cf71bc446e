"""Every iteration of every routing against its loops over single numbers, in float64."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from tests.routing.test_contract import OPTIONS, ROWS
from torchcaps.routing import create_routing

SHAPES = [(2, 5, 3, 4), (1, 1, 1, 1), (1, 7, 2, 3), (3, 1, 4, 2), (2, 4, 1, 5), (2, 3, 6, 1)]
VARIANTS = {
    "attention": [{}],
    "deepcaps": [{}],
    "dynamic": [{}, {"leaky": True}, {"squash": "half"}],
    "em": [{}, {"final_lambda": 0.5}, {"mean_momentum": 0.3, "mass_floor": 0.1}],
    "locally_constrained": [{}, {"squash": "half"}],
}
CASES = [(row, options) for row in ROWS for options in VARIANTS[row]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
@pytest.mark.parametrize(("masked", "activities"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize(("row", "options"), CASES)
def test_every_iteration_is_the_oracles(
    shape: tuple[int, ...],
    iterations: int,
    masked: bool,
    activities: bool,
    row: str,
    options: dict[str, Any],
) -> None:
    _, inputs, outputs, dim = shape
    routing = create_routing(row, iterations=iterations, **options)
    routing.build(inputs, dim, outputs, dim).double()
    with torch.no_grad():
        for value in routing.parameters():
            value.add_(torch.randn_like(value))
    votes = torch.randn(shape, dtype=torch.float64)
    activation = torch.rand(shape[:2], dtype=torch.float64) if activities else None
    mask = torch.rand(shape[:2]) < 0.7 if masked else None
    with torch.no_grad():
        trace = routing.trace(votes, activation, mask)
    expected = importlib.import_module(f"tests.routing.oracles.{row}").route(
        votes.numpy(),
        None if activation is None else activation.numpy(),
        None if mask is None else mask.numpy(),
        {name: value.detach().numpy() for name, value in routing.named_parameters()},
        **routing.options(),
    )
    counted = torch.ones(shape[:2], dtype=torch.bool) if mask is None else mask
    for name in ("logits", "coupling", "pose", "activation"):
        found, true = getattr(trace, name).numpy(), expected[name]
        if name == "logits":  # those of masked children say nothing
            found, true = found[:, counted.numpy()], true[:, counted.numpy()]
        np.testing.assert_allclose(found, true, rtol=1e-9, atol=1e-12, err_msg=name)


def test_every_row_has_variants() -> None:
    assert set(VARIANTS) == set(ROWS) == set(OPTIONS)
