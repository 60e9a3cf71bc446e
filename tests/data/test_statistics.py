"""Means and standard deviations of channels."""

import pytest
import torch

from torchcaps.data import ImageData, channel_statistics
from torchcaps.data import statistics as module


def data_of(images: torch.Tensor) -> ImageData:
    return ImageData(images, torch.zeros(len(images), dtype=torch.int64), ("a",), "toy")


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_as_torch_computes_them(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several chunks, the last of them smaller."""
    monkeypatch.setattr(module, "AT_ONCE", 3 * channels * 4 * 6)
    images = torch.randint(0, 256, (8, channels, 4, 6), dtype=torch.uint8)
    mean, std = channel_statistics(data_of(images))
    pixels = images.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(torch.tensor(mean).double(), pixels.mean(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        torch.tensor(std).double(), pixels.std(1, correction=0), rtol=0, atol=1e-6
    )
    assert all(isinstance(x, float) for x in (*mean, *std))


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_a_constant_channel_is_only_centred(value: float) -> None:
    images = torch.rand(5, 2, 3, 3)
    images[:, 0] = value
    mean, std = channel_statistics(data_of(images))
    assert std[0] == 1
    assert mean[0] == pytest.approx(value)
    assert std[1] < 1


def test_of_many_images_a_fixed_sample_is_taken() -> None:
    data = data_of(torch.rand(50, 1, 2, 2))
    assert channel_statistics(data, most=10) == channel_statistics(data, most=10)
    assert channel_statistics(data, most=10) != channel_statistics(data)
