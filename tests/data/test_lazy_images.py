"""Images that stay in their files are transformed, placed and paired like those in memory."""

import numpy as np
import pytest
import torch
from PIL import Image

from torchcaps.data import (
    ImageData,
    MultiMNIST,
    affine_images,
    load_data,
    pad_images,
    place_images,
)
from torchcaps.data.image_files import ImageFiles
from torchcaps.errors import InputError


@pytest.fixture
def lazy(tmp_path):
    draw = np.random.default_rng(0)
    for k in range(20):
        folder = tmp_path / "ab"[k % 2]
        folder.mkdir(exist_ok=True)
        pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    data = load_data(str(tmp_path), in_memory=False).train
    assert isinstance(data, ImageFiles)
    return data


@pytest.mark.parametrize("change", [pad_images, place_images, affine_images])
def test_they_are_changed_like_those_in_memory(lazy, change):
    found, expected = change(lazy, size=12), change(in_memory(lazy), size=12)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.labels, lazy.labels)
    assert found.class_names == ("a", "b")


def in_memory(data):
    """The same images, read."""
    images, labels = data.batch(torch.arange(len(data)))
    pixels = (255 * images).round().to(torch.uint8)
    return ImageData(pixels, labels, data.class_names, data.name)


def test_a_batch_of_pairs_reads_its_own_files_alone(lazy, monkeypatch):
    expected = MultiMNIST(in_memory(lazy), seed=1, max_shift=2, padding=2).batch(0, 2)
    read = []
    plain = ImageFiles.read_file

    def counted(self, index):
        read.append(index)
        return plain(self, index)

    monkeypatch.setattr(ImageFiles, "read_file", counted)
    found = MultiMNIST(lazy, seed=1, max_shift=2, padding=2).batch(0, 2)
    assert len(read) == 4
    for one, other in zip(found, expected):
        assert torch.equal(one, other)


def test_no_images_are_refused_by_a_sentence(lazy):
    with pytest.raises(InputError, match="labels is empty; expected at least one image"):
        lazy.subset([])
