"""Archives of arrays in every layout that is allowed."""

import numpy as np
import pytest
import torch

from torchcaps.data import ImageData, load_data
from torchcaps.errors import InputError

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


def test_pixels_of_0_and_1_are_no_bytes(tmp_path):
    """As black as black to a network that was trained on photos, and white in a PNG."""
    images = np.random.default_rng(0).integers(0, 2, (30, 7, 8))
    for dtype in (np.uint8, np.float32):
        path = save(tmp_path / "a.npz", images=images.astype(dtype), labels=LABELS)
        if dtype == np.uint8:
            with pytest.raises(
                InputError, match=r"a\.npz: images holds 0 and 1 alone, and white is"
            ):
                load_data(path)
        else:
            assert load_data(path).train.images.max() == 1


@pytest.mark.parametrize(
    ("stored", "given", "channels"),
    [
        ((5, 9, 9), (5, 9, 9), None),
        ((9, 9, 5), (5, 9, 9), None),
        ((13, 64, 48), (13, 64, 48), None),
        ((64, 48, 13), (13, 64, 48), None),
        ((9, 9, 100), (100, 9, 9), None),
        ((100, 9, 9), (100, 9, 9), None),
        ((6, 7, 8), (8, 6, 7), 8),
        ((6, 7, 8), (6, 7, 8), 6),
        ((2, 9, 2), (2, 9, 2), 2),
        ((3, 9, 2), (2, 3, 9), 2),
        ((6, 6, 6), (6, 6, 6), 6),
    ],
)
@pytest.mark.parametrize("dtype", ["u1", "f2", "f8"])
def test_any_number_of_channels(tmp_path, stored, given, channels, dtype):
    most = 256 if dtype == "u1" else 2
    images = np.random.default_rng(0).integers(0, most, (10, *stored)).astype(dtype)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(10) % 2)
    train, _ = load_data(str(tmp_path / "a.npz"), channels=channels)
    assert (train.channels, *train.image_size) == given
    whole = images if stored == given else images.transpose(0, 3, 1, 2)
    kept = {image.astype("f4").tobytes() for image in whole}
    assert {image.float().numpy().tobytes() for image in train.images} <= kept


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((6, 7, 8), {}, r"\[6, 7, 8\], where neither .* how many channels there are with --chann"),
        ((6, 7, 8), {"channels": 5}, "where neither of the outer axes"),
        ((3, 9, 2), {}, "where both of the outer axes"),
        ((5, 9, 9), {"channels": 3}, "images have 5 channels, so channels=3 cannot be met"),
        ((1, 9, 9), {"channels": 5}, "a: channels is 5, and its images have 1; expected"),
        ((5, 9, 9), {"channels": 0}, "channels is 0; expected a whole number from 1"),
    ],
)
def test_channels_that_cannot_be_found(tmp_path, shape, options, message):
    np.savez(tmp_path / "a.npz", images=np.zeros((10, *shape), "u1"), labels=np.arange(10) % 2)
    with pytest.raises(InputError, match=message):
        load_data(str(tmp_path / "a.npz"), **options)


def test_channels_of_a_dataset_of_arrays():
    pairs = [(np.full((6, 7, 8), k, "u1"), k) for k in range(2)]
    assert ImageData.from_dataset(pairs, channels=8).images.shape == (2, 8, 6, 7)
    assert ImageData.from_dataset(pairs, channels=6).images.shape == (2, 6, 7, 8)
    assert ImageData.from_dataset([(np.zeros((9, 9, 5)), 0)] * 2).image_size == (9, 9)
