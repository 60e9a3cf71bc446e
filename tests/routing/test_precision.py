"""Sums that keep their digits: outliers, masks, tiles, half precision, and calls of no samples."""

import copy
import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchcaps import ConvCaps, DenseCaps, LinearVotes, MatrixVotes
from torchcaps.routing import (
    DynamicRouting,
    EMRouting,
    Routing,
    create_routing,
    sweep,
)
from torchcaps.routing.batch_norm import BatchNorm
from torchcaps.types import Capsules
from torchcaps.votes import FormedVotes, Votes

DOUBLE = torch.float64


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of a few input capsules each."""
    monkeypatch.setattr(sweep, "TILE_BYTES", 2**11)


def built(name: str, votes: Votes, **options: object) -> Routing[Any, Any]:
    """In evaluation, for these votes."""
    children, parents, dim = votes.shape[-3:]
    P = dim if votes.in_pose is None else votes.in_pose.shape[-1]
    return create_routing(name, **options).build(children, P, parents, dim).eval()


def error(found: Tensor, exact: Tensor) -> float:
    """The largest, beside 1 or the largest number."""
    return ((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1)).item()


def factors(inputs: int = 96) -> tuple[Tensor, Tensor]:
    """u and W of votes about 20 that spread by some hundredths."""
    torch.manual_seed(0)
    weight = 0.02 * torch.randn(inputs, 3, 16, 8)
    weight[..., 0] += 20 * torch.randn(1, 3, 16)
    pose = 0.1 * torch.randn(8, inputs, 8)
    pose[..., 0] = 1
    return pose, weight


@pytest.mark.parametrize("name", ["em", "variational", "heinsen2019"])
@pytest.mark.parametrize("offset", [100, 1000])
def test_an_outlier_that_is_not_active_takes_no_digits(name: str, offset: float) -> None:
    torch.manual_seed(0)
    votes = 0.3 * torch.randn(2, 1, 3, 16) + 0.05 * torch.randn(2, 8, 3, 16)
    votes[:, 0] += offset * torch.randn(2, 3, 16)
    activation = torch.rand(2, 8)
    activation[:, 0] = 0
    routing = built(name, FormedVotes(votes))
    found = routing(votes, activation)
    exact = copy.deepcopy(routing).double()(votes.double(), activation.double())
    assert error(found.pose, exact.pose) < 1e-5
    assert error(found.activation, exact.activation) < 1e-4


@pytest.mark.parametrize("backend", ["reference", "tiles", "cpu"])
@pytest.mark.usefixtures("small_tiles")
def test_masked_capsules_in_front_take_no_digits(backend: str) -> None:
    """Sums are taken about a mean of those that count, wherever they are."""
    pose, weight = factors()
    mask = torch.ones(8, 96, dtype=torch.bool)
    mask[:, :40] = False
    routing = built("em", LinearVotes(pose, weight), backend=backend)
    found = routing(LinearVotes(pose, weight), mask=mask)
    exact = EMRouting(backend="reference").build(96, 8, 3, 16).double()
    expected = exact(LinearVotes(pose.double(), weight.double()), mask=mask)
    assert error(found.pose, expected.pose) < 1e-5
    assert error(found.activation, expected.activation) < 1e-3


@pytest.mark.parametrize("size", [1e4, 1e6])
def test_a_full_covariance_bears_one_large_child(size: float) -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        votes = torch.randn(4, 8, 3, 16)
        votes[:, 0] *= size
        routing = built("variational", FormedVotes(votes), covariance="full")
        assert all(part.isfinite().all() for part in routing(votes))


@pytest.mark.parametrize("name", ["em", "variational", "heinsen2019"])
@pytest.mark.parametrize("offset", [9e5, 2e6, 1e8])
@pytest.mark.parametrize("backend", ["reference", "tiles"])
@pytest.mark.usefixtures("small_tiles")
def test_votes_far_from_zero_are_fitted_as_they_lie(name: str, offset: float, backend: str) -> None:
    """Their spread counts, not their size: nothing in proportion to it is added to a variance."""
    torch.manual_seed(0)
    pose, weight = torch.randn(2, 70, 4, dtype=DOUBLE), torch.randn(70, 3, 5, 4, dtype=DOUBLE)
    votes = LinearVotes(pose, weight, torch.full((3, 5), offset, dtype=DOUBLE))
    routing = built(name, votes, backend=backend).double()
    expected = importlib.import_module(f"tests.routing.oracles.{name}").route(
        votes.materialize().numpy(),
        None,
        None,
        {name: value.detach().numpy() for name, value in routing.state_dict().items()},
        **routing.options(),
    )
    found = routing(votes)
    spread = (found.pose - torch.from_numpy(expected["pose"][-1])).abs().max()
    assert spread < 1e-4
    np.testing.assert_allclose(
        found.activation.detach(), expected["activation"][-1], rtol=1e-4, atol=1e-12
    )


@pytest.mark.parametrize("size", [1e5, 9e5, 2e6, 1e12, 1e18])
def test_the_largest_votes_that_are_taken_as_they_are(size: float) -> None:
    """Beside an outlier that is not active, on which the least variance is spent."""
    votes = torch.full((2, 4, 3, 64), size)
    votes[:, 0] *= -1
    votes.requires_grad_()
    activation = torch.tensor([0.0, 1.0, 1.0, 1.0]).expand(2, 4)
    routing = built("em", FormedVotes(votes), variance_floor=1e-12)
    for part in (found := routing(votes, activation)):
        assert part.isfinite().all()
    (gradient,) = torch.autograd.grad(found.pose.sum() + found.activation.sum(), votes)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["em", "variational", "heinsen2019"])
@pytest.mark.usefixtures("small_tiles")
def test_huge_votes_beyond_the_first_tile(name: str) -> None:
    torch.manual_seed(0)
    pose, weight = torch.randn(2, 70, 4), torch.randn(70, 3, 5, 4)
    pose[:, 40:] *= 1e30
    found = {}
    for backend in ("tiles", "reference"):
        leaf = pose.clone().requires_grad_()
        capsules = built(name, LinearVotes(pose, weight), backend=backend)(
            LinearVotes(leaf, weight)
        )
        capsules.activation.sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        found[backend] = capsules
    for tiled, whole in zip(found["tiles"], found["reference"]):
        assert error(tiled / whole.abs().max(), whole.double() / whole.abs().max()) < 1e-4


@pytest.mark.parametrize("name", ["em", "variational", "self_attention"])
def test_a_huge_bias_is_not_for_the_kernel_of_sums(name: str) -> None:
    torch.manual_seed(0)
    votes = LinearVotes(torch.randn(3, 6, 4), torch.randn(6, 3, 5, 4), 1e25 * torch.randn(3, 5))
    capsules = built(name, votes, backend="cpu")(votes)
    assert all(part.isfinite().all() for part in capsules)
    expected = built(name, votes, backend="reference")(votes)
    torch.testing.assert_close(capsules, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["attention", "em", "kde"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("small_tiles")
def test_tiles_add_up_gradients_in_float32(name: str, dtype: torch.dtype) -> None:
    """Those of what all input capsules share come from hundreds of tiles."""
    torch.manual_seed(0)
    pose, weight, bias = torch.randn(4, 600, 4), 0.3 * torch.randn(1, 3, 5, 4), torch.randn(3, 5)
    upstream = torch.randn(4, 3, 5)
    found = {}
    for backend in ("tiles", "reference"):
        leaves = [x.to(dtype).requires_grad_() for x in (pose, weight, bias)]
        votes = LinearVotes(*leaves)
        routed = built(name, votes, backend=backend)(votes).pose
        found[backend] = torch.autograd.grad((routed.float() * upstream).sum(), leaves)
    for tiled, whole in zip(found["tiles"], found["reference"]):
        assert tiled.dtype == dtype
        assert error(tiled / whole.abs().max(), whole.double() / whole.abs().max()) < 0.01


@pytest.mark.parametrize("backend", ["reference", "tiles"])
@pytest.mark.usefixtures("small_tiles")
def test_a_detached_group_equivariant_routing_still_learns_its_last_mean(backend: str) -> None:
    """v^r = direction(Σ_i w_i V_i) with the w of the last iteration as constants."""
    torch.manual_seed(0)
    votes = torch.randn(2, 30, 3, 4, dtype=DOUBLE, requires_grad=True)
    upstream = torch.randn(2, 3, 4, dtype=DOUBLE)
    options = {"iterations": 2, "detach": True, "backend": backend}
    routing = create_routing("group_equivariant", **options).build(30, 4, 3, 4).double()
    (found,) = torch.autograd.grad((routing(votes).pose * upstream).sum(), votes)
    unit = votes / votes.norm(dim=-1, keepdim=True)
    v = unit.sum(dim=1)
    for _ in range(2):
        v = v / v.norm(dim=-1, keepdim=True)
        w = (1 + (unit * v.unsqueeze(1)).sum(dim=-1, keepdim=True)) / 2
        v = (w.detach() * unit).sum(dim=1)
    v = v / v.norm(dim=-1, keepdim=True)
    (expected,) = torch.autograd.grad((v * upstream).sum(), votes)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("backend", ["reference", "tiles"])
@pytest.mark.usefixtures("small_tiles")
def test_a_detached_group_equivariant_activation_learns_by_distances(backend: str) -> None:
    """In the mean of (1 − d_ij) w_ij the coupling w is the constant, and d is not."""
    torch.manual_seed(0)
    votes = torch.randn(2, 30, 3, 4, dtype=DOUBLE, requires_grad=True)
    a = torch.rand(2, 30, 1, 1, dtype=DOUBLE, requires_grad=True)
    upstream = torch.randn(2, 3, dtype=DOUBLE)
    options = {"iterations": 2, "detach": True, "backend": backend}
    routing = create_routing("group_equivariant", **options).build(30, 4, 3, 4).double()
    found = routing(votes, a[..., 0, 0])
    gradients = torch.autograd.grad((found.activation * upstream).sum(), (votes, a))
    unit, near = votes / votes.norm(dim=-1, keepdim=True), torch.ones((), dtype=DOUBLE)
    for _ in range(3):
        coupling = near.detach()
        v = (a * coupling * unit).sum(dim=1, keepdim=True)
        v = v / v.norm(dim=-1, keepdim=True)
        near = (1 + (unit * v).sum(dim=-1, keepdim=True)) / 2
    expected = torch.sigmoid((near * a * coupling).mean(dim=1)).squeeze(-1)
    torch.testing.assert_close(found.activation, expected)
    exact = torch.autograd.grad((expected * upstream).sum(), (votes, a))
    for ours, true in zip(gradients, exact):
        torch.testing.assert_close(ours, true)


@pytest.mark.parametrize("options", [{}, {"first_coupling": "whole", "variance_floor": 1e-12}])
@pytest.mark.parametrize("iterations", [2, 3])
@pytest.mark.parametrize("backend", ["reference", "tiles", "cpu"])
def test_em_without_a_mass_floor_learns_beside_a_parent_of_hardly_any_mass(
    backend: str, iterations: int, options: dict[str, Any]
) -> None:
    """All votes for the first parent agree, so that next to nothing comes to the second: of what
    does, slopes overflow, and 0 times infinity would be NaN everywhere."""
    for seed in range(10):
        torch.manual_seed(seed)
        pose, weight = torch.randn(2, 12, 4, dtype=DOUBLE), torch.randn(12, 2, 16, 4, dtype=DOUBLE)
        weight *= torch.tensor([0.025, 2.5])[:, None, None]
        activation = torch.rand(2, 12, dtype=DOUBLE)
        options = options | {"iterations": iterations, "mass_floor": 0}
        routing = built("em", LinearVotes(pose, weight), **options)
        found = {}
        for dtype in (torch.float32, DOUBLE):
            leaves = [x.to(dtype).requires_grad_() for x in (pose, weight, activation)]
            routing.to(dtype).backend = backend if dtype == torch.float32 else "reference"
            capsules = routing(LinearVotes(*leaves[:2]), leaves[2])
            learned = [*leaves, *routing.parameters()]
            for part in capsules:
                gradients = torch.autograd.grad(part.sum(), learned, retain_graph=True)
                assert all(gradient.isfinite().all() for gradient in gradients)
            found[dtype] = torch.autograd.grad(capsules.pose[:, 0].sum(), leaves)
        if iterations == 2:  # the first parent knows nothing of how little came to the second
            for ours, true in zip(found[torch.float32], found[DOUBLE]):
                assert error(ours / true.abs().max(), true / true.abs().max()) < 1e-4


def test_em_without_a_mass_floor_is_finite_where_activities_are_negative() -> None:
    """Below 0 a mass is no mass, whatever the floor."""
    torch.manual_seed(0)
    votes = LinearVotes(torch.randn(4, 6, 4, dtype=DOUBLE), torch.randn(6, 3, 5, 4, dtype=DOUBLE))
    activation = torch.randn(4, 6, dtype=DOUBLE)
    found = []
    for floor in (0, 1e-20):
        torch.manual_seed(1)
        routing = built("em", votes, mass_floor=floor, iterations=1).double()
        found.append(routing(votes, activation))
    assert all(part.isfinite().all() for part in found[0])
    torch.testing.assert_close(found[0], found[1])


def test_a_parent_of_little_mass_has_the_mean_of_its_votes() -> None:
    torch.manual_seed(0)
    votes = LinearVotes(torch.randn(2, 6, 4, dtype=DOUBLE), torch.randn(6, 3, 5, 4, dtype=DOUBLE))
    routing = create_routing("self_routing").build(6, 4, 3, 5).double()
    weight, bias = routing.get_parameter("weight"), routing.get_parameter("bias")
    with torch.no_grad():
        bias[:, 0] = -60  # nobody chooses the first parent
    activation = torch.rand(2, 6, dtype=DOUBLE)
    logits = torch.einsum("bip,ijp->bij", votes.pose, weight) + bias
    w = activation.unsqueeze(-1) * torch.softmax(logits, dim=-1)
    expected = torch.einsum("bij,bijd->bjd", w, votes.materialize()) / w.sum(dim=1)[..., None]
    assert w[..., 0].max() < 1e-20
    torch.testing.assert_close(routing(votes, activation).pose, expected)
    none = routing(votes, torch.zeros_like(activation))
    assert (none.pose == 0).all()
    assert (none.activation == 0).all()


def test_no_samples_leave_running_statistics_alone() -> None:
    norm = BatchNorm(3)
    norm(torch.randn(8, 3))
    before = copy.deepcopy(norm.state_dict())
    assert norm(torch.empty(0, 3)).shape == (0, 3)
    torch.testing.assert_close(norm.state_dict(), before)
    with pytest.raises(ValueError, match="more than 1 value per channel, and this batch has one"):
        norm(torch.randn(1, 3))


def test_running_statistics_of_all_batches_and_none_at_all() -> None:
    """As torch's own, in the two ways in which it is set: `update_bn`, and without statistics."""
    batches = [torch.randn(8, 3) * (k + 1) + k for k in range(4)]
    ours, theirs = BatchNorm(3), nn.BatchNorm1d(3, affine=False)
    for norm in (ours, theirs):
        torch.optim.swa_utils.update_bn(batches, nn.Sequential(norm))
        for batch in batches:
            norm.momentum = None
            norm(batch)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert ours.num_batches_tracked == 4 + 4
    for norm in (ours, theirs):
        torch.func.replace_all_batch_norm_modules_(norm)
        assert norm.running_mean is None
    for training in (True, False):
        found, expected = (norm.train(training)(batches[2]) for norm in (ours, theirs))
        torch.testing.assert_close(found, expected)


