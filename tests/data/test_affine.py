"""Transformed digits against transformations written out by hand."""

import math

import pytest
import torch

from torchcaps.data import (
    AffineRanges,
    ImageData,
    affine_images,
    load_data,
    pad_images,
    place_images,
)
from torchcaps.data import affine as module
from torchcaps.data.indexed_random import IndexedRandom
from torchcaps.errors import InputError

STILL = AffineRanges(rotation=0.0, shear=0.0, scale=0.0)


@pytest.fixture(scope="module")
def digits():
    return load_data("mnist5k").test.subset(list(range(0, 1000, 5)))


def dots(*places, side=28, count=1):
    """Images with bright blocks of 3×3 about these (down, right) places."""
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    for y, x in places:
        images[:, :, y - 1 : y + 2, x - 1 : x + 2] = 255
    return ImageData(images, torch.zeros(count, dtype=torch.int64), ("a",), "dots")


def centre(image):
    """(right, down) of the centre of mass."""
    mass = image.float().squeeze()
    ys, xs = torch.meshgrid(*(torch.arange(float(n)) for n in mass.shape), indexing="ij")
    return torch.stack([(mass * xs).sum(), (mass * ys).sum()]) / mass.sum()


def test_the_ranges_of_nothing_only_move(digits):
    moved = affine_images(digits, 0, ranges=STILL)
    assert moved.images.dtype == torch.uint8
    assert moved.image_size == (40, 40)
    for old, new in zip(digits.images, moved.images):
        ys, xs = old[0].nonzero().T
        box = old[0, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        ys, xs = new[0].nonzero().T
        assert torch.equal(new[0, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1], box)


@pytest.mark.parametrize("place", [(8.0, 0.0), (0.0, -9.0), (-5.0, 7.0)])
def test_where_a_dot_comes_to_lie(place):
    """Stretched, leaning to the right, turned to the left: by hand, with y downwards."""
    ranges = AffineRanges(rotation=70, shear=0.6, scale=0.3)
    draws = IndexedRandom("affine", 5, 0, 40)
    x, y = place
    data = dots((14 + int(y), 14 + int(x)), side=29, count=40)
    moved = module._resampled(data.batch(torch.arange(40))[0], module._backward(draws, ranges), 61)
    numbers = (draws.uniform(0, -70, 70), draws.uniform(1, -0.6, 0.6))
    scales = (draws.uniform(2, 0.7, 1.3), draws.uniform(3, 0.7, 1.3))
    for k, (angle, shear, wide, high) in enumerate(zip(*numbers, *scales)):
        right, up = x * wide.item(), -y * high.item()
        right += shear.item() * up
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        expected = [30 + right * cos - up * sin, 30 - (right * sin + up * cos)]
        assert centre(moved[k]).tolist() == pytest.approx(expected, abs=0.1)
        assert moved[k].sum().item() == pytest.approx(9 * wide.item() * high.item(), rel=0.12)


def test_all_of_every_digit_is_kept(digits):
    """Moved by whole pixels: what was on the larger canvas is on the small one."""
    small = affine_images(digits, 2)
    large = affine_images(digits, 2, size=80)
    ink = [part.images.sum(dim=(1, 2, 3), dtype=torch.int64) for part in (small, large)]
    assert (ink[0] - ink[1]).abs().max() <= 20  # of tens of thousands: places are rounded
    assert torch.equal(small.labels, digits.labels)


def test_digits_reach_every_edge():
    data = dots((14, 14), count=3000)
    new = affine_images(data, 0).images[:, 0] > 0
    assert new.any(dim=0).any(dim=0).all()
    assert new.any(dim=0).any(dim=1).all()
    for edge in (new[:, 0], new[:, -1], new[:, :, 0], new[:, :, -1]):
        assert 0.005 < edge.any(dim=1).float().mean() < 0.08


def test_what_is_larger_than_the_new_image_is_cut_at_both_sides():
    pixels = torch.full((20, 1, 40, 40), 255, dtype=torch.uint8)
    white = ImageData(pixels, torch.arange(20) % 2, ("a", "b"), "white")
    new = affine_images(white, 0).images
    assert new.shape == (20, 1, 40, 40)
    assert (new[:, 0, 20, 20] == 255).all()


def test_an_empty_image_stays_empty():
    pixels = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    black = ImageData(pixels, torch.arange(3), ("a", "b", "c"), "black")
    assert not affine_images(black).images.any()


def test_seed_and_number_alone_decide(digits, monkeypatch):
    whole = affine_images(digits, 4)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    assert torch.equal(affine_images(digits, 4).images, whole.images)
    first = digits.subset(list(range(20)))
    assert torch.equal(affine_images(first, 4).images, whole.images[:20])
    assert not torch.equal(affine_images(digits, 5).images, whole.images)


def test_padding_and_placing(digits):
    padded, placed = pad_images(digits), place_images(digits, 3)
    assert torch.equal(padded.images[:, :, 6:34, 6:34], digits.images)
    assert padded.images.sum() == digits.images.sum()
    seen = set()
    for old, new in zip(digits.images, placed.images):
        fits = [
            (y, x)
            for y in range(13)
            for x in range(13)
            if torch.equal(new[:, y : y + 28, x : x + 28], old) and new.sum() == old.sum()
        ]
        assert len(fits) >= 1
        seen.update(fits)
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(13))
    assert torch.equal(place_images(digits, 3).images, placed.images)


def test_images_that_are_too_large(digits):
    for function in (affine_images, pad_images, place_images):
        with pytest.raises(InputError, match="size is 27 for images of 28×28; expected"):
            function(digits, size=27)
    with pytest.raises(InputError, match=r"size is 40\.0"):
        pad_images(digits, 40.0)  # type: ignore[arg-type]
