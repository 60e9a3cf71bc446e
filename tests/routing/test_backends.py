"""Which backend runs, what is said of those that cannot, and what is refused."""

import logging
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from torchcaps import AttentionRouting, DynamicRouting, EMRouting, LinearVotes, create_routing
from torchcaps.kernels import dispatch
from torchcaps.kernels.dispatch import backends_of, choose_backend
from torchcaps.routing import Tile, sweep
from torchcaps.routing.dynamic import State, Total
from torchcaps.routing.kde import KDERouting
from torchcaps.votes import FormedVotes


def votes(batch: int = 2, inputs: int = 30) -> LinearVotes:
    return LinearVotes(torch.randn(batch, inputs, 4), torch.randn(inputs, 5, 6, 4))


def test_auto_takes_tiles_for_many_votes_and_holds_few() -> None:
    routing = EMRouting()
    assert choose_backend("auto", routing.call(votes())) == "reference"
    many = votes(300, 300)  # 10.8 MB
    assert choose_backend("auto", KDERouting().call(many)) == "tiles"
    assert choose_backend("auto", routing.call(many)) == "cpu"
    assert choose_backend("auto", DynamicRouting().call(many)) == "cpu"
    formed = FormedVotes(many.materialize())
    assert choose_backend("auto", routing.call(formed)) == "reference"
    assert choose_backend("tiles", routing.call(formed)) == "tiles"
    assert choose_backend("tiles", routing.call(votes())) == "tiles"


@dataclass(frozen=True)
class UnitVotes(LinearVotes):
    """What is formed of the factors is not what `LinearVotes` forms."""

    def product(self) -> Tensor:
        return torch.nn.functional.normalize(super().product(), dim=-1)


@pytest.mark.parametrize("name", ["dynamic", "em"])
def test_votes_of_ones_own_are_never_taken_for_those_they_are_made_from(name: str) -> None:
    routing = create_routing(name).build(in_caps=300, in_dim=4, out_caps=5, out_dim=6)
    own = UnitVotes(*votes(30, 300).factors)
    assert choose_backend("auto", routing.call(own)) == "reference"
    assert torch.equal(routing(own).pose, routing.trace(own).pose[-1])
    routing.backend = "cpu"
    with pytest.raises(ValueError, match=r"takes LinearVotes.*, and these are UnitVotes"):
        routing(own)


def test_a_routing_without_a_kernel_says_so() -> None:
    reason = "this routing has no such kernel"
    assert backends_of("kde") == {"cuda": reason, "cpu": reason, "tiles": None, "reference": None}
    assert backends_of("dynamic")["cpu"] is None
    assert backends_of("em") == backends_of("dynamic")
    for backend in ("cpu", "cuda"):
        routing = KDERouting(backend=backend)
        with pytest.raises(ValueError, match=f"backend '{backend}' cannot route.*no such kernel"):
            routing(votes())


def test_what_runs_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatch, "_said", set())
    with caplog.at_level(logging.INFO, "torchcaps"):
        for _ in range(2):
            DynamicRouting()(votes())
            KDERouting()(votes(300, 300))
    assert caplog.messages == [
        "dynamic routing runs on the backend 'cpu'",
        "kde routing runs on the backend 'tiles'",
    ]


def test_tiles_have_first_derivatives_only() -> None:
    u = torch.randn(2, 30, 4, requires_grad=True)
    pose = DynamicRouting(backend="tiles")(LinearVotes(u, votes().weight)).pose
    with pytest.raises(RuntimeError, match="tiles has first derivatives only: pass backend='ref"):
        torch.autograd.grad(pose.sum(), u, create_graph=True)


def test_tiles_refuse_what_they_cannot_run() -> None:
    routing = DynamicRouting(backend="tiles")
    with pytest.raises(ValueError, match="there are no votes"):
        routing(votes(0))
    u, W = votes().factors
    with pytest.raises(ValueError, match="reverse-mode derivatives only"):
        torch.func.vmap(lambda u: routing(LinearVotes(u, W)).pose)(u)


def test_a_routing_that_was_not_built_says_so() -> None:
    for routing in (EMRouting(), AttentionRouting()):
        with pytest.raises(ValueError, match="learns parameters and does not have them yet"):
            routing(votes())


class Learning(DynamicRouting):
    """It learns a factor for every child, and one for the logits of every parent."""

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> "Learning":
        self.strength = torch.nn.Parameter(torch.rand(in_caps))
        self.sharpness = torch.nn.Parameter(torch.rand(out_caps))
        return self

    def score(self, tile: Tile, state: State) -> Tensor:
        return super().score(tile, state) * self.sharpness

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Total:
        return super().gather(tile, coupling * self.strength[tile.indices, None], state)


def test_what_is_learned_for_children_and_scores_gets_its_gradient_by_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep, "TILE_BYTES", 2 * 7 * 5 * 6 * 8)
    routing, found = Learning().build(30, 4, 5, 6).double(), []
    factors = [factor.double().requires_grad_() for factor in votes().factors]
    for backend in ("tiles", "reference"):
        routing.backend = backend
        total = routing(LinearVotes(*factors)).pose.square().sum()
        found.append(torch.autograd.grad(total, [*factors, *routing.parameters()]))
    for one, other in zip(*found, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


class NeedsPose(DynamicRouting):
    """An algorithm that looks at the poses of the children."""

    needs_pose = True


def test_formed_votes_are_refused_where_poses_are_needed() -> None:
    assert NeedsPose()(votes()).pose.shape == (2, 5, 6)
    with pytest.raises(ValueError, match="NeedsPose needs the poses of the input capsules"):
        NeedsPose()(votes().materialize())


def test_activations_are_checked() -> None:
    routing = EMRouting().build(30, 4, 5, 6)
    with pytest.raises(
        ValueError, match=r"activation must be \[..., I\] = \(2, 30\), got \(2, 5\)"
    ):
        routing(votes(), torch.rand(2, 5))
    with pytest.raises(TypeError, match="activation must be a floating-point tensor"):
        routing(votes(), torch.ones(2, 30, dtype=torch.int64))


def test_gradients_that_are_handed_in_are_left_as_they_are() -> None:
    """A sweep adds to gradients of its own."""
    u = torch.randn(2, 30, 4, requires_grad=True)
    pose = DynamicRouting(backend="tiles")(LinearVotes(u, votes().weight)).pose
    upstream = torch.randn_like(pose)
    before = upstream.clone()
    pose.backward(upstream)
    assert torch.equal(upstream, before)


def test_learned_tensors_may_be_handed_in() -> None:
    """As functional_call does: they get the gradient, on tiles too."""
    for backend in ("reference", "tiles"):
        routing = EMRouting(backend=backend).build(30, 4, 5, 6)
        beta = torch.randn(5, requires_grad=True)
        found = torch.func.functional_call(routing, {"beta_a": beta}, (votes(),)).activation
        (gradient,) = torch.autograd.grad(found.sum(), beta)
        assert gradient.abs().min() > 0
        assert routing.beta_a.grad is None
