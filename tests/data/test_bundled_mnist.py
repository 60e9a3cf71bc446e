"""The embedded digits are the ones that were embedded, and its parts share nothing."""

import hashlib

import torch

from torchcaps.data import load_data
from torchcaps.data.idx import read_idx


def test_the_pixels_and_labels_are_the_recorded_ones():
    train, test = load_data("mnist5k")
    images = torch.cat([train.images, test.images])
    labels = torch.cat([train.labels, test.labels]).to(torch.uint8)
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == (
        "305ecfed1ecd5f38cd875d1db981fcbdde236e3c7a945983a6db0a4b3d56f68a"
    )
    assert hashlib.sha256(labels.numpy().tobytes()).hexdigest() == (
        "32fc0dbc79f59bfcd75848724fab048960b94249d4bae8a185d24796f24a157c"
    )


def test_each_class_gives_400_and_100():
    train, test = load_data("mnist5k")
    assert train.labels.bincount().tolist() == [400] * 10
    assert test.labels.bincount().tolist() == [100] * 10
    assert train.images.shape == (4000, 1, 28, 28)


def test_no_image_occurs_twice():
    train, test = load_data("mnist5k")
    images = torch.cat([train.images, test.images]).numpy()
    assert len({image.tobytes() for image in images}) == 5000


def test_every_image_is_a_training_image_of_mnist_with_its_label(published):
    images = read_idx(published / "mnist/train-images-idx3-ubyte.gz", axes=3)
    labels = read_idx(published / "mnist/train-labels-idx1-ubyte.gz", axes=1)
    known = {image.tobytes(): int(label) for image, label in zip(images, labels)}
    for part in load_data("mnist5k"):
        for image, label in zip(part.images.numpy(), part.labels.tolist()):
            assert known[image.tobytes()] == label


def test_the_resource_is_small():
    from importlib.resources import files

    folder = files("torchcaps.data") / "mnist5k"
    assert sum(len(entry.read_bytes()) for entry in folder.iterdir()) < 1_000_000
