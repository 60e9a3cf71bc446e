"""Pitfalls of published routings, and what public code does wrong: each with a check that catches
it.

Where a vector file follows a defect, `test_vectors` matches it by putting the defect into the case;
here the package as it is must differ from the file, and show the property that the defect loses.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.routing import vector_cases_dense as dense_cases
from tests.routing import vector_cases_interests as interest_cases
from tests.routing.test_vectors import FILES
from tests.routing.vector_cases import VectorFile
from torchcaps import DenseCaps, InterestCaps, LinearVotes
from torchcaps.functional import soft_squash
from torchcaps.routing import EMRouting, create_routing

DOUBLE = torch.float64


def files(prefix: str) -> pytest.MarkDecorator:
    """A test for each file whose name begins like this."""
    paths = [path for path in FILES if path.stem.startswith(prefix)]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def largest(found: Tensor, expected: Any) -> float:
    """The largest difference."""
    return float(np.abs(found.detach().numpy() - np.asarray(expected)).max())


def routed(routing: Any, votes: Any, activation: Tensor | None = None) -> Any:
    """Built for these votes, in their dtype, in evaluation mode."""
    children, parents, dim = votes.shape[-3:]
    pose = votes.in_pose if isinstance(votes, LinearVotes) else votes
    routing.build(children, pose.shape[-1], parents, dim).to(votes.dtype).eval()
    return routing(votes, activation)


# --- EM


def test_one_iteration_of_em_gives_the_mean_as_it_is() -> None:
    """The official code gives 0.9 of it, since the mean before the first is 0."""
    votes, activation = torch.randn(2, 6, 4, 5), torch.rand(2, 6)
    mean = torch.einsum("bi,bijd->bjd", activation, votes) / activation.sum(-1)[:, None, None]
    torch.testing.assert_close(routed(EMRouting(1), votes, activation).pose, mean)
    official = routed(EMRouting(1, mean_momentum=0.1), votes, activation).pose
    torch.testing.assert_close(official, 0.9 * mean)


def test_one_child_gives_no_infinite_density() -> None:
    votes = torch.randn(2, 1, 4, 5, dtype=DOUBLE, requires_grad=True)
    capsules = routed(EMRouting(3), votes)
    (gradient,) = torch.autograd.grad(capsules.activation.sum(), votes)
    assert capsules.activation.isfinite().all()
    assert gradient.isfinite().all()
    with pytest.raises(ValueError, match="variance_floor must be at least"):
        EMRouting(variance_floor=0.0)


# --- variational Bayes


@files("vb-class")
def test_the_evidence_floor_is_part_of_the_published_code(path: Path) -> None:
    """Its files need it for poses of 9 components and more; a softmax alone is the paper's."""
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    with_floor = dense_cases.variational_class(file.settings, tensors, "auto")["pose"]
    without = dense_cases.variational_class(file.settings, tensors, "auto", floor=0.0)["pose"]
    expected = file.arrays["out64_pose"]
    assert largest(with_floor, expected) < 1e-7
    if tensors["in_pose"].shape[2] > 2:
        assert largest(without, expected) > 0.1
    else:
        assert largest(without, expected) < 1e-7


@files("vb-class-diag-k3s1-P2-r3-coord")
def test_a_constant_is_no_coordinate(path: Path) -> None:
    """The original adds 0.1 to two components at every position, in the place of coordinates."""
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    plain = {**file.settings, "coordinate_addition": False}
    found = dense_cases.variational_class(plain, tensors, "auto")["pose"]
    assert largest(found, file.arrays["out64_pose"]) > 0.01


def test_an_outlier_fades_out_below_the_floor_and_not_without_it() -> None:
    votes = 0.1 * torch.randn(1, 8, 3, 16, dtype=DOUBLE)
    votes[:, 0] += 20
    for floor, whole in ((0.0, True), (1e-11, False)):
        routing = create_routing("variational", evidence_floor=floor).build(8, 16, 3, 16)
        given = routing.double().eval().trace(votes).coupling[-1].sum(dim=-1)[0]
        assert bool((given[0] > 0.999).item()) == whole
    assert given[1:].min() > 0.999


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_densities_that_underflow_give_no_nan(covariance: str) -> None:
    """exp of a log density below −104 is 0 in float32; the original then divides 0 by 0."""
    votes = (5 * torch.randn(4, 12, 3, 16)).requires_grad_()
    routing = create_routing("variational", covariance=covariance)
    for activation in (torch.ones(4, 12), torch.zeros(4, 12)):
        capsules = routed(routing, votes, activation)
        (gradient,) = torch.autograd.grad(capsules.activation.sum(), votes)
        assert capsules.pose.isfinite().all()
        assert gradient.isfinite().all()
    assert routing.trace(votes).logits[1:].amin() < -104


