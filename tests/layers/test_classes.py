"""ClassCaps: shared weights, and coordinates in the votes."""

import math

import pytest
import torch

from torchcaps import Capsules, ClassCaps, DenseCaps

DOUBLE = torch.float64
ROUTINGS = ["attention", "dynamic", "em"]


@pytest.mark.parametrize("matrix_poses", [True, False])
@pytest.mark.parametrize("routing", ROUTINGS)
def test_it_is_dense_with_the_same_weights_everywhere_and_coordinates(
    routing: str, matrix_poses: bool
) -> None:
    layer = ClassCaps(3, 4, 5, 4, (2, 3), routing, matrix_poses=matrix_poses).double()
    dense = DenseCaps(18, 4, 5, 4, routing, matrix_poses=matrix_poses).double()
    dense.routing.load_state_dict(layer.routing.state_dict())
    pose, activation = torch.randn(2, 3, 2, 3, 4, dtype=DOUBLE), torch.rand(2, 3, 2, 3).double()
    mask = torch.rand(2, 3, 2, 3) < 0.7
    votes = layer.votes(pose).materialize()
    with torch.no_grad():
        dense.weight.copy_(layer.weight.repeat_interleave(6, dim=0))
    plain = dense.votes(pose.flatten(1, 3)).materialize().unflatten(1, (3, 2, 3))
    places = (1, 3) if matrix_poses else (0, 1)  # the right-hand column of 2×2
    for y in range(2):
        for x in range(3):
            plain[:, :, y, x, :, places[0]] += (y + 0.5) / 2
            plain[:, :, y, x, :, places[1]] += (x + 0.5) / 3
    torch.testing.assert_close(votes, plain.flatten(1, 3))
    found = layer(Capsules(pose, activation), mask)
    expected = layer.routing(plain.flatten(1, 3), activation.flatten(1), mask.flatten(1))
    torch.testing.assert_close(found.pose, expected.pose)


def test_without_coordinates_positions_may_be_exchanged() -> None:
    pose = torch.randn(2, 3, 4, 4, 16, dtype=DOUBLE)
    for coordinates in (True, False):
        layer = ClassCaps(3, 16, 5, 16, 4, coordinates=coordinates).double()
        here, there = layer(pose).pose, layer(pose.transpose(2, 3)).pose
        assert torch.allclose(here, there) != coordinates


def test_a_shift_of_what_is_seen_shifts_the_coordinates_in_the_pose() -> None:
    """With r = 1 the pose is the mean of the votes: one step is 1/size there, and nothing else."""
    layer = ClassCaps(1, 16, 2, 16, 4, {"name": "em", "iterations": 1}).double()
    pose = torch.randn(1, 1, 4, 4, 16, dtype=DOUBLE)
    shown = torch.zeros(1, 1, 4, 4, dtype=DOUBLE)
    shown[..., :2, :2] = 1
    before = layer(Capsules(pose, shown)).pose
    after = layer(Capsules(pose.roll((1, 2), (2, 3)), shown.roll((1, 2), (2, 3)))).pose
    expected = torch.zeros(16, dtype=DOUBLE)
    expected[3], expected[7] = 1 / 4, 2 / 4
    torch.testing.assert_close(after - before, expected.expand(1, 2, 16), rtol=0, atol=1e-6)


def test_weights_are_of_types_alone_and_coordinates_are_no_parameters() -> None:
    layer = ClassCaps(3, 16, 5, 16, (4, 7))
    assert layer.weight.numel() == 3 * 5 * 16
    assert list(layer.state_dict()) == ["weight", "routing.beta_a", "routing.beta_u"]
    assert not math.isclose(float(layer.coordinates.sum()), 0)


def test_drawn_anew_without_weights_to_load_it_has_its_coordinates() -> None:
    with torch.device("meta"):
        empty = ClassCaps(3, 16, 5, 16, (4, 7))
    empty.to_empty(device="cpu").coordinates.fill_(7)
    empty.reset_parameters()
    assert torch.equal(empty.coordinates, ClassCaps(3, 16, 5, 16, (4, 7)).coordinates)


def test_coordinates_are_exact_whatever_they_were_rounded_to_before() -> None:
    layer = ClassCaps(3, 16, 5, 16, (4, 7))
    exact = layer.double().coordinates.clone()
    assert exact[0, 0, 3].item() == 0.5 / 4
    assert exact.flatten().tolist().count(1.5 / 7) == 4
    assert torch.equal(layer.half().double().coordinates, exact)
    assert torch.equal(layer.bfloat16().float().coordinates, exact.float())


def test_refuses() -> None:
    layer = ClassCaps(3, 4, 5, 4, (2, 3))
    with pytest.raises(ValueError, match="expected a map of 2×3 capsules, got 3×3"):
        layer(torch.randn(2, 3, 3, 3, 4))
    with pytest.raises(ValueError, match=r"expected poses \[\.\.\., 3, H, W, 4\]"):
        layer(torch.randn(2, 18, 4))
    with pytest.raises(ValueError, match="poses of 1 components have no place for two coordinates"):
        ClassCaps(3, 1, 5, 1, 2)
    with pytest.raises(TypeError, match="mask must be a bool tensor"):
        layer(torch.randn(2, 3, 2, 3, 4), 0.4 * torch.ones(2, 3, 2, 3))
    with pytest.raises(ValueError, match=r"mask must be \[\.\.\., T, H, W\]"):
        layer(torch.randn(2, 3, 2, 3, 4), torch.ones(2, 18, dtype=torch.bool))
    assert "3×4 → 5×4, size=(2, 3), coordinates=True, matrix_poses=True" in repr(layer)
