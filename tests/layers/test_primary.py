"""PrimaryCaps: which numbers make up a capsule."""

import pytest
import torch

from torchcaps import PrimaryCaps, squash
from torchcaps.layers import PrimaryCapsMap, WholeMapCaps


def test_a_capsule_is_the_channels_of_its_type_at_one_position() -> None:
    layer = PrimaryCaps(3, types=4, dim=5, kernel_size=3, stride=2)
    features = torch.randn(2, 3, 10, 8)
    maps = layer.conv(features)
    pose, activation = layer(features)
    height, width = layer.grid(10, 8)
    assert (height, width) == tuple(maps.shape[2:]) == (4, 3)
    assert pose.shape == (2, 4 * 4 * 3, 5)
    for kind in range(4):
        for y in range(height):
            for x in range(width):
                expected = squash(maps[:, kind * 5 : (kind + 1) * 5, y, x])
                torch.testing.assert_close(pose[:, (kind * height + y) * width + x], expected)
    torch.testing.assert_close(activation, pose.norm(dim=-1))


def test_channels_last_gives_the_same_capsules() -> None:
    layer = PrimaryCaps(8, types=2, dim=3, kernel_size=3)
    features = torch.randn(2, 8, 9, 9)
    expected = layer(features).pose
    found = layer(features.contiguous(memory_format=torch.channels_last)).pose
    torch.testing.assert_close(found, expected)


def test_under_autocast_poses_stay_in_the_dtype_of_the_weights() -> None:
    layer = PrimaryCaps(8, types=2, dim=3, kernel_size=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(1, 8, 9, 9)).pose.dtype == torch.float32


def test_gradients() -> None:
    layer = PrimaryCaps(2, types=2, dim=2, kernel_size=2).double()
    features = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x).pose, features)


def test_refuses() -> None:
    layer = PrimaryCaps(3, types=4, dim=5)
    with pytest.raises(ValueError, match=r"features must be \[B, 3, H, W\]"):
        layer(torch.randn(2, 4, 20, 20))
    with pytest.raises(ValueError, match="smaller than the kernel, 9×9"):
        layer(torch.randn(2, 3, 20, 8))
    with pytest.raises(ValueError, match="types must be at least 1, got 0"):
        PrimaryCaps(3, types=0)


def test_features_of_another_type_than_the_weights_are_refused_and_autocast_is_not() -> None:
    layer = PrimaryCaps(2, types=2, dim=4, kernel_size=2)
    for wrong in (torch.float64, torch.float16):
        said = f"features is {wrong} and the weights torch.float32: convert one of them"
        with pytest.raises(TypeError, match=said):
            layer(torch.rand(1, 2, 4, 4).to(wrong))
    with pytest.raises(TypeError, match=r"features must be a floating-point tensor"):
        layer(torch.ones(1, 2, 4, 4, dtype=torch.uint8))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.rand(1, 2, 4, 4).bfloat16()).pose.dtype == torch.float32


def test_a_size_may_be_one_number_and_a_map_must_hold_the_kernel() -> None:
    assert WholeMapCaps(2, 4, 5)(torch.randn(1, 8, 5, 5)).pose.shape == (1, 2, 4)
    with pytest.raises(ValueError, match="size must be at least 1"):
        WholeMapCaps(2, 4, (0, 5))
    with pytest.raises(ValueError, match="features of 3×3 are smaller than the kernel, 5×5"):
        PrimaryCapsMap(3, 2, 4, 5)(torch.randn(1, 3, 3, 3))
    assert PrimaryCapsMap(3, 2, 4, 5, padding=1)(torch.randn(1, 3, 3, 3)).pose.shape[2:4] == (1, 1)