def test_axes_of_length_one_stay() -> None:
    """The original's `squeeze` drops them; and with D = 1 and C parents it takes D for 2."""
    for shape in ((1, 5, 3, 4), (2, 5, 1, 4), (2, 5, 3, 1), (1, 1, 1, 1)):
        for covariance in ("diagonal", "full"):
            routing = create_routing("variational", covariance=covariance)
            found = routed(routing, torch.randn(shape))
            assert found.pose.shape == (shape[0], *shape[2:])
            assert found.activation.shape == (shape[0], shape[2])


def test_covariances_that_are_full_and_diagonal_are_the_same_for_one_component() -> None:
    votes, activation = torch.randn(3, 7, 4, 1, dtype=DOUBLE), torch.rand(3, 7, dtype=DOUBLE)
    found = [
        routed(create_routing("variational", covariance=kind), votes, activation)
        for kind in ("diagonal", "full")
    ]
    torch.testing.assert_close(*[capsules.pose for capsules in found])
    torch.testing.assert_close(*[capsules.activation for capsules in found])


def test_batch_norms_learn_in_training_alone() -> None:
    votes = torch.randn(8, 6, 3, 4)
    routing: Any = create_routing("variational").build(6, 4, 3, 4)
    routing(votes)
    seen = routing.norm_pose.running_mean.clone()
    assert seen.abs().max() > 0
    routing.backend = "tiles"
    routing(votes)  # once more: tiles, too, look at the batch once
    assert routing.norm_pose.num_batches_tracked == 2
    routing.eval()
    seen = routing.norm_pose.running_mean.clone()
    routing(votes)
    assert torch.equal(routing.norm_pose.running_mean, seen)


def test_running_statistics_begin_with_the_first_batch() -> None:
    """Those of torch begin with a variance of 1, which small poses reach after 100 batches."""
    votes = 1e-3 * torch.randn(256, 6, 3, 4)
    routing: Any = create_routing("variational").build(6, 4, 3, 4)
    batches = [votes, votes.flip(0) + 1e-3, *(votes[:7] for _ in range(20))]
    norm = nn.BatchNorm1d(3, affine=False)
    for number, batch in enumerate(batches, start=1):
        norm.momentum = max(0.1, 1 / number)
        poses = create_routing("variational").build(6, 4, 3, 4).eval()(batch).pose
        norm(poses.detach() * math.sqrt(1 + norm.eps))
        in_training = routing(batch)
        assert routing.norm_pose.num_batches_tracked == number
        torch.testing.assert_close(routing.norm_pose.running_mean, norm.running_mean)
        torch.testing.assert_close(
            routing.norm_pose.running_var, norm.running_var, rtol=1e-4, atol=0
        )
        if number == 1:
            torch.testing.assert_close(
                in_training.pose, routing.eval()(votes).pose, rtol=0, atol=0.01
            )
            routing.train()


# --- self-routing, self-attention


def test_a_layer_without_active_children_is_zero() -> None:
    """Σ a c V / Σ a c is 0 / 0 there."""
    u = torch.randn(2, 6, 4, requires_grad=True)
    votes = LinearVotes(u, torch.randn(6, 3, 5, 4))
    pose, activation = routed(create_routing("self_routing"), votes, torch.zeros(2, 6))
    assert torch.equal(pose, torch.zeros(2, 3, 5))
    assert torch.equal(activation, torch.zeros(2, 3))
    (gradient,) = torch.autograd.grad(pose.sum() + activation.sum(), u)
    assert gradient.isfinite().all()


def test_class_activations_of_self_routing_are_a_distribution() -> None:
    votes = LinearVotes(torch.randn(2, 6, 4), torch.randn(6, 3, 5, 4))
    routing: Any = create_routing("self_routing").build(6, 4, 3, 5)
    torch.nn.init.normal_(routing.weight)
    total = routing(votes, torch.rand(2, 6)).activation.sum(dim=-1)
    torch.testing.assert_close(total, torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_the_soft_squash_has_the_derivative_one_at_zero(dtype: torch.dtype) -> None:
    """The original's s / |s| is guarded by 1e-20, and gives NaN there."""
    for size in (0.0, 1e-30, 1e-8):
        s = torch.full((3,), size, dtype=dtype, requires_grad=True)
        jacobian = torch.autograd.functional.jacobian(soft_squash, s)
        torch.testing.assert_close(jacobian, torch.eye(3, dtype=dtype), rtol=1e-6, atol=1e-6)


def test_zero_votes_of_self_attention_have_a_gradient() -> None:
    votes = torch.zeros(2, 6, 3, 4, requires_grad=True)
    pose = routed(create_routing("self_attention"), votes).pose
    (gradient,) = torch.autograd.grad(pose.sum(), votes)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / 3))


# --- Heinsen


@pytest.mark.parametrize("name", ["heinsen2019", "heinsen2022"])
def test_one_iteration_and_one_parent_are_taken(name: str) -> None:
    """The published code asks for two parents, and with one iteration does not give all results."""
    for iterations, parents in ((1, 3), (1, 1), (3, 1)):
        votes = LinearVotes(torch.randn(2, 6, 4), torch.randn(6, parents, 5, 4))
        pose, activation = routed(create_routing(name, iterations=iterations), votes)
        assert pose.shape == (2, parents, 5)
        assert activation.isfinite().all()


