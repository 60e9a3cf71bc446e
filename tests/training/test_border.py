"""The ground on which images are drawn, as `predict` knows it of a network."""

import pytest
import torch
from PIL import Image

from tests.small_runs import tiny_config, tiny_data
from torchcaps import load_model
from torchcaps.data import ImageData, TrainTest
from torchcaps.data.border import CHUNK, border_brightness, ground_brightness, some_images
from torchcaps.inference.reading import read_for
from torchcaps.training.loop import train


def on_grounds(*grounds: int, side: int = 6) -> ImageData:
    """Images whose border has these brightnesses, the classes in the order of a folder."""
    images = torch.full((len(grounds), 1, side, side), 128, dtype=torch.uint8)
    for image, ground in zip(images, grounds):
        image[:, [0, -1]] = ground
        image[..., [0, -1]] = ground
    labels = (torch.arange(len(grounds)) * 2 // len(grounds)).long()
    return ImageData(images, labels, ("a", "b"), "drawn")


@pytest.mark.parametrize(
    ("grounds", "brightness"),
    [
        ([0] * 1200, 0.0),
        ([255] * 1200, 1.0),
        ([0] * 1000 + [255] * 240, None),  # the light ones are of the last class
        ([255] * 1000 + [0] * 240, None),
        ([0] * 995 + [255] * 5, 0.005),  # a few scans that went wrong
        ([0, 255] * 50, 0.5),  # nothing is swapped by that
    ],
)
def test_both_grounds_are_no_ground(grounds, brightness):
    found = ground_brightness(on_grounds(*grounds))
    assert found == (brightness if brightness is None else pytest.approx(brightness, abs=0.001))


def test_images_at_even_distances_a_few_at_a_time():
    batches = list(some_images(on_grounds(*[0] * 2000, *[255] * 1000)))
    assert max(map(len, batches)) == CHUNK
    images = torch.cat(batches)
    assert len(images) == 1000
    assert (border_brightness(images) == 1).sum() == 333


@pytest.mark.usefixtures("no_pictures")
def test_the_ground_is_that_of_the_training_images(tmp_path):
    data = tiny_data()
    train_images, test_images = (part.images // 2 for part in data)
    light = ImageData(255 - test_images, data.test.labels, data.test.class_names, "other paper")
    dark = ImageData(train_images, data.train.labels, data.train.class_names, "tiny")
    Image.new("L", (17, 17), 255).save(tmp_path / "light.png")
    config = tiny_config(tmp_path / "run", epochs=1)
    model = load_model(train(config, TrainTest(dark, light)).folder / "model")
    assert read_for(model, tmp_path / "light.png", "auto").inverted
