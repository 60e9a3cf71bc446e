import math

import numpy as np
import pytest
import torch

from tests.training.pictures.examples import noise, plain
from tests.training.pictures.figure_checks import assert_neat, count_pixels, strings
from torchcaps.training.pictures import draw_prediction


def bar_axes(figure):
    (axes,) = [axes for axes in figure.axes if axes.patches]
    return axes


def bars(figure):
    return bar_axes(figure).patches


def test_image_reconstruction_and_winner_are_seen(path, written):
    activation = torch.tensor([0.1, 0.8, 0.25])
    image, rebuilt = plain(1, (1.0, 0.0, 0.0))[0], plain(1, (0.0, 0.0, 1.0))[0]
    draw_prediction(image, rebuilt, activation, ["a", "b", "c"], path=path, title="file.png")
    assert count_pixels(path, [255, 0, 0]) > 20_000
    assert count_pixels(path, [0, 0, 255]) > 20_000
    np.testing.assert_allclose([bar.get_width() for bar in bars(written[0])], activation)
    first, winner, last = (bar.get_facecolor() for bar in bars(written[0]))
    assert first == last != winner
    assert {"file.png", "prediction: b (0.80)", "0.10", "0.25"} <= set(strings(written[0]))
    assert_neat(written[0])


def test_without_reconstruction_there_is_none(path, laid_out):
    draw_prediction(noise(3, 8, 8), None, noise(4), ["a", "b", "c", "d"], path=path, title="x")
    assert "reconstruction" not in strings(laid_out[0])
    assert len(laid_out[0].axes) == 2
    assert_neat(laid_out[0])


@pytest.mark.parametrize("rebuilt", [True, False])
def test_of_many_classes_the_highest_20_in_class_order(rebuilt, path, laid_out):
    activation = noise(60)
    names = [f"letter {k}" for k in range(60)]
    image = noise(1, 8, 20)
    draw_prediction(
        image, image if rebuilt else None, activation, names, path=path, title="a" * 300
    )
    kept = sorted(activation.argsort(descending=True)[:20].tolist())
    shown = [label.get_text() for label in bar_axes(laid_out[0]).get_yticklabels()]
    assert shown == [f"letter {k}" for k in kept]
    np.testing.assert_allclose([bar.get_width() for bar in bars(laid_out[0])], activation[kept])
    winner = names[int(activation.argmax())]
    assert any(text.startswith(f"prediction: {winner} (") for text in strings(laid_out[0]))
    assert_neat(laid_out[0])


def test_a_missing_activation_is_not_the_winner(path, laid_out):
    activation = torch.tensor([math.nan, 0.5, 0.1])
    draw_prediction(noise(1, 8, 8), None, activation, ["a", "b", "c"], path=path, title="x")
    assert {"prediction: b (0.50)", "nan"} <= set(strings(laid_out[0]))


def test_a_diverged_model_can_be_drawn(path, laid_out):
    nothing = torch.full((3,), math.nan)
    draw_prediction(noise(1, 8, 8), None, nothing, ["a", "b", "c"], path=path, title="x")
    assert strings(laid_out[0]).count("nan") == 3


def test_one_name_for_each_class(path):
    with pytest.raises(ValueError, match="activation"):
        draw_prediction(noise(1, 8, 8), None, noise(3), ["a"], path=path, title="x")