def test_a_trace_leaves_running_statistics_alone() -> None:
    routing = create_routing("variational").build(6, 5, 3, 5).train()
    votes = torch.randn(8, 6, 3, 5)
    routing(votes)
    before = copy.deepcopy(routing.state_dict())
    trace = routing.trace(votes)
    torch.testing.assert_close(routing.state_dict(), before)
    torch.testing.assert_close(trace.pose[-1], routing(votes).pose)


@pytest.mark.parametrize("name", ["em", "variational", "heinsen2022", "attention", "self_routing"])
def test_parameters_wider_than_the_votes_are_refused(name: str) -> None:
    votes = LinearVotes(torch.randn(2, 6, 4), torch.randn(6, 3, 5, 4))
    routing = built(name, votes).double()
    with pytest.raises(TypeError, match=r"votes are torch.float32 and \w+.* is torch.float64: con"):
        routing(votes)


def test_a_routing_belongs_to_one_layer() -> None:
    routing = EMRouting(2)
    DenseCaps(6, 4, 3, 5, routing)
    with pytest.raises(
        ValueError, match="EMRouting has its parameters already, from another layer"
    ):
        DenseCaps(8, 4, 2, 5, routing)
    shared = DynamicRouting(2)  # learns nothing
    assert DenseCaps(6, 4, 3, 5, shared).routing is DenseCaps(8, 4, 2, 5, shared).routing


