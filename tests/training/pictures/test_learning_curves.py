import math

import numpy as np
import pytest

from tests.training.pictures.examples import history
from tests.training.pictures.figure_checks import assert_neat, pixels, rgb, strings
from torchcaps.training.pictures import draw_learning_curves
from torchcaps.training.pictures.style import BLUE


def curve(axes, name):
    (line,) = [line for line in axes.lines if line.get_label() == name]
    return line.get_xdata(), line.get_ydata()


def test_curves_show_every_epoch(path, laid_out):
    draw_learning_curves(history(4), path=path)
    loss, accuracy = laid_out[0].axes
    for name, top in [("total", 0.3), ("classification", 0.2), ("reconstruction", 30.0)]:
        x, y = curve(loss, name)
        np.testing.assert_allclose(x, [1, 2, 3, 4])
        np.testing.assert_allclose(y, top / np.arange(1, 5))
    assert loss.get_yscale() == "log"  # 0.05 to 30
    assert accuracy.get_title(loc="left") == "Accuracy"  # errors 7.5 % to 40 %: within a decade
    np.testing.assert_allclose(curve(accuracy, "validation")[1], 100 - 40 / np.arange(1, 5))
    assert_neat(laid_out[0])


def test_errors_over_a_decade_are_logarithmic(path, laid_out):
    draw_learning_curves(history(12), path=path)
    error = laid_out[0].axes[1]
    assert error.get_title(loc="left") == "Error"
    assert error.get_yscale() == "log"
    np.testing.assert_allclose(curve(error, "training")[1], 30 / np.arange(1, 13))


def test_losses_within_a_decade_are_linear_and_a_cnn_has_one_line(path, laid_out):
    rows = [row | {"classification_loss": row["loss"]} for row in history(3)]
    for row in rows:
        row["reconstruction_loss"] = None
    draw_learning_curves(rows, path=path)
    loss = laid_out[0].axes[0]
    assert loss.get_yscale() == "linear"
    assert [line.get_label() for line in loss.lines] == ["loss"]


def test_a_reconstruction_loss_of_zero_is_no_line(path, laid_out):
    draw_learning_curves(history(3, reconstruction_loss=0.0), path=path)
    labels = [line.get_label() for line in laid_out[0].axes[0].lines]
    assert labels == ["total", "classification"]


def test_one_epoch_is_seen(path, written):
    draw_learning_curves(history(1), path=path)
    assert_neat(written[0])
    points = pixels(path)[75:-100]  # below the legend
    for panel in (points[:, :600], points[:, 600:]):
        assert (np.abs(panel - rgb(BLUE)).max(-1) <= 3).sum() > 20


def test_no_validation_is_no_line(path, laid_out):
    draw_learning_curves(history(3, validation_accuracy=None), path=path)
    accuracy = laid_out[0].axes[1]
    assert [line.get_label() for line in accuracy.lines] == ["training"]


def test_validation_now_and_then_is_joined(path, laid_out):
    rows = history(7)
    rows[1]["validation_accuracy"] = math.nan
    del rows[3]["validation_accuracy"]
    rows[4]["validation_accuracy"] = None
    rows[6]["validation_accuracy"] = math.inf
    draw_learning_curves(rows, path=path)
    x, y = curve(laid_out[0].axes[1], "validation")
    assert list(x) == [1, 3, 6]
    np.testing.assert_allclose(y, [60, 100 - 40 / 3, 100 - 40 / 6])


def test_a_diverged_run_says_so(path, laid_out):
    rows = history(2, loss=math.nan, classification_loss=math.nan, reconstruction_loss=math.inf)
    draw_learning_curves(rows, path=path)
    assert "no finite value" in strings(laid_out[0])
    assert_neat(laid_out[0])


def test_no_error_at_all_can_be_drawn(path, laid_out):
    rows = [
        {"epoch": 1, "loss": 0.0, "classification_loss": 0.0, "train_accuracy": 0.5},
        {"epoch": 2, "loss": 0.0, "classification_loss": 0.0, "train_accuracy": 0.99},
        {"epoch": 3, "loss": 0.0, "classification_loss": 0.0, "train_accuracy": 1.0},
    ]
    draw_learning_curves(rows, path=path)
    assert_neat(laid_out[0])


def test_many_epochs_stay_neat(path, laid_out):
    draw_learning_curves(history(1000), path=path)
    assert_neat(laid_out[0])


def test_an_empty_history_is_refused(path):
    with pytest.raises(ValueError, match="no epoch"):
        draw_learning_curves([], path=path)
