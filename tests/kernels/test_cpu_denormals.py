"""Numbers closer to zero than a processor holds in full: zero in the kernels, and only there."""

from collections.abc import Iterator
from threading import Barrier

import pytest
import torch

from torchcaps import LinearVotes, create_routing
from torchcaps.kernels import cpu_denormals, cpu_threads

TINY = torch.finfo(torch.float32).tiny
pytestmark = pytest.mark.skipif(not cpu_denormals.X86, reason="of another processor")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(cpu_threads, "WORTH_A_THREAD", 1)
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


def test_every_thread_of_a_loop_takes_them_for_zero() -> None:
    found, all_there = [], Barrier(3)

    def loop(counter: object, items: int) -> None:
        found.append(bool(torch.tensor(TINY) / 2 == 0))
        all_there.wait(60)

    torch.set_num_threads(3)
    try:
        cpu_threads.on_all_threads(loop, 3, steps=10**9)
    finally:
        torch.set_num_threads(1)
    assert found == [True] * 3


def test_it_is_left_as_it_was_by_a_loop_that_fails() -> None:
    def fails() -> None:
        assert torch.tensor(TINY) / 2 == 0
        raise KeyError

    with pytest.raises(KeyError):
        cpu_denormals.without_denormals(fails)
    assert torch.tensor(TINY) / 2 > 0
