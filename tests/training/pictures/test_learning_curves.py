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


def at_chance(epochs, **changed):
    """Accuracies of guesses, which move by a percent or two."""
    return [
        row | {"loss": 0.406 - 0.001 * k, "train_accuracy": 0.47 + 0.01 * k}
        | {"validation_accuracy": 0.5} | changed
        for k, row in enumerate(history(epochs), 1)
    ]  # fmt: skip


def test_chance_looks_like_chance(path, laid_out):
    draw_learning_curves(at_chance(4), path=path, references={"guessing": 0.5})
    accuracy = laid_out[0].axes[1]
    assert accuracy.get_title(loc="left") == "Accuracy"
    low, high = accuracy.get_ylim()
    assert low == 0
    assert 100 <= high < 110
    (level,) = [line for line in accuracy.lines if line.get_linestyle() == "--"]
    assert set(level.get_ydata()) == {50}
    assert "guessing\n50 %" in strings(laid_out[0])
    assert_neat(laid_out[0])
    rows = at_chance(4, reconstruction_loss=None)
    for row in rows:
        row["classification_loss"] = row["loss"]
    draw_learning_curves(rows, path=path)
    assert laid_out[1].axes[0].get_ylim()[0] == 0  # a loss that stands still stands still


def test_a_small_error_that_the_largest_class_has_too_is_no_success(path, laid_out):
    rows = history(12)  # to 3.3 % of validation error
    draw_learning_curves(rows, path=path, references={"largest class": 0.97, "guessing": 0.1})
    accuracy = laid_out[0].axes[1]
    assert accuracy.get_title(loc="left") == "Accuracy"
    assert {"largest class\n97 %", "guessing\n10 %"} <= set(strings(laid_out[0]))
    assert_neat(laid_out[0])


@pytest.mark.parametrize("largest", [0.11, 0.2, 0.5, 0.7])
@pytest.mark.parametrize("epochs", [3, 12])
def test_names_of_levels_never_lie_upon_each_other(largest, epochs, path, laid_out):
    levels = {"largest class": largest, "guessing": 0.1}
    draw_learning_curves(history(epochs), path=path, references=levels, validation_images=60)
    right = laid_out[0].axes[1]
    as_errors = right.get_title(loc="left") == "Error"
    assert as_errors == (epochs == 12)
    dashed = sorted(line.get_ydata()[0] for line in right.lines if line.get_linestyle() == "--")
    expected = [100 - 100 * largest, 90] if as_errors else [10, 100 * largest]
    assert dashed == pytest.approx(expected)
    assert_neat(laid_out[0])


def test_few_validation_images_have_a_wide_interval(path, laid_out):
    rows = history(3, validation_accuracy=0.8)
    for images in (20, 10_000):
        draw_learning_curves(rows, path=path, validation_images=images)
    heights = []
    for figure in laid_out:
        (band,) = figure.axes[1].collections
        y = band.get_paths()[0].vertices[:, 1]
        heights.append((y.min(), y.max()))
    np.testing.assert_allclose(heights[0], (58.4, 91.9), atol=0.1)  # Wilson, of 16 in 20
    np.testing.assert_allclose(heights[1], (79.2, 80.8), atol=0.1)
    draw_learning_curves(history(3, validation_accuracy=None), path=path, validation_images=5)
    assert not laid_out[2].axes[1].collections


def test_an_error_of_zero_is_seen_on_a_logarithmic_axis(path, laid_out):
    rows = history(12) + history(1, epoch=13, train_accuracy=1.0, validation_accuracy=1.0)
    draw_learning_curves(rows, path=path, references={"guessing": 0.1}, validation_images=60)
    error = laid_out[0].axes[1]
    assert error.get_title(loc="left") == "Error"
    assert error.get_ylim()[0] == 0
    assert curve(error, "training")[1][-1] == 0
    heights = error.transData.transform([(1, 0), (1, 2.5), (1, 30)])[:, 1]
    assert heights[1] - heights[0] > 20  # pixels
    assert heights[2] - heights[1] > 100
    assert_neat(laid_out[0])


@pytest.mark.parametrize("least", [0.9, 0.95, 0.97, 0.99, 0.992, 0.9978, 0.9999])
def test_beside_an_error_of_zero_the_axis_has_round_numbers(least, path, laid_out):
    rows = history(12) + history(1, epoch=13, train_accuracy=least, validation_accuracy=1.0)
    draw_learning_curves(rows, path=path, references={"guessing": 0.1}, validation_images=15)
    error = laid_out[0].axes[1]
    if error.get_title(loc="left") == "Error":
        shown = [tick for tick in error.get_yticks() if tick <= error.get_ylim()[1]]
        assert len(shown) >= 3
    assert_neat(laid_out[0])


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
