"""DenseCaps: Eq 2 with routing, and how its weights begin."""

import copy

import numpy as np
import pytest
import torch

from tests import oracle
from tests.routing.oracles import dynamic as dynamic_oracle
from torchcaps import Capsules, DenseCaps, DynamicRouting, list_routings


def test_it_is_equation_2_and_procedure_1() -> None:
    layer = DenseCaps(5, 4, 3, 6, DynamicRouting(2)).double()
    u = torch.randn(2, 5, 4, dtype=torch.float64)
    u_hat = oracle.votes(u.numpy(), layer.weight.detach().numpy())
    expected = dynamic_oracle.procedure_1(u_hat, 2)["v"][-1]
    np.testing.assert_allclose(layer(u).pose.detach().numpy(), expected, atol=1e-14)


def test_it_takes_capsules_or_their_poses_and_a_mask() -> None:
    layer = DenseCaps(5, 4, 3, 6)
    pose = torch.randn(2, 5, 4)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    short = DenseCaps(3, 4, 3, 6)
    short.weight.data = layer.weight.data[:3]
    torch.testing.assert_close(
        layer(Capsules(pose, pose.norm(dim=-1)), mask).pose, short(pose[:, :3]).pose
    )


def test_without_a_bias_its_output_only_changes_sign_with_its_input() -> None:
    pose = torch.randn(2, 5, 4)
    plain, biased = DenseCaps(5, 4, 3, 6), DenseCaps(5, 4, 3, 6, bias=True)
    biased.bias.data.fill_(0.5)
    torch.testing.assert_close(plain(-pose).pose, -plain(pose).pose)
    assert not torch.allclose(biased(-pose).pose, -biased(pose).pose)
    assert biased.bias.numel() == 3 * 6


def test_weights_begin_small_and_truncated() -> None:
    weight = DenseCaps(50, 8, 10, 16, init="paper").weight
    assert weight.abs().max() <= 0.2
    assert 0.08 < weight.std() < 0.1  # 0.1 before truncation at two of it


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("in_caps", [64, 300, 2000])
@pytest.mark.parametrize("out_caps", [2, 10, 50])
@pytest.mark.parametrize("wanted", [0.1, 0.5])
def test_output_capsules_begin_with_the_length_asked_for(in_caps, out_caps, wanted, iterations):
    torch.manual_seed(0)
    routing = {"name": "dynamic", "iterations": iterations}
    layer = DenseCaps(in_caps, 8, out_caps, 16, routing, initial_length=wanted)
    pose = torch.nn.functional.normalize(torch.randn(8, in_caps, 8), dim=-1) / 2
    with torch.no_grad():
        length = layer(pose).activation.mean()
    assert 0.6 * wanted < length < 1.4 * wanted


def test_a_deep_stack_begins_alive():
    torch.manual_seed(0)
    layers = [DenseCaps(32, 8, 16, 16), *(DenseCaps(16, 16, 16, 16) for _ in range(5))]
    pose = torch.nn.functional.normalize(torch.randn(8, 32, 8), dim=-1) / 2
    torch.nn.Sequential(*layers)(pose).activation.sum().backward()
    assert layers[0].weight.grad.norm() > 1e-2
    dead = [DenseCaps(32, 8, 16, 16, init="paper")]
    dead += [DenseCaps(16, 16, 16, 16, init="paper") for _ in range(5)]
    torch.nn.Sequential(*dead)(pose).activation.sum().backward()
    assert dead[0].weight.grad.norm() < 1e-12


def test_the_learning_rate_of_wide_layers_is_scaled():
    reference = DenseCaps(288, 8, 10, 16)
    assert reference.learning_rates == {"weight": 1.0}
    # Twice as many inputs for a class, or half as many classes: all move the sum twice as far.
    assert DenseCaps(576, 8, 10, 16).learning_rates == {"weight": pytest.approx(0.5)}
    assert DenseCaps(288, 8, 5, 16).learning_rates == {"weight": pytest.approx(0.5)}
    assert DenseCaps(20, 8, 10, 16).learning_rates == {"weight": 1.0}
    assert DenseCaps(9000, 8, 2, 16, "em").learning_rates == {"weight": 1.0}  # a mean, not a sum
    assert DenseCaps(9000, 8, 2, 16, init="paper").learning_rates == {}


def test_every_parameter_gets_its_gradient() -> None:
    layer = DenseCaps(3, 2, 2, 3, bias=True).double()
    pose = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)

    def run(pose: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (pose,)).pose

    bias = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (pose, layer.weight, bias))


def test_refuses() -> None:
    with pytest.raises(ValueError, match="out_caps must be at least 1, got 0"):
        DenseCaps(5, 4, 0, 6)
    with pytest.raises(TypeError, match="routing must be a name, a dict with a name, or a Routing"):
        DenseCaps(5, 4, 3, 6, routing=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"in_caps must be an int, got 5\.0"):
        DenseCaps(5.0, 4, 3, 6)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bias must be True or False, got 'no'"):
        DenseCaps(5, 4, 3, 6, bias="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pose must be a tensor, got list"):
        DenseCaps(5, 4, 3, 6)([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend must be one of"):
        DynamicRouting(3, backend="gpu")
    with pytest.raises(ValueError, match=r"expected poses \[..., 5, 4\]"):
        DenseCaps(5, 4, 3, 6)(torch.randn(2, 4, 5))


def test_it_says_what_it_is() -> None:
    assert "5×4 → 3×6, bias=False" in repr(DenseCaps(5, 4, 3, 6))


@pytest.mark.parametrize("routing", list_routings())
def test_poses_in_double_precision_are_routed_by_what_was_learned_in_single(routing):
    layer = DenseCaps(3, 4, 2, 4, routing).eval()
    pose = torch.rand(2, 3, 4, dtype=torch.float64)
    found, expected = layer(pose), copy.deepcopy(layer).double()(pose)
    assert found.pose.dtype == torch.float64
    torch.testing.assert_close(found.pose, expected.pose, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.activation, expected.activation, rtol=1e-12, atol=1e-12)


def test_running_statistics_are_not_mixed_with_double_precision():
    layer = DenseCaps(3, 4, 2, 4, "variational")
    with pytest.raises(TypeError, match=r"votes are torch.float64 and norm_\w+\.running_mean of"):
        layer(torch.rand(2, 3, 4, dtype=torch.float64))


def test_poses_squashed_over_a_map_are_not_for_dense_layers() -> None:
    layer = DenseCaps(3, 4, 2, 4, {"name": "deepcaps", "joint_norm": True})
    with pytest.raises(ValueError, match="joint_norm squashes the poses of a map together"):
        layer(torch.randn(2, 3, 4))
