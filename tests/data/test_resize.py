"""Size and channels: tensors and image files must come out alike."""

import numpy as np
import pytest
import torch
from PIL import Image

from torchcaps.data import ImageData, memory_check, read_image
from torchcaps.data.resize import CHUNK, resize
from torchcaps.errors import InputError

RNG = np.random.default_rng(0)


def data_of(images: torch.Tensor) -> ImageData:
    return ImageData(images, torch.zeros(len(images), dtype=torch.int64), ("a",), "toy")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(14, 20), (40, 30), (9, 1), (1, 1), (1, 9)])
def test_a_resized_tensor_is_the_resized_file(tmp_path, size, channels):
    pixels = RNG.integers(0, 256, (28, 33, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    file = read_image(tmp_path / "a.png", size, channels)
    tensor = resize(data_of(torch.from_numpy(pixels).permute(2, 0, 1)[None]), size, channels)
    assert (file.int() - tensor.images[0].int()).abs().max() <= 1


def test_grey_by_pillows_weights():
    pixels = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    grey = resize(data_of(torch.from_numpy(pixels).permute(2, 0, 1)[None]), None, 1)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(grey.images[0, 0].numpy(), expected)


def test_floats_stay_between_0_and_1():
    stripes = torch.zeros(1, 1, 16, 16)
    stripes[..., ::3] = 1  # bicubic interpolation overshoots at these edges
    resized = resize(data_of(stripes), (37, 41), 3).images
    assert resized.shape == (1, 3, 37, 41)
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_grey_becomes_three_equal_channels():
    grey = torch.randint(0, 256, (2, 1, 5, 5), dtype=torch.uint8)
    assert torch.equal(resize(data_of(grey), None, 3).images, grey.repeat(1, 3, 1, 1))


def test_what_fits_already_is_not_copied():
    data = data_of(torch.zeros(2, 1, 5, 5))
    assert resize(data, (5, 5), 1) is data


def test_chunks_make_no_difference():
    images = torch.randint(0, 256, (CHUNK + 3, 1, 6, 6), dtype=torch.uint8)
    whole = resize(data_of(images), (4, 4), None).images
    assert torch.equal(whole[-5:], resize(data_of(images[-5:]), (4, 4), None).images)


@pytest.mark.parametrize(("size", "channels"), [((64, 64), None), (None, 3)])
def test_images_that_would_not_fit_into_memory(monkeypatch, size, channels):
    monkeypatch.setattr(memory_check, "physical_memory", lambda: 100_000)
    data = data_of(torch.zeros(10, 1, 50, 50, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"^toy: 10 images of .*would take .* --image-size"):
        resize(data, size, channels)
    assert resize(data, (40, 40), None).image_size == (40, 40)


@pytest.mark.parametrize("before", [(1, 1), (1, 5), (7, 6)])
@pytest.mark.parametrize("after", [(1, 1), (1, 4), (3, 1)])
def test_to_and_from_a_single_pixel_in_colour(before, after):
    images = torch.randint(0, 256, (2, 1, *before), dtype=torch.uint8)
    grey = ImageData(images, torch.arange(2), ("a", "b"), "toy")
    expected = resize(grey, after, None).images.expand(-1, 3, -1, -1)
    assert torch.equal(resize(resize(grey, None, 3), after, None).images, expected)
