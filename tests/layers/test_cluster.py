"""ClusterCaps: several votes for each parent, the closer the heavier."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from tests.routing.oracles.cluster import route
from torchcaps import Capsules
from torchcaps.layers import ClusterCaps
from torchcaps.layers.cluster import weighed_by_closeness

DOUBLE = torch.float64


def make(**options: Any) -> ClusterCaps:
    layer = ClusterCaps(3, 4, 2, 5, **{"size": (4, 5), "votes": 3, **options}).double()
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return layer


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, (0, 1))])
def test_it_is_the_oracle_and_a_layer_norm_of_the_map(stride: int, padding: object) -> None:
    layer = make(stride=stride, padding=padding)
    pose = torch.randn(2, 3, 4, 5, 4, dtype=DOUBLE)
    votes = layer.convolved(pose).materialize().unflatten(-2, (3, 2)).detach().numpy()
    total = np.moveaxis(route(votes), -2, 1)  # [B, C, F, F, D]
    axes = (2, 3, 4)
    mean, variance = total.mean(axes, keepdims=True), total.var(axes, keepdims=True)
    scaled = (total - mean) / np.sqrt(variance + 1e-5)
    expected = scaled * layer.norm.weight.detach().numpy() + layer.norm.bias.detach().numpy()
    found = layer(Capsules(pose, pose[..., 0]))
    np.testing.assert_allclose(found.pose.detach().numpy(), expected, atol=1e-12)
    assert found.activation.shape == found.pose.shape[:-1]
    assert bool(((found.activation > 0) & (found.activation < 1)).all())


def test_equal_votes_are_finite_and_count_for_all() -> None:
    votes = torch.randn(2, 3, 4, 2, 5, dtype=DOUBLE)  # [B, T, N, C, D]
    votes[:, 0] = votes[:, 0, :1]
    votes.requires_grad_()
    found = weighed_by_closeness(votes)
    torch.testing.assert_close(found, votes[:, 0, 0], rtol=0, atol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), votes)
    assert bool(gradient.isfinite().all())


def test_huge_votes_are_finite_and_weighed_alike() -> None:
    votes = torch.randn(2, 3, 4, 2, 5)
    found = weighed_by_closeness((1e30 * votes).requires_grad_())
    torch.testing.assert_close(found, 1e30 * weighed_by_closeness(votes), rtol=1e-4, atol=1e26)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [0, 1e-3, 1, 6e3])
def test_half_precision_is_rounded_float32(dtype: torch.dtype, size: float) -> None:
    torch.manual_seed(0)
    layer = ClusterCaps(2, 4, 3, 4, size=5).to(dtype)
    pose = (size * torch.randn(1, 2, 5, 5, 4)).to(dtype)
    found = layer(pose)
    expected = copy.deepcopy(layer).float()(pose.float())
    assert found.pose.dtype == dtype
    epsilon = torch.finfo(dtype).eps
    torch.testing.assert_close(found.pose.float(), expected.pose, atol=40 * epsilon, rtol=epsilon)


def test_a_pose_of_huge_votes_is_that_of_ordinary_ones() -> None:
    layer, pose = ClusterCaps(2, 4, 3, 4, size=5), torch.randn(1, 2, 5, 5, 4)
    found, expected = layer(1e25 * pose).pose, layer(1e3 * pose).pose
    # The 1e-5 that a LayerNorm adds to variances is seen in the one and not in the other.
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_gradients_are_those_of_finite_differences_and_samples_are_independent() -> None:
    votes = torch.randn(2, 3, 4, 2, 2, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(weighed_by_closeness, votes)
    layer, pose = make(), torch.randn(3, 3, 4, 5, 4, dtype=DOUBLE)
    together = layer(pose)
    for n in range(3):
        torch.testing.assert_close(layer(pose[n]).pose, together.pose[n])


def test_a_parent_gets_what_it_gets_whatever_the_others() -> None:
    layer, pose = make(), torch.randn(2, 3, 4, 5, 4, dtype=DOUBLE)
    before = layer(pose).pose
    with torch.no_grad():
        layer.weight.unflatten(1, (3, 2))[:, :, 1] *= 2
    torch.testing.assert_close(layer(pose).pose[:, 0], before[:, 0])


def test_of_no_samples_comes_nothing_and_no_warning() -> None:
    assert ClusterCaps(2, 4, 3, 4, size=5)(torch.zeros(0, 2, 5, 5, 4)).pose.shape[0] == 0


def test_refuses() -> None:
    with pytest.raises(ValueError, match="votes must be at least 2"):
        make(votes=1)
    with pytest.raises(ValueError, match="expected a map of 4×5 capsules, got 5×5"):
        make()(torch.randn(2, 3, 5, 5, 4, dtype=DOUBLE))
    assert "3×4 → 2×5, size=(4, 5), votes=3, kernel_size=(3, 3)" in repr(make())
