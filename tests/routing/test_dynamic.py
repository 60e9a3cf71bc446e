"""Dynamic routing against Procedure 1 in scalar loops: every iterate, every gradient."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import oracle
from tests.routing.oracles import dynamic as dynamic_oracle
from torchcaps import DynamicRouting, LinearVotes, dynamic_routing, dynamic_routing_trace

DOUBLE = torch.float64
SHAPES = [(2, 5, 3, 4), (1, 1, 1, 1), (1, 7, 2, 3), (3, 1, 4, 2), (2, 4, 1, 5), (2, 3, 6, 1)]


def numpy_mask(mask: Tensor | None) -> np.ndarray | None:
    return None if mask is None else mask.numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_every_iteration_is_procedure_1(
    shape: tuple[int, ...], iterations: int, leaky: bool, masked: bool
) -> None:
    votes = torch.randn(shape, dtype=DOUBLE)
    mask = torch.rand(shape[:2]) < 0.7 if masked else None
    expected = dynamic_oracle.procedure_1(
        votes.numpy(), iterations, mask=numpy_mask(mask), leaky=leaky
    )
    trace = dynamic_routing_trace(votes, iterations, mask=mask, leaky=leaky)
    np.testing.assert_allclose(trace.logits.numpy(), expected["b"], atol=1e-13)
    np.testing.assert_allclose(trace.coupling.numpy(), expected["c"], atol=1e-13)
    np.testing.assert_allclose(trace.pose.numpy(), expected["v"], atol=1e-13)
    pose, activation = dynamic_routing(votes, iterations, mask=mask, leaky=leaky)
    np.testing.assert_allclose(pose.numpy(), expected["v"][-1], atol=1e-13)
    lengths = np.linalg.norm(expected["v"][-1], axis=-1)
    np.testing.assert_allclose(activation.numpy(), lengths, atol=1e-13)


def test_linear_votes_are_routed_as_the_votes_they_stand_for() -> None:
    u, W = torch.randn(3, 5, 4, dtype=DOUBLE), torch.randn(5, 2, 6, 4, dtype=DOUBLE)
    expected = dynamic_oracle.procedure_1(oracle.votes(u.numpy(), W.numpy()), 3)
    pose, _ = dynamic_routing(LinearVotes(u, W), 3)
    np.testing.assert_allclose(pose.numpy(), expected["v"][-1], atol=1e-13)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "options", [{}, {"leaky": True}, {"mask": torch.tensor([[True, False, True]])}]
)
def test_gradients_are_those_of_finite_differences(
    iterations: int, options: dict[str, Any]
) -> None:
    u = torch.randn(1, 3, 2, dtype=DOUBLE, requires_grad=True)
    W = torch.randn(3, 2, 3, 2, dtype=DOUBLE, requires_grad=True)
    bias = torch.randn(2, 3, dtype=DOUBLE, requires_grad=True)

    def route(*factors: Tensor) -> tuple[Tensor, ...]:
        return tuple(dynamic_routing(LinearVotes(*factors), iterations, **options))

    assert torch.autograd.gradcheck(route, (u, W, bias))


def test_gradients_of_a_tensor_of_votes_and_the_second_derivative() -> None:
    votes = torch.randn(2, 3, 2, 3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple(dynamic_routing(x, 3)), votes)
    assert torch.autograd.gradgradcheck(lambda x: dynamic_routing(x, 2).pose, votes)


def test_detach_holds_the_last_coupling_constant() -> None:
    votes = torch.randn(2, 5, 3, 4, dtype=DOUBLE, requires_grad=True)
    trace = dynamic_oracle.procedure_1(votes.detach().numpy(), 3)
    coupling = torch.from_numpy(trace["c"][-1])

    def last_iteration(x: Tensor) -> Tensor:
        s = torch.einsum("bij,bijd->bjd", coupling, x)
        n = s.norm(dim=-1, keepdim=True)
        return n**2 / (1 + n**2) * s / n

    upstream = torch.randn(2, 3, 4, dtype=DOUBLE)
    (expected,) = torch.autograd.grad(last_iteration(votes), votes, upstream)
    detached = dynamic_routing(votes, 3, detach=True).pose
    (found,) = torch.autograd.grad(detached, votes, upstream)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(detached, dynamic_routing(votes, 3).pose)
    (full,) = torch.autograd.grad(dynamic_routing(votes, 3).pose, votes, upstream)
    assert (full - found).abs().max() > 1e-3, "the full gradient must be another one"


def test_three_inputs_two_outputs_begin_in_maximum_confusion() -> None:
    trace = dynamic_routing_trace(torch.randn(1, 3, 2, 4))
    assert torch.equal(trace.logits[0], torch.zeros(1, 3, 2))
    assert torch.equal(trace.coupling[0], torch.full((1, 3, 2), 0.5))


def test_an_input_moves_from_the_capsule_it_opposes_to_the_one_it_agrees_with() -> None:
    agreeing = torch.tensor([1.0, 0.0])
    friend, opponent = torch.stack([agreeing, agreeing]), torch.stack([-agreeing, agreeing])
    votes = torch.stack([friend, friend, friend, opponent])
    coupling = dynamic_routing_trace(votes.unsqueeze(0), 5).coupling[:, 0, 3]
    assert (coupling[:, 0].diff() < 0).all()
    assert (coupling[:, 1].diff() > 0).all()


def test_one_iteration_couples_uniformly() -> None:
    votes = torch.randn(2, 5, 4, 3, dtype=DOUBLE)
    s = votes.sum(dim=1) / 4
    np.testing.assert_allclose(
        dynamic_routing(votes, 1).pose[0, 0].numpy(), oracle.squash(s[0, 0].numpy()), atol=1e-14
    )


def test_autocast_does_not_reach_routing() -> None:
    u, W = torch.randn(2, 50, 8), torch.randn(50, 10, 16, 8)
    for backend in ("reference", "cpu"):
        plain = dynamic_routing(LinearVotes(u, W), backend=backend).pose
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(dynamic_routing(LinearVotes(u, W), backend=backend).pose, plain)
            trace = dynamic_routing_trace(LinearVotes(u, W))
            torch.testing.assert_close(trace.pose[-1], plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_float32(dtype: torch.dtype) -> None:
    u, W = torch.randn(2, 300, 8).to(dtype), (0.1 * torch.randn(300, 10, 16, 8)).to(dtype)
    pose, activation = dynamic_routing(LinearVotes(u, W))
    assert pose.dtype == activation.dtype == dtype
    exact = dynamic_routing(LinearVotes(u.double(), W.double()))
    assert torch.equal(pose, exact.pose.to(dtype)) or torch.allclose(
        pose.double(), exact.pose, rtol=2 * torch.finfo(dtype).eps, atol=1e-5
    )


def test_a_bias_breaks_the_symmetry_of_sign_and_equals_a_constant_pose_component() -> None:
    u, W = torch.randn(2, 5, 4, dtype=DOUBLE), torch.randn(5, 3, 6, 4, dtype=DOUBLE)
    bias = torch.randn(5, 3, 6, dtype=DOUBLE)
    with_bias = dynamic_routing(LinearVotes(u, W, bias)).pose
    augmented = LinearVotes(
        torch.cat([u, torch.ones(2, 5, 1)], dim=-1), torch.cat([W, bias.unsqueeze(-1)], dim=-1)
    )
    torch.testing.assert_close(with_bias, dynamic_routing(augmented).pose)
    assert not torch.allclose(dynamic_routing(LinearVotes(-u, W, bias)).pose, -with_bias)


def test_module_carries_its_settings() -> None:
    votes = torch.randn(2, 5, 3, 4)
    routing = DynamicRouting(2, leaky=True, detach=True)
    assert torch.equal(routing(votes).pose, dynamic_routing(votes, 2, leaky=True).pose)
    assert torch.equal(routing.trace(votes).pose[-1], routing(votes).pose)
    assert "iterations=2, leaky=True, squash='squash', coupling='softmax'" in repr(routing)
    assert "detach=True" in repr(routing)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"iterations": 0}, ValueError, "iterations must be at least 1, got 0"),
        ({"iterations": 10**18}, ValueError, "iterations must be at most 10000, got 10{18}"),
        ({"iterations": -3}, ValueError, "at least 1"),
        ({"iterations": 2.0}, TypeError, "iterations must be an int, got 2.0"),
        ({"iterations": True}, TypeError, "iterations must be an int, got True"),
        ({"votes": torch.randn(3, 4)}, ValueError, r"votes must be \[..., I, J, D\]"),
        ({"votes": torch.ones(1, 3, 4, 2).long()}, TypeError, "votes must be a floating-point"),
        ({"votes": np.zeros((1, 3, 4, 2))}, TypeError, "votes must be a tensor, got ndarray"),
        ({"mask": torch.ones(2, 5)}, TypeError, "mask must be a bool tensor"),
        ({"mask": [True]}, TypeError, "mask must be a bool tensor"),
        (
            {"mask": torch.ones(2, 5, dtype=torch.bool).to_sparse()},
            TypeError,
            "mask must be a dense tensor, got torch.sparse_coo: take its to_dense",
        ),
        ({"mask": torch.ones(5, dtype=torch.bool)}, ValueError, r"mask must be \[..., I\]"),
        (
            {"backend": "cudnn"},
            ValueError,
            "backend must be one of auto, cuda, cpu, tiles, reference",
        ),
        ({"iteration": 3}, TypeError, "unexpected keyword"),
    ],
)
def test_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dynamic_routing(**{"votes": torch.randn(2, 5, 3, 4), **arguments})
