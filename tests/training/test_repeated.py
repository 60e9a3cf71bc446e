"""Images that stand in both parts."""

import pytest
import torch
from PIL import Image

from tests.small_runs import tiny_config, tiny_data
from torchcaps.data import ImageData, TrainTest, load_data, repeated
from torchcaps.data.repeated import repeated_images
from torchcaps.training.loop import train


def test_images_that_differ_in_one_number_are_others():
    images = torch.randint(0, 256, (20, 3, 5, 6), dtype=torch.uint8)
    labels = torch.arange(20) % 2
    whole = ImageData(images, labels, ("a", "b"), "noise")
    some = images[5:9].clone()
    some[3, 2, 4, 5] ^= 1
    test = ImageData(some, labels[:4], ("a", "b"), "noise")
    assert repeated_images(TrainTest(whole, test)) == 3
    assert repeated_images(TrainTest(test, whole)) == 3
    floats = [ImageData(part.images / 255, part.labels, ("a", "b"), "x") for part in (whole, test)]
    assert repeated_images(TrainTest(*floats)) == 3


@pytest.mark.parametrize("in_memory", [True, False])
def test_files(tmp_path, in_memory, monkeypatch):
    for part, greys in (("train", range(8)), ("test", (3, 4, 200))):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for grey in greys:
                value = grey + 20 * (name == "dog")
                Image.new("L", (9, 9), value).save(tmp_path / part / name / f"{part}{grey}.bmp")
    data = load_data(str(tmp_path), in_memory=in_memory)
    assert repeated_images(data) == 4
    monkeypatch.setattr(repeated, "MOST_BYTES", 100)
    assert repeated_images(data) == (4 if in_memory else 0)


def test_a_run_says_so(tmp_path, no_pictures, capsys):
    data = tiny_data()
    train(tiny_config(tmp_path / "a"), data)
    assert "among the training images" not in capsys.readouterr().out
    test = data.train.subset(torch.arange(10))
    train(tiny_config(tmp_path / "b"), TrainTest(data.train, test))
    assert (
        "\n10 of 10 held-out images are training images, too: what is measured on them says "
        "nothing of new images\n" in capsys.readouterr().out
    )
