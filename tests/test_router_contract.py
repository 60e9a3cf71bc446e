"""What every routing algorithm of the package promises; a new one is added to ROUTERS."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from torchcaps import Capsules, LinearVotes, dynamic_routing

DOUBLE = torch.float64
Router = Callable[..., Capsules]


def on_the_kernel(votes: Tensor | LinearVotes, **options: Any) -> Capsules:
    """What users get by default, float32 on the CPU kernel, for all votes that it takes."""
    backend = "auto"
    if isinstance(votes, LinearVotes):
        can = 0 not in votes.pose.shape and not torch.compiler.is_exporting()
        backend = "cpu" if can else "auto"
    routed = dynamic_routing(votes.to(torch.float32), 3, backend=backend, **options)
    return Capsules(*(part.to(votes.dtype) for part in routed))


ROUTERS: dict[str, Router] = {
    "dynamic, 1 iteration": lambda votes, **kw: dynamic_routing(votes, 1, **kw),
    "dynamic, 3 iterations": lambda votes, **kw: dynamic_routing(votes, 3, **kw),
    "dynamic, leaky": lambda votes, **kw: dynamic_routing(votes, 3, leaky=True, **kw),
    "dynamic, detached": lambda votes, **kw: dynamic_routing(votes, 3, detach=True, **kw),
    "dynamic, CPU kernel": on_the_kernel,
}
pytestmark = pytest.mark.parametrize("route", ROUTERS.values(), ids=ROUTERS.keys())


def assert_close(route: Router, found: Tensor, expected: Tensor) -> None:
    tolerance: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-5} if route is on_the_kernel else {}
    torch.testing.assert_close(found, expected, **tolerance)


def random_factors(
    B: int = 3, I: int = 7, J: int = 4, D: int = 5, P: int = 6
) -> tuple[Tensor, Tensor]:
    return torch.randn(B, I, P, dtype=DOUBLE), torch.randn(I, J, D, P, dtype=DOUBLE)


def test_each_sample_is_routed_by_itself(route: Router) -> None:
    u, W = random_factors()
    together = route(LinearVotes(u, W)).pose
    for n in range(len(u)):
        alone = route(LinearVotes(u[n : n + 1], W)).pose
        assert_close(route, alone[0], together[n])


def test_order_of_input_capsules_does_not_matter(route: Router) -> None:
    u, W = random_factors()
    order = torch.randperm(u.shape[1])
    assert_close(
        route, route(LinearVotes(u[:, order], W[order])).pose, route(LinearVotes(u, W)).pose
    )


def test_order_of_output_capsules_is_carried_through(route: Router) -> None:
    u, W = random_factors()
    order = torch.randperm(W.shape[1])
    assert_close(
        route, route(LinearVotes(u, W[:, order])).pose, route(LinearVotes(u, W)).pose[:, order]
    )


def test_opposite_votes_give_opposite_poses(route: Router) -> None:
    u, W = random_factors()
    assert_close(route, route(LinearVotes(-u, W)).pose, -route(LinearVotes(u, W)).pose)


def test_rotating_all_votes_rotates_the_poses(route: Router) -> None:
    u, W = random_factors()
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=DOUBLE))
    turned = torch.einsum("ed,ijdp->ijep", rotation, W)
    assert_close(
        route, route(LinearVotes(u, turned)).pose, route(LinearVotes(u, W)).pose @ rotation.T
    )


@pytest.mark.parametrize("padding", [0.0, 1e3, float("nan"), float("inf")])
@pytest.mark.parametrize("bias", [False, True])
def test_masked_capsules_have_no_effect_on_any_output_or_gradient(
    route: Router, padding: float, bias: bool
) -> None:
    u, W = random_factors(I=5)
    b = torch.randn(4, 5, dtype=DOUBLE) if bias else None
    upstream = torch.randn(3, 4, 5, dtype=DOUBLE)
    padded = torch.cat([u, torch.full((3, 2, 6), padding, dtype=DOUBLE)], dim=1)
    more = torch.cat([W, torch.randn(2, 4, 5, 6, dtype=DOUBLE)])
    mask = torch.tensor([True] * 5 + [False] * 2).expand(3, 7)

    def run(u: Tensor, W: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        leaves = [t.clone().requires_grad_() for t in ([u, W] if b is None else [u, W, b])]
        pose = route(LinearVotes(*leaves), mask=mask).pose
        return pose, *torch.autograd.grad(pose, leaves, upstream)

    plain, masked = run(u, W, None), run(padded, more, mask)
    assert_close(route, masked[0], plain[0])
    for found, expected in zip(masked[1:], plain[1:]):
        if found.shape != expected.shape:
            axis = 1 if found.dim() == 3 else 0
            found, beyond = found.split([5, 2], dim=axis)
            assert torch.equal(beyond, torch.zeros_like(beyond))
        assert_close(route, found, expected)


def test_masked_votes_of_a_tensor_may_be_nan(route: Router) -> None:
    votes = torch.randn(2, 5, 3, 4, dtype=DOUBLE)
    poisoned = torch.cat([votes, torch.full((2, 1, 3, 4), torch.nan, dtype=DOUBLE)], dim=1)
    mask = torch.tensor([True] * 5 + [False]).expand(2, 6)
    assert_close(route, route(poisoned, mask=mask).pose, route(votes).pose)


def test_a_sample_with_every_capsule_masked_is_zero(route: Router) -> None:
    votes = torch.randn(2, 3, 4, 5, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    pose, activation = route(votes, mask=mask)
    pose.sum().backward()
    assert torch.equal(pose[0], torch.zeros(4, 5))
    assert torch.equal(activation[0], torch.zeros(4))
    assert torch.equal(votes.grad[0], torch.zeros(3, 4, 5))


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e8, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_outputs_and_gradients_are_finite_at_any_size(
    route: Router, size: float, dtype: torch.dtype
) -> None:
    u = (size * torch.randn(2, 6, 3, dtype=dtype)).requires_grad_()
    W = torch.randn(6, 4, 5, 3, dtype=dtype, requires_grad=True)
    pose, activation = route(LinearVotes(u, W))
    (pose.sum() + activation.sum()).backward()
    for tensor in (pose, activation, u.grad, W.grad):
        assert torch.isfinite(tensor).all()
    assert (activation <= 1 + 4 * torch.finfo(dtype).eps).all()


def test_one_zero_capsule_among_others(route: Router) -> None:
    u, W = random_factors()
    u[:, 2] = 0
    u.requires_grad_()
    pose, _ = route(LinearVotes(u, W))
    pose.sum().backward()
    assert torch.isfinite(pose).all()
    assert torch.isfinite(u.grad).all()


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (1, 9, 3, 2, 4), (4, 1, 3, 2, 4), (2, 9, 1, 2, 4)]
)
def test_axes_of_one_keep_their_place(route: Router, shape: tuple[int, ...]) -> None:
    u, W = random_factors(*shape)
    B, _, J, D, _ = shape
    pose, activation = route(LinearVotes(u, W))
    assert pose.shape == (B, J, D)
    assert activation.shape == (B, J)


def test_an_empty_batch_and_no_input_capsules(route: Router) -> None:
    u, W = random_factors(B=0)
    assert route(LinearVotes(u, W)).pose.shape == (0, 4, 5)
    assert torch.equal(route(torch.zeros(2, 0, 4, 5)).pose, torch.zeros(2, 4, 5))


def test_any_leading_axes(route: Router) -> None:
    u, W = random_factors(B=6)
    flat = route(LinearVotes(u, W))
    nested = route(LinearVotes(u.unflatten(0, (2, 3)), W))
    assert_close(route, nested.pose, flat.pose.unflatten(0, (2, 3)))
    assert_close(route, route(LinearVotes(u[0], W)).pose, flat.pose[0])


def test_non_contiguous_and_expanded_inputs(route: Router) -> None:
    u, W = random_factors()
    scattered = LinearVotes(u.transpose(1, 2).contiguous().transpose(1, 2), W.flip(3).flip(3))
    assert_close(route, route(scattered).pose, route(LinearVotes(u, W)).pose)
    shared = W[:1].expand(7, -1, -1, -1)
    assert_close(
        route, route(LinearVotes(u, shared)).pose, route(LinearVotes(u, shared.contiguous())).pose
    )


def test_activation_is_the_length_of_the_pose(route: Router) -> None:
    pose, activation = route(LinearVotes(*random_factors()))
    assert_close(route, activation, pose.norm(dim=-1))


def test_it_runs_as_one_compiled_graph(route: Router) -> None:
    u, W = (factor.float() for factor in random_factors())
    mask = torch.rand(3, 7) < 0.8

    def run(u: Tensor, W: Tensor) -> Capsules:
        return route(LinearVotes(u, W), mask=mask)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert_close(route, compiled(u, W).pose, run(u, W).pose)


def test_it_exports(route: Router) -> None:
    class Layer(torch.nn.Module):
        def forward(self, u: Tensor, W: Tensor) -> Tensor:
            return route(LinearVotes(u, W)).pose

    u, W = random_factors()
    exported = torch.export.export(Layer(), (u, W))
    assert_close(route, exported.module()(u, W), Layer()(u, W))
