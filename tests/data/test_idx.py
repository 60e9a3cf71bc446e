"""idx files as published, and MNIST's files wherever they lie."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from torchcaps.data import load_data
from torchcaps.data.idx import read_idx
from torchcaps.data.mnist import FAMILY, FASHION, MNIST

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_what_was_written_is_read(tmp_path, write_idx, name):
    array = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    assert np.array_equal(read_idx(write_idx(tmp_path / name, array), axes=3), array)


def test_a_gzip_of_several_members_is_one_file(tmp_path):
    content = bytes([0, 0, 8, 1, 0, 0, 0, 4, 1, 2, 3, 4])
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    assert read_idx(path, axes=1).tolist() == [1, 2, 3, 4]


def write_four(folder: Path, write_idx, spelling: str = "{}-{}-ubyte.gz") -> None:
    for part, n in (("train", 20), ("t10k", 10)):
        images = RNG.integers(0, 256, (n, 6, 7), dtype=np.uint8)
        write_idx(folder / spelling.format(part, "images-idx3"), images)
        write_idx(folder / spelling.format(part, "labels-idx1"), np.arange(n) % 10)


@pytest.mark.parametrize("spelling", ["{}-{}-ubyte.gz", "{}-{}-ubyte"])
@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
def test_files_are_found_in_each_place(tmp_path, write_idx, place, spelling):
    write_four(tmp_path / place, write_idx, spelling)
    train, test = load_data("mnist", tmp_path)
    assert train.images.shape == (20, 1, 6, 7)
    assert test.labels.tolist() == list(range(10))


def test_the_spelling_with_a_dot_is_found(tmp_path, write_idx):
    write_four(tmp_path, write_idx)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(load_data("mnist", tmp_path).train) == 20


def test_fashion_is_found_in_torchvisions_layout_beside_mnist(tmp_path, write_idx):
    write_four(tmp_path / "MNIST/raw", write_idx)
    write_four(tmp_path / "FashionMNIST/raw", write_idx)
    assert load_data("fashion-mnist", tmp_path).train.class_names[9] == "Ankle boot"


def test_the_folder_of_the_name_is_preferred_to_loose_files(tmp_path, write_idx):
    write_four(tmp_path, write_idx)
    write_four(tmp_path / "fashion-mnist", write_idx)
    loose = read_idx(tmp_path / "train-images-idx3-ubyte.gz", axes=3)
    train = load_data("fashion-mnist", tmp_path).train
    assert not np.array_equal(train.images[:, 0].numpy(), loose)


def test_size_and_channels_are_applied(tmp_path, write_idx):
    write_four(tmp_path, write_idx)
    train, test = load_data("mnist", tmp_path, image_size=(12, 10), channels=3)
    assert train.images.shape == (20, 3, 12, 10)
    assert test.images.shape == (10, 3, 12, 10)
    assert train.images.dtype == torch.uint8


def test_ten_classes_and_four_files_each():
    for dataset in FAMILY.values():
        assert len(dataset.class_names) == 10
        assert len(dataset.sha256) == 4
        assert all(len(digest) == 64 for digest in dataset.sha256.values())
        assert all(mirror.endswith("/") for mirror in dataset.mirrors)
    assert MNIST.sha256 != FASHION.sha256


@pytest.mark.parametrize(("name", "mean"), [("mnist", 33.3184), ("fashion-mnist", 72.9404)])
def test_the_published_files(published, name, mean):
    train, test = load_data(name, published)
    assert train.images.shape == (60000, 1, 28, 28)
    assert test.images.shape == (10000, 1, 28, 28)
    assert train.images.double().mean().item() == pytest.approx(mean, abs=1e-4)  # as is well known
    if name == "fashion-mnist":
        assert train.labels.bincount().tolist() == [6000] * 10
