"""Numbers closer to zero than a processor holds in full: zero in the kernels, and only there."""

from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import pytest
import torch

from torchcaps import LinearVotes, create_routing
from torchcaps.kernels import cpu_denormals, cpu_vectors, loops_on_threads, openmp_team

claim: Any = cpu_vectors.claim
TINY = torch.finfo(torch.float32).tiny
pytestmark = pytest.mark.skipif(not cpu_denormals.X86, reason="of another processor")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(loops_on_threads, "WORTH_A_THREAD", 1)
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


def gradients(name: str) -> tuple[torch.Tensor, ...]:
    """Of votes so long that couplings lie near 0 and 1."""
    torch.manual_seed(0)
    routing = create_routing(name).build(in_caps=64, in_dim=8, out_caps=10, out_dim=16)
    routing.backend = "cpu"
    pose = (30 * torch.randn(33, 64, 8)).requires_grad_()
    weight = torch.randn(64, 10, 16, 8).requires_grad_()
    out = routing(LinearVotes(pose, weight)).pose
    return torch.autograd.grad(out, (pose, weight), torch.randn_like(out))


def are_denormal(x: torch.Tensor) -> torch.Tensor:
    return (x != 0) & (x.abs() < TINY)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", ["self_attention", "attention", "dynamic"])
def test_kernels_compute_with_none(name: str) -> None:
    for gradient in gradients(name):
        assert gradient.abs().max() > 0
        assert not are_denormal(gradient).any()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("flushed", [False, True])
def test_a_thread_is_left_as_it_was(flushed: bool) -> None:
    torch.set_flush_denormal(flushed)
    try:
        gradients("dynamic")
        assert bool(torch.tensor(TINY) / 2 == 0) is flushed
    finally:
        torch.set_flush_denormal(False)


@numba.njit(nogil=True)
def halve(tiny, halves, arrived, spins, counter, stop):
    """halves[k] = tiny / 2, on as many threads as there are items, each of which takes one."""
    k = claim(counter)
    claim(arrived)
    while arrived[0] < stop and claim(spins) < 10**9:
        pass
    halves[k] = tiny / 2


@pytest.mark.parametrize("has_team", [openmp_team.has_team, lambda: False], ids=["team", "pool"])
def test_every_thread_of_a_loop_takes_them_for_zero(
    monkeypatch: pytest.MonkeyPatch, has_team: Callable[[], bool]
) -> None:
    monkeypatch.setattr(loops_on_threads, "has_team", has_team)
    halves, arrived, spins = np.ones(3), np.zeros(1, np.int64), np.zeros(1, np.int64)
    tiny = np.finfo(np.float64).tiny
    torch.set_num_threads(3)
    try:
        loops_on_threads.on_all_threads(halve, 3, tiny, halves, arrived, spins, steps=10**9)
        assert tiny / 2 > 0  # on this thread, afterwards
    finally:
        torch.set_num_threads(1)
    assert (arrived[0], halves.tolist()) == (3, [0, 0, 0])


@numba.njit(nogil=True)
def take_too_much(tiny, size, half, counter, stop):
    half[0] = tiny / 2
    np.empty(size)[0] = 1


def test_it_is_left_as_it_was_by_a_loop_that_fails() -> None:
    half, tiny = np.ones(1), np.finfo(np.float64).tiny
    with pytest.raises(MemoryError):
        loops_on_threads.on_all_threads(take_too_much, 1, tiny, 2**58, half, steps=1)
    assert half[0] == 0
    assert tiny / 2 > 0
