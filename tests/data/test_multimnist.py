"""Pairs of digits against a loop that adds two shifted digits pixel by pixel."""

import pytest
import torch

from torchcaps.data import ImageData, MultiMNIST, load_data
from torchcaps.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return load_data("mnist5k").train


def toy(labels, side=6, dtype=torch.uint8):
    """Images that can be told apart by their one value, in a rim of zeros."""
    images = torch.zeros(len(labels), 1, side, side, dtype=dtype)
    values = torch.arange(1, len(labels) + 1)
    inner = values if dtype == torch.uint8 else values / 100
    images[..., 1:-1, 1:-1] = inner[:, None, None, None].to(dtype)
    return ImageData(images, torch.tensor(labels), ("a", "b", "c"), "toy")


def test_a_pair_is_two_shifted_digits_added_and_clipped(digits):
    images, parts, labels = MultiMNIST(digits, 3).batch(0, 12)
    assert images.shape == (12, 1, 36, 36)
    assert parts.dtype == images.dtype == torch.float32
    for image, pair, classes in zip(images, parts, labels):
        for y, x in torch.cartesian_prod(torch.arange(0, 36, 5), torch.arange(0, 36, 5)).tolist():
            total = pair[0, 0, y, x].item() + pair[1, 0, y, x].item()
            assert image[0, y, x].item() == pytest.approx(min(1.0, total))
        for part, label in zip(pair, classes.tolist()):
            # some digit of this class, somewhere on the canvas: its window is among the data
            own = digits.images[digits.labels == label]
            windows = (255 * part).round().byte().unfold(1, 28, 1).unfold(2, 28, 1)[0]
            brightest = windows.flatten(2).int().sum(2)
            whole = (brightest == brightest.max()).nonzero().tolist()
            assert any((own[:, 0] == windows[y, x]).all(dim=(1, 2)).any() for y, x in whole)
    assert (images == 1).any()


def test_the_number_of_a_pair_decides(digits):
    pairs = MultiMNIST(digits, 1)
    whole = pairs.batch(0, 50)
    for start, count in [(0, 1), (49, 1), (13, 20)]:
        part = MultiMNIST(digits, 1).batch(start, count)
        for one, other in zip(part, whole):
            assert torch.equal(one, other[start : start + count])
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(pairs.batch(0, 50).images, whole.images)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(MultiMNIST(digits, 2).batch(0, 50).labels, whole.labels)
    assert not torch.equal(pairs.batch(50, 50).labels, whole.labels)


def test_the_second_is_any_image_of_another_class():
    """Of six images, three of one class: each other image comes second equally often."""
    data = toy([0, 2, 0, 1, 0, 2])
    images, parts, labels = MultiMNIST(data, 0, max_shift=1, padding=2).batch(0, 30_000)
    assert images.shape == (30_000, 1, 10, 10)
    assert (labels[:, 0] != labels[:, 1]).all()
    values = (255 * parts.amax(dim=(2, 3, 4))).round().long() - 1  # which images
    assert torch.equal(data.labels[values], labels)
    counts = (values[:, 0] * 6 + values[:, 1]).bincount(minlength=36).view(6, 6)
    for first, row in enumerate(counts):
        others = data.labels != data.labels[first]
        expected = 5000 / int(others.sum())
        assert (row[~others] == 0).all()
        assert ((row[others] - expected).abs() < 5 * expected**0.5).all()


@pytest.mark.parametrize(("max_shift", "padding"), [(4, 4), (6, 4), (0, 0), (2, 5)])
def test_shifts_reach_as_far_as_they_may(max_shift, padding):
    side = 20
    images = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    images[:, :, side // 2, side // 2] = 255
    data = ImageData(images, torch.tensor([0, 1]), ("a", "b"), "dots")
    pairs = MultiMNIST(data, 0, max_shift=max_shift, padding=padding)
    assert pairs.image_size == (side + 2 * padding,) * 2
    parts = pairs.batch(0, 3000).digits.flatten(0, 1)[:, 0]
    places = parts.nonzero()[:, 1:] - padding - side // 2
    assert len(places) == 6000
    wide = 2 * max_shift + 1
    counts = ((places[:, 0] + max_shift) * wide + places[:, 1] + max_shift).bincount()
    assert len(counts) == wide**2
    assert counts.min() > 0
    assert counts.max() < 3 * 6000 / wide**2 + 10


def test_what_is_cut_off_at_the_edge(digits):
    """Nothing within the padding; little of few digits with the six pixels of the authors."""
    still, near, far = (
        MultiMNIST(digits, 0, max_shift=shift).batch(0, 1000).digits.sum(dim=(2, 3, 4))
        for shift in (0, 4, 6)
    )
    torch.testing.assert_close(near, still)
    lost = 1 - far / still
    assert 0 < (lost > 1e-5).float().mean() < 0.02
    assert lost.max() < 0.06


def test_floats_and_colours():
    data = toy([0, 1, 2], dtype=torch.float32)
    colour = ImageData(data.images.expand(-1, 3, -1, -1), data.labels, data.class_names, "colour")
    images, parts, _ = MultiMNIST(colour, 0, max_shift=1, padding=1).batch(0, 16)
    assert images.shape == (16, 3, 8, 8)
    assert set(parts.unique().tolist()) == set(torch.tensor([0, 0.01, 0.02, 0.03]).tolist())


def test_targets_have_two_ones(digits):
    batch = MultiMNIST(digits, 0).batch(0, 64)
    targets = batch.targets(10)
    assert (targets.sum(dim=1) == 2).all()
    assert targets.gather(1, batch.labels).all()


def test_data_and_numbers_that_will_not_do(digits):
    one = digits.subset((digits.labels == 3).nonzero().flatten())
    with pytest.raises(InputError, match="every image of 'mnist5k' is of one class; a pair needs"):
        MultiMNIST(one)
    with pytest.raises(InputError, match="max_shift is -1"):
        MultiMNIST(digits, max_shift=-1)
    with pytest.raises(TypeError, match=r"padding is 1\.0"):
        MultiMNIST(digits, padding=1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="count is -2"):
        MultiMNIST(digits).batch(0, -2)