def test_max_min_does_not_compete_over_positions() -> None:
    layer = ConvCaps(2, 4, 3, 4, 3, routing={"name": "dynamic", "coupling": "max_min"})
    with pytest.raises(ValueError, match="coupling='max_min' compares the parents at one position"):
        layer(torch.randn(1, 2, 5, 5, 4))


def test_matrix_votes_with_masks_and_activations_about_their_mean() -> None:
    """The kernel of sums on votes whose first samples are not active at all."""
    torch.manual_seed(0)
    votes = MatrixVotes(torch.randn(3, 40, 16), torch.randn(40, 3, 4, 4))
    activation = torch.rand(3, 40)
    activation[0] = 0
    found = built("em", votes, backend="cpu")(votes, activation)
    expected = built("em", votes, backend="reference")(votes, activation)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_how_many_capsules_count_is_no_matter_of_precision() -> None:
    """65,520 is infinite in half precision."""
    torch.manual_seed(0)
    layer = DenseCaps(66_000, 2, 2, 4, "heinsen2022").half()
    x = torch.randn(1, 66_000, 2).half()
    found = []
    for backend in ("reference", "tiles"):
        layer.routing.backend = backend
        found.append(layer(x).pose.detach())
    assert float(found[0].abs().max()) > 0.1
    torch.testing.assert_close(found[1], found[0], atol=5e-3, rtol=5e-3)


