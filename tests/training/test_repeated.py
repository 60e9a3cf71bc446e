"""Images that stand in both parts."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.small_runs import tiny_config, tiny_data
from torchcaps.data import ImageData, TrainTest, load_data, repeated
from torchcaps.data.repeated import repeated_images
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.loop import train
from torchcaps.training.multi_label import MultiLabelClassification


def test_images_that_differ_in_one_number_are_others():
    images = torch.randint(0, 256, (20, 3, 5, 6), dtype=torch.uint8)
    labels = torch.arange(20) % 2
    whole = ImageData(images, labels, ("a", "b"), "noise")
    some = images[5:9].clone()
    some[3, 2, 4, 5] ^= 1
    test = ImageData(some, labels[:4], ("a", "b"), "noise")
    assert repeated_images(TrainTest(whole, test)).held_out == 3
    assert repeated_images(TrainTest(test, whole)).held_out == 3
    floats = [ImageData(part.images / 255, part.labels, ("a", "b"), "x") for part in (whole, test)]
    assert repeated_images(TrainTest(*floats)).held_out == 3


@pytest.mark.parametrize("in_memory", [True, False])
def test_files(tmp_path, in_memory, monkeypatch):
    for part, greys in (("train", range(8)), ("test", (3, 4, 200))):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for grey in greys:
                value = grey + 20 * (name == "dog")
                Image.new("L", (9, 9), value).save(tmp_path / part / name / f"{part}{grey}.bmp")
    data = load_data(str(tmp_path), in_memory=in_memory)
    assert repeated_images(data).held_out == 4
    monkeypatch.setattr(repeated, "MOST_BYTES", 100)
    assert repeated_images(data).held_out == (4 if in_memory else 0)


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


# --- in two classes
def contradictory_folder(root: Path) -> Path:
    """Four pictures stand in two classes, one of them three times; another twice in one class."""
    for part, greys in (("train", range(10)), ("test", (100, 101, 102))):
        for name in ("disc", "line"):
            (root / part / name).mkdir(parents=True)
            for grey in greys:
                same = part == "train" and 2 <= grey <= 5
                value = grey if same else grey + 20 * (name == "line")
                Image.new("L", (17, 17), value).save(root / part / name / f"{grey}.bmp")
    for copy, grey in (("line/more.bmp", 3), ("disc/again.bmp", 8)):
        Image.new("L", (17, 17), grey).save(root / "train" / copy)
    return root


@pytest.mark.parametrize("in_memory", [True, False])
def test_pictures_in_two_classes(tmp_path, in_memory, monkeypatch):
    data = load_data(str(contradictory_folder(tmp_path)), in_memory=in_memory)
    pairs = repeated_images(data).in_two_classes
    labels = data.train.labels
    assert len(pairs) == 4
    assert all(labels[one] != labels[other] for one, other in pairs)
    said = ImageClassification(data, "x").remarks[-1]
    assert said == (
        "4 training images are in two classes, the first train/disc/2.bmp and train/line/2.bmp: a "
        "network cannot learn both"
    )
    with monkeypatch.context() as few:
        few.setattr(repeated, "MOST_BYTES", 100)
        assert len(repeated_images(data).in_two_classes) == (4 if in_memory else 0)
    for name in ("2", "3", "4"):
        (tmp_path / "train" / "disc" / f"{name}.bmp").unlink()
    one = ImageClassification(load_data(str(tmp_path), in_memory=in_memory), "x").remarks[-1]
    assert one.startswith("1 training image is in two classes, train/disc/5.bmp and train/line/5.")


def test_files_that_are_alike_within_a_part_do_not_hide_those_in_both(tmp_path, monkeypatch):
    """Where only those of sizes in both parts are few enough to read, they are read."""
    for part in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            small = Image.new("L", (9, 9), number)
            small.save(tmp_path / part / name / "a.bmp")
            if part == "train":
                small.resize((99, 99)).save(tmp_path / part / name / "b.bmp")
                Image.new("L", (9, 9), 7).save(tmp_path / part / name / "c.bmp")  # in both classes
    data = load_data(str(tmp_path), image_size=9, in_memory=False)
    assert repeated_images(data).held_out == 2
    assert len(repeated_images(data).in_two_classes) == 1
    monkeypatch.setattr(repeated, "MOST_BYTES", 10_000)
    assert repeated_images(data) == (2, [])  # of these one would find some, by their sizes


def test_arrays_in_two_classes_are_named_by_their_numbers():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).repeat(2, 1, 17, 17)
    labels = torch.arange(12) % 2
    labels[8], labels[11] = 1, 0
    data = ImageData(images, labels, ("a", "b"), "made up")
    test = ImageData(images[:2] + 100, labels[:2], ("a", "b"), "made up")
    assert ImageClassification(TrainTest(data, test), "x").remarks == [
        "2 training images are in two classes, the first numbers 2 and 8 (counted from 0): a "
        "network cannot learn both"
    ]
    several = ImageData(images, torch.eye(2, dtype=torch.int64)[labels], ("a", "b"), "made up")
    parts = TrainTest(several, several.subset([0]))
    assert (
        MultiLabelClassification(parts, "x")
        .remarks[-1]
        .startswith("2 training images are there with different labels, the first numbers 2 and 8 ")
    )
