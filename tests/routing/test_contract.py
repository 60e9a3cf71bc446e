"""Every routing of the registry is held to the contract, on every backend that runs it."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.routing import contract
from tests.routing.contract import AnyRouting, Make
from torchcaps.routing import ROUTINGS, Law, create_routing, list_routings, sweep

# The rows of the registry that come with the package; doctests and experiments add others.
ROWS = [
    "ar_capsnet", "attention", "deepcaps", "dynamic", "em", "group_equivariant", "heinsen2019",
    "heinsen2022", "interests", "kde", "locally_constrained", "self_attention", "self_routing",
    "variational",
]  # fmt: skip
# Options that matter, by row: a name, and what the routing is made from.
EM = {"final_lambda": 0.5, "variance_floor": 1e-3}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "ar_capsnet": {"ar_capsnet": {}},
    "attention": {"attention": {}, "attention, 1 iteration": {"iterations": 1}},
    "deepcaps": {"deepcaps": {}},
    "dynamic": {
        "dynamic, 1 iteration": {"iterations": 1},
        "dynamic, 3 iterations": {},
        "dynamic, leaky": {"leaky": True},
        "dynamic, half squash": {"squash": "half"},
        "dynamic, detached": {"detach": True},
    },
    "em": {"em": EM, "em, momentum": {**EM, "mean_momentum": 0.1}, "em, default": {}},
    "group_equivariant": {"group_equivariant": {}},
    "heinsen2019": {"heinsen2019": {}},
    "heinsen2022": {"heinsen2022": {}},
    "interests": {"interests": {"detach": False}},
    "kde": {"kde": {}},
    "locally_constrained": {"locally_constrained": {}},
    "self_attention": {"self_attention": {}},
    "self_routing": {"self_routing": {}},
    "variational": {"variational": {}},
}
# Options that change a formula and not the way it runs: all votes at once, and tiles beside them.
FORMULAS: dict[str, dict[str, dict[str, Any]]] = {
    "dynamic": {
        "dynamic, max-min": {"coupling": "max_min"},
        "dynamic, Wang and Liu": {"squash": "direction", "accumulate": False, "scale": 0.5},
        "dynamic, DeepCaps": {"coupling": "softmax_times_parents", "learned_bias": True},
    },
    "em": {"em, whole": {**EM, "first_coupling": "whole"}},
    "heinsen2019": {"heinsen2019, means": {"density": "means", "iterations": 2}},
    "heinsen2022": {"heinsen2022, shared": {"shared": True}},
    "interests": {
        "interests, dot": {"update": "dot", "detach": False},
        "interests, residual": {"update": "residual", "scale": 2.0},
    },
    "variational": {
        "variational, floor": {"evidence_floor": 1e-3},
        "variational, full": {"covariance": "full"},
    },
}
EVERY = {row: OPTIONS[row] | FORMULAS.get(row, {}) for row in ROWS}
CASES = [(row, name, backend) for row in ROWS for name in EVERY[row]
         for backend in ("reference", "tiles") if backend == "reference"
         or (name in OPTIONS[row] and ROUTINGS[row].by_tiles)]  # fmt: skip


def maker(row: str, options: dict[str, Any], backend: str) -> Make:
    """Gives a routing in float64, in evaluation mode, what it learns drawn at random."""

    def make(
        in_caps: int = contract.I,
        out_caps: int = contract.J,
        out_dim: int = contract.D,
        in_dim: int = contract.P,
    ) -> AnyRouting:
        routing = create_routing(row, **options, backend=backend)
        routing.build(in_caps, in_dim, out_caps, out_dim).double().eval()
        draw_what_it_learns(routing, 0.5)
        return routing

    return make


@torch.no_grad()
def draw_what_it_learns(routing: nn.Module, size: float = 1.0) -> None:
    """Move what it learns, and what it has seen in training, to something random."""
    for name, value in routing.state_dict().items():
        if value.is_floating_point():
            change = size * torch.randn_like(value)
            value.add_(change.abs() if name.endswith("running_var") else change)


@pytest.fixture(autouse=True)
def uneven_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three input capsules in most of the checks: 7 = 3 + 3 + 1."""
    monkeypatch.setattr(sweep, "TILE_BYTES", 3 * 3 * contract.J * contract.D * 8)


def case_id(value: object) -> str | None:
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize("check", contract.UNIVERSAL, ids=case_id)
@pytest.mark.parametrize(("row", "name", "backend"), CASES)
def test_what_all_promise(row: str, name: str, backend: str, check: Callable[[Make], None]) -> None:
    check(maker(row, EVERY[row][name], backend))


@pytest.mark.parametrize("check", contract.BY_TILES, ids=case_id)
@pytest.mark.parametrize(("row", "name"), [(row, name) for row in ROWS for name in EVERY[row]])
def test_what_all_promise_by_tiles(row: str, name: str, check: Callable[[Make], None]) -> None:
    check(maker(row, EVERY[row][name], "reference"))


@pytest.mark.parametrize("check", contract.ONCE, ids=case_id)
@pytest.mark.parametrize(("row", "name"), [(row, name) for row in ROWS for name in OPTIONS[row]])
def test_what_all_promise_whatever_the_backend(
    row: str, name: str, check: Callable[[Make], None]
) -> None:
    check(maker(row, OPTIONS[row][name], "reference"))


@pytest.mark.parametrize(("row", "name", "backend"), CASES)
def test_gradients(row: str, name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if create_routing(row, **EVERY[row][name]).detach:
        pytest.skip("its gradient is not that of the whole")
    monkeypatch.setattr(sweep, "TILE_BYTES", 2 * 2 * 2 * 8)
    contract.gradients_are_those_of_finite_differences(maker(row, EVERY[row][name], backend))


@pytest.mark.parametrize("check", contract.UNIVERSAL, ids=case_id)
def test_the_cpu_kernel_promises_the_same(check: Callable[[Make], None]) -> None:
    """Where it can run: it takes linear votes, and some."""
    check(maker("dynamic", {}, "cpu"))


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize(("row", "name", "backend"), CASES)
def test_declared_laws_hold_and_others_do_not(row: str, name: str, backend: str, law: Law) -> None:
    make, check = maker(row, EVERY[row][name], backend), contract.DECLARED[law]
    if law in make().laws:
        check(make)
    else:  # or the declaration is too timid
        with pytest.raises(AssertionError):
            check(make)


def test_every_row_has_an_oracle_and_options_and_every_law_a_check() -> None:
    assert set(ROWS) == set(OPTIONS) <= set(list_routings())
    for row in ROWS:
        assert callable(importlib.import_module(f"tests.routing.oracles.{row}").route)
    assert set(contract.DECLARED) == set(Law)
