"""ImageData: what it gives back, and reading it from data sets of other libraries."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from torchcaps.data import ImageData


def toy(n: int = 6) -> ImageData:
    images = torch.arange(n * 12, dtype=torch.uint8).view(n, 1, 3, 4)
    return ImageData(images, torch.arange(n) % 3, ("a", "b", "c"), "toy")


def test_items_are_floats_between_0_and_1():
    data = toy()
    image, label = data[1]
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.arange(12, 24).view(1, 3, 4) / 255)
    assert label == 1
    assert type(label) is int


def test_batch_equals_the_items():
    data = toy()
    images, labels = data.batch(torch.tensor([4, 0]))
    assert torch.equal(images, torch.stack([data[4][0], data[0][0]]))
    assert labels.tolist() == [1, 0]


def test_reading_does_not_change_the_stored_images():
    data = toy()
    before = data.images.clone()
    data[0][0].zero_()
    data.batch(torch.arange(6))[0].zero_()
    assert torch.equal(data.images, before)


def test_iterating_ends():
    assert [label for _, label in toy()] == [0, 1, 2, 0, 1, 2]


def test_properties():
    data = toy()
    assert (len(data), data.num_classes, data.channels, data.image_size) == (6, 3, 1, (3, 4))


def test_subset_is_a_copy_under_the_same_names():
    data = toy()
    part = data.subset(torch.tensor([5, 2]))
    assert part.class_names == data.class_names
    assert torch.equal(part.images, data.images[[5, 2]])
    part.images.zero_()
    assert data.images[5].any()


def test_a_tensor_dataset_is_read():
    images = torch.rand(4, 3, 5, 6, dtype=torch.float64)
    dataset = torch.utils.data.TensorDataset(images, torch.tensor([0, 1, 1, 0]))
    data = ImageData.from_dataset(dataset)
    assert torch.equal(data.images, images.float())
    assert data.class_names == ("0", "1")


def test_classes_of_a_folder_dataset_become_the_names():
    class Folder(list[Any]):
        classes = ("cat", "dog")

    assert ImageData.from_dataset(Folder([(torch.zeros(4, 4), 1)])).class_names == ("cat", "dog")


def test_a_map_style_dataset_without_an_end_is_read_to_its_length():
    class Endless:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return np.full((5, 5), index, np.uint8), np.int32(index % 2)

    data = ImageData.from_dataset(Endless())
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_generator_is_read():
    data = ImageData.from_dataset((torch.zeros(1, 5, 5), k) for k in range(3))
    assert data.labels.tolist() == [0, 1, 2]


def test_one_buffer_for_all_images_is_copied():
    def frames():
        buffer = np.zeros((8, 8), np.uint8)
        for k in range(4):
            buffer[:] = 10 * k
            yield buffer, k % 2
        shared = torch.zeros(1, 8, 8, dtype=torch.uint8)
        for k in range(2):
            shared[:] = 50 + k
            yield shared, k

    data = ImageData.from_dataset(frames())
    assert data.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 50, 51]


def test_a_label_may_be_an_array_of_no_axes():
    pairs = [(np.zeros((4, 4), np.uint8), np.array(k)) for k in (1, 0)]
    assert ImageData.from_dataset(pairs).labels.tolist() == [1, 0]


def test_a_part_that_lacks_a_class_needs_the_names():
    pairs = [(torch.zeros(1, 5, 5), k) for k in (0, 2)]
    data = ImageData.from_dataset(pairs, class_names=["a", "b", "c"])
    assert (data.labels.tolist(), data.num_classes) == ([0, 2], 3)


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        Image.fromarray(PIXELS),
    ],
    ids=["HWC array", "CHW array", "CHW tensor", "PIL"],
)
def test_every_kind_of_image_gives_the_same_pixels(image):
    data = ImageData.from_dataset([(image, 0)])
    assert np.array_equal(data.images[0].numpy(), PIXELS.transpose(2, 0, 1))
