"""How training images are varied, and how their kind is told."""

import math

import numpy as np
import pytest
import torch

from torchcaps.data import (
    Augmentation,
    ImageData,
    apply_shift,
    augmentation_for,
    image_kind,
    load_data,
)
from torchcaps.data.augmentation import _jittered, _rotated
from torchcaps.data.indexed_random import IndexedRandom
from torchcaps.errors import InputError

ALL = Augmentation(2, "mirror", flip=True, max_rotation=30, jitter=0.3)


@pytest.mark.parametrize(("border", "mode"), [("edge", "edge"), ("mirror", "reflect")])
@pytest.mark.parametrize("size", [(6, 6), (5, 9)])
def test_what_moves_in_is_what_numpy_pads_with(border, mode, size):
    offsets = torch.cartesian_prod(torch.arange(-4, 5), torch.arange(-4, 5))
    images = torch.rand(len(offsets), 2, *size)
    height, width = size
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode)
    expected = np.stack(
        [
            image[:, 4 - down : 4 - down + height, 4 - right : 4 - right + width]
            for image, (down, right) in zip(padded, offsets.tolist())
        ]
    )
    assert np.array_equal(apply_shift(images, offsets, border).numpy(), expected)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_processes_that_share_a_batch_make_what_one_makes(world):
    images = torch.rand(12, 3, 10, 8)
    whole = ALL(images, seed=5, step=3)
    each = 12 // world
    parts = [
        ALL(images[first : first + each], seed=5, step=3, batch_size=12, first=first)
        for first in range(0, 12, each)
    ]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(
    "one",
    [
        Augmentation(2),
        Augmentation(flip=True),
        Augmentation(max_rotation=9),
        Augmentation(jitter=0.2),
    ],
    ids=str,
)
def test_seed_step_and_place_alone_decide(one):
    images = torch.rand(1, 3, 8, 8).repeat(64, 1, 1, 1)
    before = images.clone()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    varied = one(images, seed=1, step=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    assert torch.equal(varied, one(images, seed=1, step=2))
    for seed, step in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(varied, one(images, seed=seed, step=step))
    assert len({image.numpy().tobytes() for image in varied}) > 1


def test_nothing_is_varied_by_default():
    images = torch.rand(2, 1, 4, 4)
    assert Augmentation()(images, seed=0, step=0) is images
    assert str(Augmentation()) == "none"


def test_half_of_the_images_are_flipped():
    images = torch.rand(1, 1, 3, 5).repeat(1000, 1, 1, 1)
    varied = Augmentation(flip=True)(images, seed=0, step=0)
    flipped = (varied == images.flip(-1)).flatten(1).all(dim=1)
    assert torch.equal(varied[~flipped], images[~flipped])
    assert 450 < flipped.sum() < 550


@pytest.mark.parametrize("size", [(6, 6), (5, 9)])
def test_turns_of_half_and_quarter_circles(size):
    images = torch.rand(2, 3, *size)
    half = _rotated(images, torch.full((2,), math.pi), "zeros")
    torch.testing.assert_close(half, images.rot90(2, (2, 3)))
    # A quarter of an oblong keeps its middle square alone.
    side = min(size)
    edge = (max(size) - side) // 2
    quarter = _rotated(images, torch.full((2,), math.pi / 2), "zeros")[..., edge : edge + side]
    torch.testing.assert_close(quarter, images[..., edge : edge + side].rot90(1, (2, 3)))


def test_rotations_reach_as_far_as_they_may():
    """A bright pixel on the right edge moves up or down by less than the sine of the angle."""
    images = torch.zeros(500, 1, 41, 41)
    images[:, 0, 20, 38:] = 1
    varied = Augmentation(max_rotation=20)(images, seed=0, step=0)
    rows = (
        varied[:, 0, :, 36:].sum(dim=2) @ torch.arange(41.0) / varied[..., 36:].sum(dim=(1, 2, 3))
    )
    moved = rows - 20
    assert 5.5 < moved.max() < 7
    assert -7 < moved.min() < -5.5


def test_jitter_is_its_formula():
    images = torch.rand(4, 3, 2, 2) * 0.5 + 0.2
    draws = IndexedRandom("a test", 0, 0, 4)
    jittered = _jittered(images, draws, 0.1)
    factors = [draws.uniform(which, 0.9, 1.1) for which in (2, 3, 4)]
    for k, image in enumerate(images.double()):
        bright, contrast, saturation = (float(f[k]) for f in factors)
        expected = image * bright
        expected = expected.mean() + (expected - expected.mean()) * contrast
        grey = expected.mean(dim=0)
        expected = grey + (expected - grey) * saturation
        torch.testing.assert_close(jittered[k].double(), expected, atol=1e-6, rtol=0)


def test_all_of_it_stays_in_range():
    varied = ALL(torch.rand(64, 3, 9, 9).round(), seed=0, step=0)
    assert varied.min() >= 0
    assert varied.max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"border": "wrap"}, "border is 'wrap'; expected zeros, edge, mirror"),
        ({"max_shift": -1}, "max_shift is -1"),
        ({"max_rotation": 181}, "max_rotation is 181"),
        ({"jitter": float("nan")}, "jitter is nan"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**options)


# --- the kind of images
def images_on(ground: torch.Tensor) -> ImageData:
    """A noisy square in the middle of a ground."""
    images = ground.clone()
    images[:, :, 4:12, 4:12] = torch.rand(len(ground), 1, 8, 8)
    return ImageData(images, torch.zeros(len(images), dtype=torch.int64), ("a",), "toy")


BLACK, WHITE = torch.zeros(20, 1, 16, 16), torch.ones(20, 3, 16, 16)
COLOURS = torch.rand(20, 3, 1, 1).expand(-1, -1, 16, 16)
NOISE = torch.rand(20, 3, 16, 16)
SOME_PLAIN = torch.cat([WHITE[:8], NOISE[:12]])


@pytest.mark.parametrize(
    ("ground", "kind", "border", "flip"),
    [
        (BLACK, "digits", "zeros", False),
        (BLACK.expand(-1, 3, -1, -1), "digits", "zeros", False),
        (WHITE, "drawings", "edge", False),
        (COLOURS, "drawings", "edge", False),
        (NOISE, "photos", "mirror", True),
        (NOISE[:, :1], "photos", "mirror", False),
        (SOME_PLAIN, "photos", "mirror", True),
    ],
)
def test_the_kind_is_told_from_the_border(ground, kind, border, flip):
    data = images_on(ground)
    assert image_kind(data) == kind
    chosen = augmentation_for(data)
    assert (chosen.border, chosen.flip, chosen.max_shift) == (border, flip, 2)


def test_photos_are_shifted_by_an_eighth_of_their_side():
    photos = ImageData(torch.rand(2, 3, 64, 80), torch.arange(2), ("a", "b"), "toy")
    assert augmentation_for(photos).max_shift == 8
    assert augmentation_for(photos, max_shift=20).max_shift == 20
    assert augmentation_for(photos, max_shift=0).max_shift == 0
    assert augmentation_for(photos, max_shift=2).max_shift == 2
    assert augmentation_for(photos, "none").max_shift == 0
    assert augmentation_for(photos, "none", max_shift=4).max_shift == 4
    assert augmentation_for(photos, "digits").max_shift == 2
    assert augmentation_for(photos, "none", flip=True) == Augmentation(border="mirror", flip=True)


def test_published_clothes_are_shifted_like_digits(published):
    assert image_kind(load_data("fashion-mnist", published).train) == "digits"