def test_heinsen2022_never_holds_votes() -> None:
    """I · J numbers, and never I · J · D."""
    u = torch.randn(2, 300, 8, requires_grad=True)
    routing = create_routing("heinsen2022", backend="reference").build(300, 8, 50, 64)
    largest = []

    def pack(tensor: Tensor) -> Tensor:
        largest.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        routing(LinearVotes(u, torch.zeros(1, 50, 64, 8)))
    assert max(largest) <= 4 * 2 * 300 * 50


# --- KDE


def test_a_sample_is_routed_by_kde_whoever_its_neighbours_are() -> None:
    """The adaptive version stops by a measure of the whole batch."""
    votes = torch.randn(5, 6, 3, 4, dtype=DOUBLE)
    routing = create_routing("kde", iterations=5)
    together = routing(votes).pose
    for n in range(5):
        torch.testing.assert_close(routing(votes[n : n + 1]).pose[0], together[n])


# --- options of dynamic routing


def test_max_min_takes_equal_logits() -> None:
    """As at first: (b − min) / (max − min) is 0 / 0 there."""
    routing = create_routing("dynamic", coupling="max_min")
    trace = routing.trace(torch.randn(2, 5, 3, 4))
    assert torch.equal(trace.coupling[0], torch.ones(2, 5, 3))
    assert torch.equal(trace.coupling[1].amin(-1), torch.zeros(2, 5))
    assert torch.equal(trace.coupling[1].amax(-1), torch.ones(2, 5))
    votes = torch.zeros(2, 5, 3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(routing(votes).pose.sum(), votes)
    assert gradient.isfinite().all()


def test_options_that_a_kernel_does_not_know_keep_it_away() -> None:
    votes = LinearVotes(torch.randn(2, 70, 3), torch.randn(70, 4, 5, 3))
    plain = create_routing("dynamic")(votes).pose
    for options in (
        {"coupling": "max_min"},
        {"coupling": "softmax_times_parents"},
        {"scale": 2.0},
        {"accumulate": False},
        {"squash": "soft"},
        {"squash": "direction"},
        {"learned_bias": True},
    ):
        routing = create_routing("dynamic", **options).build(70, 3, 4, 5)
        assert not torch.allclose(routing(votes).pose, plain, atol=1e-3), options
        routing.backend = "cpu"
        with pytest.raises(ValueError, match=f"computes {next(iter(options))}=.* alone"):
            routing(votes)


def test_leaky_and_max_min_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="leaky adds a term to a softmax, and max_min has none"):
        create_routing("dynamic", leaky=True, coupling="max_min")


# --- interests


@files("rechub-bilinear")
def test_interests_compete_and_padding_takes_no_part(path: Path) -> None:
    """torch-rechub takes a softmax over the items: its padding takes a share, and what an item
    gives to one interest it can give to all."""
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    items, mask = tensors["in_items"].detach(), tensors["in_mask"].detach() > 0
    logits = tensors["in_logits_init"].detach()
    (_, length, dim), count = items.shape, logits.shape[1]
    if file.settings["bilinear_type"] == 0:
        layer, weight = InterestCaps(dim, count), tensors["param_linear.weight"]
        given = logits.mT
    else:
        layer, given = InterestCaps(dim, count, maps="position", length=length), None
        weight = tensors["param_w"][0].unflatten(1, (count, -1))
    layer = layer.double()
    layer.load_state_dict({"weight": weight.detach()})
    assert largest(layer(items, mask, given), file.arrays["out64_interests"]) > 0.05
    padded = items.masked_fill(~mask.unsqueeze(-1), 9.0)
    torch.testing.assert_close(layer(padded, mask, given), layer(items, mask, given))
    changed = interest_cases.rechub(file.settings, {**tensors, "in_items": padded}, "auto")
    assert largest(changed["interests"], file.arrays["out64_interests"]) > 0.01


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_the_map_of_interests_learns_whatever_the_iterations(iterations: int) -> None:
    """torch-rechub's does not, below 3."""
    layer = InterestCaps(4, 3, routing={"name": "interests", "iterations": iterations})
    layer(torch.randn(2, 6, 4)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "options",
    [
        {"coupling": "max_min"},
        {"coupling": "softmax_times_parents"},
        {"squash": "direction"},
        {"squash": "soft"},
        {"squash": "half"},
    ],
)
def test_weights_start_so_that_capsules_are_neither_zero_nor_saturated(
    options: dict[str, Any],
) -> None:
    layer = DenseCaps(400, 8, 10, 16, {"name": "dynamic", **options})
    pose = torch.randn(20, 400, 8)
    activation = layer(0.5 * pose / pose.norm(dim=-1, keepdim=True)).activation
    assert layer.weight.std() > 1e-3
    if options.get("squash") != "direction":
        assert 0.2 < activation.mean() < 0.8