# --- shares of almost nothing
@pytest.mark.parametrize("logit", [0.0, 10.0, 16.0, 25.0])
@pytest.mark.parametrize("activity", [1.0, 1e-3, 1e-9])
@pytest.mark.parametrize("backend", ["reference", "tiles"])
def test_self_routing_has_its_slopes_wherever_little_comes(
    logit: float, activity: float, backend: str
) -> None:
    torch.manual_seed(0)
    shapes = ((2, 4, 3), (4, 2, 5, 3))
    pose, weight = (torch.randn(shape, dtype=DOUBLE) for shape in shapes)
    activation = activity * torch.rand(2, 4, dtype=DOUBLE)
    routing: Any = create_routing("self_routing", backend=backend).build(4, 3, 2, 5).double()
    nn.init.normal_(routing.weight, std=0.1)
    with torch.no_grad():
        routing.bias[:] = torch.tensor([0.0, logit])

    def of(scales: Tensor, shifts: Tensor) -> Tensor:
        routed = torch.func.functional_call(
            routing,
            {"bias": routing.bias.detach() + shifts},
            (LinearVotes(pose, weight), activation * scales),
        )
        return torch.cat([routed.pose.flatten(), routed.activation.flatten()])

    ones, zeros = torch.ones(2, 4, dtype=DOUBLE), torch.zeros(4, 2, dtype=DOUBLE)
    leaves = ones.requires_grad_(), zeros.requires_grad_()
    assert torch.autograd.gradcheck(of, leaves, eps=1e-4, rtol=1e-5, atol=1e-7)


def test_a_window_that_nothing_comes_to_leaves_the_gradients_of_the_others() -> None:
    torch.manual_seed(0)
    layer = ConvCaps(2, 4, 3, 4, 3, 1, 1, "self_routing", competition="window")
    activation = torch.rand(1, 2, 6, 6)
    activation[:, :, :3, :3] = 0
    activation.requires_grad_()
    found = layer(Capsules(torch.randn(1, 2, 6, 6, 4), activation)).activation
    (gradient,) = torch.autograd.grad(found.square().sum(), activation)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1


def test_self_routing_of_activities_that_are_hardly_there() -> None:
    """Its poses are means: as small as activities may be, they are the same."""
    torch.manual_seed(0)
    votes = LinearVotes(torch.randn(2, 4, 3), torch.randn(4, 2, 5, 3))
    routing = built("self_routing", votes)
    little = torch.full((2, 4), 2e-38).requires_grad_()
    found, expected = routing(votes, little), routing(votes, torch.ones(2, 4))
    torch.testing.assert_close(found.pose, expected.pose, rtol=1e-3, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.pose.sum(), little)
    assert gradient.isfinite().all()
