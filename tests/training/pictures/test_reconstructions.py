import math

import numpy as np
import pytest
import torch

from tests.training.pictures.examples import DIGITS, LONG, noise, plain
from tests.training.pictures.figure_checks import assert_neat, count_pixels, pixels, rgb, words
from torchcaps.training.pictures import draw_mistakes, draw_prediction, draw_reconstructions
from torchcaps.training.pictures.style import INK, NOT_A_NUMBER, WRONG


def test_inputs_stand_above_their_reconstructions(path):
    red, blue = plain(3, (1.0, 0.0, 0.0)), plain(3, (0.0, 0.0, 1.0))
    classes = torch.zeros(3, dtype=torch.int64)
    draw_reconstructions(red, blue, classes, classes, ["a"], path=path)
    image = pixels(path)
    reds = np.argwhere((image == [255, 0, 0]).all(-1))
    blues = np.argwhere((image == [0, 0, 255]).all(-1))
    assert len(reds) > 50_000
    assert len(blues) > 50_000
    assert reds[:, 0].max() < blues[:, 0].min()
    assert reds[:, 1].min() == pytest.approx(blues[:, 1].min(), abs=2)
    assert count_pixels(path, rgb(WRONG)) == 0  # all are right


def test_pairs_keep_their_order_and_wrap(path):
    shades = torch.linspace(0.3, 0.9, 12)
    images = shades[:, None, None, None].expand(-1, 1, 8, 8)
    classes = torch.zeros(12, dtype=torch.int64)
    draw_reconstructions(images, images, classes, classes, ["a"], path=path)
    image = pixels(path)[100:, :, 0]  # below the title, whose edges are grey too
    places = []
    for shade in shades:
        found = image == int(255 * float(shade))
        inside = found & np.roll(found, 20, 0) & np.roll(found, 20, 1)  # not the edge of a letter
        rows, columns = np.nonzero(inside)
        assert len(rows) > 1000
        places.append((int(rows.min()), int(columns.min())))
    assert places == sorted(places)
    assert len({row for row, _ in places}) == 2


def test_a_wrong_prediction_is_marked_in_colour_and_words(path, written):
    labels = torch.tensor([0, 1, 2, 3])
    draw_reconstructions(plain(4), plain(4), labels, torch.tensor([0, 1, 3, 3]), DIGITS, path=path)
    found = {text.get_text(): text.get_color() for text in words(written[0])}
    assert found["2 → 3"] == WRONG
    assert found["0"] == found["1"] == found["3"] == INK
    # The frames: only around the third column of four.
    columns = np.nonzero((pixels(path)[120:-60] == rgb(WRONG)).all(-1))[1] / pixels(path).shape[1]
    assert len(columns) > 500
    assert columns.min() > 0.48
    assert columns.max() < 0.75


@pytest.mark.parametrize(("channels", "count"), [(1, 1), (2, 2), (3, 21)])
def test_any_channels_and_counts(channels, count, path, laid_out):
    images = noise(count, channels, 9, 14)
    labels = torch.arange(count) % 10
    draw_reconstructions(images, 1 - images, labels, labels.flip(0), LONG, path=path)
    assert_neat(laid_out[0])


def test_other_channels_are_averaged(path):
    images = torch.tensor([0.2, 0.4]).view(1, 2, 1, 1).expand(1, 2, 6, 6)
    draw_reconstructions(images, images, torch.tensor([0]), torch.tensor([0]), ["a"], path=path)
    assert count_pixels(path, [76, 76, 76], tolerance=1) > 10_000


def test_values_out_of_range_and_nan_are_shown_honestly(path):
    images = plain(1, (2.0, -1.0, -1.0))
    broken = plain(1).clone()
    broken[0, 0] = math.nan
    draw_reconstructions(images, broken, torch.tensor([0]), torch.tensor([0]), ["a"], path=path)
    assert count_pixels(path, [255, 0, 0], tolerance=0) > 10_000
    assert count_pixels(path, rgb(NOT_A_NUMBER)) > 10_000


def test_half_precision_and_gradients_are_welcome(path):
    images = noise(2, 1, 8, 8).bfloat16().requires_grad_()
    labels = torch.tensor([0, 1])
    draw_reconstructions(images, images, labels, labels, DIGITS, path=path)
    draw_prediction(images[0], images[1], images[0, 0, 0], DIGITS[:8], path=path, title="a")
    draw_mistakes(images, labels, labels.flip(0), images[:, 0, 0, 0], DIGITS, path=path, total=2)


@pytest.mark.parametrize(("images", "rebuilt", "labels"), [(0, 0, 0), (2, 3, 2), (2, 2, 3)])
def test_shapes_that_do_not_belong_together_are_refused(images, rebuilt, labels, path):
    classes = torch.zeros(labels, dtype=torch.int64)
    with pytest.raises(ValueError, match="shape"):
        draw_reconstructions(plain(images), plain(rebuilt), classes, classes, ["a"], path=path)
    assert not path.exists()
