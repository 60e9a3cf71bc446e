"""Archives of arrays in every layout that is allowed."""

import numpy as np
import pytest
import torch

from torchcaps.data import load_data

RNG = np.random.default_rng(0)
LABELS = np.arange(30) % 3


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return str(path)


def test_layouts_agree(tmp_path):
    last = RNG.integers(0, 256, (30, 7, 8, 3), dtype=np.uint8)
    first = last.transpose(0, 3, 1, 2)
    a = load_data(save(tmp_path / "a.npz", images=last, labels=LABELS))
    b = load_data(save(tmp_path / "b.npz", images=first, labels=LABELS))
    assert a.train.images.shape == (24, 3, 7, 8)
    assert torch.equal(a.train.images, b.train.images)
    assert a.train.images.is_contiguous()


def test_images_without_channels_are_grey(tmp_path):
    images = RNG.integers(0, 256, (30, 7, 8), dtype=np.uint8)
    train, test = load_data(save(tmp_path / "a.npz", images=images, labels=LABELS))
    assert train.images.shape == (24, 1, 7, 8)
    assert test.labels.bincount().tolist() == [2, 2, 2]


def test_the_parts_that_are_there_are_kept(tmp_path):
    images = RNG.integers(0, 256, (30, 7, 8), dtype=np.uint8)
    path = save(
        tmp_path / "a.npz",
        images=images,
        labels=LABELS.astype(np.uint8),
        test_images=images[:4],
        test_labels=LABELS[:4],
        class_names=np.array(["x", "y", "z", "never seen"]),
    )
    train, test = load_data(path)
    assert np.array_equal(train.images[:, 0].numpy(), images)
    assert np.array_equal(test.images[:, 0].numpy(), images[:4])
    assert test.class_names == ("x", "y", "z", "never seen")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8"])
def test_floats_become_float32(tmp_path, dtype):
    images = RNG.random((30, 7, 8)).astype(dtype)
    path = save(tmp_path / "a.npz", images=images, labels=LABELS.astype(">i4"))
    train, test = load_data(path)
    assert train.images.dtype == torch.float32
    both = torch.cat([train.images, test.images]).sum((1, 2, 3)).sort().values
    expected = np.sort(images.astype(np.float32).sum((1, 2)))
    assert np.allclose(both.numpy(), expected, rtol=1e-5)


def test_size_and_channels(tmp_path):
    images = np.asfortranarray(RNG.integers(0, 256, (30, 7, 8), dtype=np.uint8))
    path = save(tmp_path / "a.npz", images=images, labels=LABELS)
    train, _ = load_data(path, image_size=5, channels=3)
    assert train.images.shape == (24, 3, 5, 5)


def test_other_arrays_are_left_alone(tmp_path):
    images = np.zeros((30, 7, 8), np.uint8)
    extra = np.array([{"not": "read"}], dtype=object)
    load_data(save(tmp_path / "a.npz", images=images, labels=LABELS, notes=extra))


def test_byte_strings_are_names(tmp_path):
    path = save(
        tmp_path / "a.npz",
        images=np.zeros((30, 7, 8), np.uint8),
        labels=LABELS,
        class_names=np.array(["ä".encode(), b"b", b"c"]),
    )
    assert load_data(path).train.class_names == ("ä", "b", "c")
