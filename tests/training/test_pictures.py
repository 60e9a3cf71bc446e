import importlib
import math
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from torchcaps.training import pictures
from torchcaps.training.pictures import (
    draw_confusion,
    draw_learning_curves,
    draw_mistakes,
    draw_prediction,
    draw_reconstructions,
)

WRONG = tuple(round(255 * c) for c in to_rgb(pictures.WRONG))
DIGITS = [str(k) for k in range(10)]
LONG = [f"a rather long name of class {k} of them" for k in range(10)]
NO_FONT_HAS = "\U000f1234"  # a private-use character


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture.png"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written, in order."""
    figures, save = [], Figure.savefig

    def savefig(self, *args, **kwargs):
        save(self, *args, **kwargs)
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def history(epochs, **changed):
    return [
        {
            "epoch": k,
            "loss": 0.3 / k,
            "classification_loss": 0.2 / k,
            "reconstruction_loss": 30.0 / k,
            "train_accuracy": 1 - 0.3 / k,
            "validation_accuracy": 1 - 0.4 / k,
        }
        | changed
        for k in range(1, epochs + 1)
    ]


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def plain(count, colour=(0.2, 0.2, 0.2), size=12):
    """[count, 3, size, size] of one colour."""
    return torch.tensor(colour)[:, None, None].expand(count, -1, size, size)


def matrix(classes, right=40):
    counts = torch.eye(classes, dtype=torch.int64) * right
    counts[1, 0] = 7
    return counts


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 400 <= image.width <= 2500
        assert 100 <= image.height <= 2500
        return np.asarray(image.convert("RGB")).astype(int)


def count_pixels(path, colour, tolerance=3):
    return int((np.abs(pixels(path) - np.array(colour)).max(-1) <= tolerance).sum())


def words(figure):
    """Every text that is seen in the figure."""
    outside = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    outside |= {tick.label1, tick.label2}
        if not axes.axison:
            outside |= set(axes.xaxis.findobj(Text)) | set(axes.yaxis.findobj(Text))
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in outside
    ]


def strings(figure):
    return [text.get_text() for text in words(figure)]


def assert_neat(figure):
    """No two texts overlap, none leaves the figure."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure)]
    assert boxes
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.width + 1, text
        assert box.y1 <= figure.bbox.height + 1, text
    for (one, a), (other, b) in combinations(boxes, 2):
        # a pixel of the line's height is empty
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (one, other)


def curve(axes, name):
    (line,) = [line for line in axes.lines if line.get_label() == name]
    return line.get_xdata(), line.get_ydata()


def fail(*args, **kwargs):
    raise OSError("disk full")


# For each function, a call that works.
CALLS = {
    "learning_curves": lambda path, names: draw_learning_curves(history(3), path=path),
    "reconstructions": lambda path, names: draw_reconstructions(
        noise(12, 1, 8, 8),
        noise(12, 1, 8, 8),
        torch.arange(12) % 10,
        torch.arange(12) % 7,
        names,
        path=path,
    ),
    "confusion": lambda path, names: draw_confusion(matrix(10), names, path=path),
    "mistakes": lambda path, names: draw_mistakes(
        noise(13, 1, 8, 8),
        torch.arange(13) % 10,
        torch.arange(1, 14) % 10,
        torch.linspace(0.9, 0.2, 13),
        names,
        path=path,
        total=20,
    ),
    "prediction": lambda path, names: draw_prediction(
        noise(1, 8, 8), noise(1, 8, 8), noise(10), names, path=path, title=names[0]
    ),
}
each_picture = pytest.mark.parametrize("draw", CALLS.values(), ids=CALLS.keys())


# What holds for all of them.


@each_picture
def test_writes_one_png_and_nothing_else(draw, path):
    assert draw(path, DIGITS) is None
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
    assert len(np.unique(pixels(path)[:, :, 0])) > 10


@each_picture
def test_is_a_png_whatever_the_name_and_the_same_bytes_each_time(draw, path):
    draw(path, DIGITS)
    draw(str(path.with_suffix(".pdf")), DIGITS)
    assert path.read_bytes() == path.with_suffix(".pdf").read_bytes()


@each_picture
@pytest.mark.parametrize("names", [DIGITS, LONG, ["W" * 80] * 10, ["i"] * 10])
def test_no_text_overlaps_or_is_cut(draw, names, path, drawn):
    draw(path, names)
    assert_neat(drawn[0])


@pytest.mark.parametrize("draw", [CALLS["reconstructions"], CALLS["mistakes"]])
def test_captions_stand_clear_of_the_tiles(draw, path, drawn):
    draw(path, LONG)
    tiles = [image.get_window_extent() for image in drawn[0].axes[0].images]
    captions = [text.get_window_extent() for text in words(drawn[0])]
    assert not any(tile.overlaps(caption) for tile in tiles for caption in captions)
    assert not any(one.overlaps(other) for one, other in combinations(tiles, 2))


@each_picture
def test_a_failed_write_leaves_the_folder_as_it_was(draw, path, monkeypatch):
    path.write_text("old")

    def half(figure, target, **kwargs):
        Path(target).write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        draw(path, DIGITS)
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
    assert path.read_text() == "old"


@each_picture
def test_a_failed_drawing_leaves_no_file(draw, path, monkeypatch):
    monkeypatch.setattr("matplotlib.axes.Axes.text", fail)
    monkeypatch.setattr("matplotlib.axes.Axes.plot", fail)
    with pytest.raises(OSError, match="disk full"):
        draw(path, DIGITS)
    assert list(path.parent.iterdir()) == []


@each_picture
def test_settings_of_matplotlib_neither_matter_nor_change(draw, path):
    draw(path, DIGITS)
    expected = path.read_bytes()
    with matplotlib.rc_context(
        {
            "font.size": 30,
            "axes.facecolor": "black",
            "savefig.bbox": "tight",
            "font.family": "serif",
        }
    ):
        before = dict(matplotlib.rcParams)
        draw(path, DIGITS)
        assert dict(matplotlib.rcParams) == before
    assert path.read_bytes() == expected


@each_picture
def test_names_are_drawn_as_they_are(draw, path, drawn):
    # Unbalanced math, characters without a glyph, control characters, broken file names.
    hard = ["$x^$", "a_b $", "$\\frac$", f"{NO_FONT_HAS}x", f"{NO_FONT_HAS}y"]
    draw(path, [*hard, "\udc80", "\x00", "", "two\nlines\t", "é→ß"])
    shown = " ".join(strings(drawn[0]))
    assert NO_FONT_HAS not in shown
    if draw is not CALLS["learning_curves"]:
        assert "$x^$" in shown


def test_needs_no_window_and_no_pyplot(path):
    code = (
        "import sys; from torchcaps.training.pictures import draw_learning_curves as draw\n"
        f"draw([dict(epoch=1, loss=1.0, train_accuracy=0.5)], path={str(path)!r})\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    environment = {**os.environ, "MPLBACKEND": "tkagg"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)
    assert path.exists()


def test_every_public_name_is_exercised_here():
    public = importlib.import_module("torchcaps.training.pictures").__all__
    assert set(public) == {f"draw_{name}" for name in CALLS}


# Class names.


def test_a_name_that_loses_characters_carries_its_number(path, drawn):
    names = ["cat", NO_FONT_HAS, NO_FONT_HAS]
    draw_prediction(noise(1, 8, 8), None, noise(3), names, path=path, title=f"a{NO_FONT_HAS}.png")
    shown = strings(drawn[0])
    assert {"cat", "1: □", "2: □", "a□.png"} <= set(shown)


def test_an_installed_font_supplies_what_the_first_one_lacks(path, drawn, monkeypatch):
    letter = "\U0001d49c"  # 𝒜: not in DejaVu Sans, in STIX, which comes with matplotlib
    monkeypatch.setattr(pictures, "FALLBACK_FONTS", ())
    draw_confusion(matrix(2), [letter, "b"], path=path)
    monkeypatch.setattr(pictures, "FALLBACK_FONTS", ("No Such Font", "STIXGeneral"))
    draw_confusion(matrix(2), [letter, "b"], path=path)
    assert "0: □" in strings(drawn[0])
    assert letter in strings(drawn[1])


def test_long_names_end_with_an_ellipsis_and_keep_the_confidence(path, drawn):
    CALLS["mistakes"](path, LONG)
    tiles = [text for text in strings(drawn[0]) if text.startswith("→ a")]
    assert len(tiles) == 13
    assert all("… (0." in text for text in tiles)


# Learning curves.


def test_curves_show_every_epoch(path, drawn):
    draw_learning_curves(history(4), path=path)
    loss, error = drawn[0].axes
    for name, top in [("total", 0.3), ("classification", 0.2), ("reconstruction", 30.0)]:
        x, y = curve(loss, name)
        np.testing.assert_allclose(x, [1, 2, 3, 4])
        np.testing.assert_allclose(y, top / np.arange(1, 5))
    assert loss.get_yscale() == "log"  # 0.05 to 30
    assert error.get_title(loc="left") == "Accuracy"  # errors 7.5 % to 40 %: less than a decade
    np.testing.assert_allclose(curve(error, "validation")[1], 100 - 40 / np.arange(1, 5))
    assert "best: 90.00 %" in strings(drawn[0])


def test_errors_over_a_decade_are_logarithmic(path, drawn):
    draw_learning_curves(history(12), path=path)
    error = drawn[0].axes[1]
    assert error.get_title(loc="left") == "Error"
    assert error.get_yscale() == "log"
    np.testing.assert_allclose(curve(error, "training")[1], 30 / np.arange(1, 13))
    assert "best: 3.33 %" in strings(drawn[0])
    x, _ = curve(error, "best: 3.33 %")
    assert list(x) == [12]


def test_losses_within_a_decade_are_linear_and_a_cnn_has_one_line(path, drawn):
    rows = [row | {"classification_loss": row["loss"]} for row in history(3)]
    for row in rows:
        row["reconstruction_loss"] = None
    draw_learning_curves(rows, path=path)
    loss = drawn[0].axes[0]
    assert loss.get_yscale() == "linear"
    assert [line.get_label() for line in loss.lines] == ["loss"]


def test_a_reconstruction_loss_of_zero_is_no_line(path, drawn):
    draw_learning_curves(history(3, reconstruction_loss=0.0), path=path)
    labels = [line.get_label() for line in drawn[0].axes[0].lines]
    assert labels == ["total", "classification"]


def test_one_epoch_is_seen(path, drawn):
    draw_learning_curves(history(1), path=path)
    assert_neat(drawn[0])
    blue = [round(255 * c) for c in to_rgb(pictures.PALETTE["blue"])]
    points = pixels(path)[75:-100]  # below the legend
    for panel in (points[:, :600], points[:, 600:]):
        assert (np.abs(panel - blue).max(-1) <= 3).sum() > 20


@pytest.mark.parametrize("missing", [math.nan, None, math.inf])
def test_no_validation_is_no_line(missing, path, drawn):
    draw_learning_curves(history(3, validation_accuracy=missing), path=path)
    accuracy = drawn[0].axes[1]
    assert [line.get_label() for line in accuracy.lines] == ["training"]
    assert not any("best" in text for text in strings(drawn[0]))


def test_validation_now_and_then_is_joined(path, drawn):
    rows = history(5)
    rows[1]["validation_accuracy"] = math.nan
    del rows[3]["validation_accuracy"]
    draw_learning_curves(rows, path=path)
    x, y = curve(drawn[0].axes[1], "validation")
    assert list(x) == [1, 3, 5]
    np.testing.assert_allclose(y, [60, 100 - 40 / 3, 92])


def test_a_diverged_run_says_so(path, drawn):
    rows = history(2, loss=math.nan, classification_loss=math.nan, reconstruction_loss=math.inf)
    draw_learning_curves(rows, path=path)
    assert "no finite value" in strings(drawn[0])
    assert_neat(drawn[0])


def test_no_error_at_all_can_be_drawn(path):
    draw_learning_curves(
        [
            {"epoch": 1, "loss": 0.0, "classification_loss": 0.0, "train_accuracy": 0.5},
            {"epoch": 2, "loss": 0.0, "classification_loss": 0.0, "train_accuracy": 0.99},
            {"epoch": 3, "loss": 0.0, "classification_loss": 0.0, "train_accuracy": 1.0},
        ],
        path=path,
    )
    pixels(path)


@pytest.mark.parametrize("epochs", [2, 40, 1000])
def test_many_epochs_stay_neat(epochs, path, drawn):
    draw_learning_curves(history(epochs), path=path)
    assert_neat(drawn[0])


def test_an_empty_history_is_refused(path):
    with pytest.raises(ValueError, match="no epoch"):
        draw_learning_curves([], path=path)


# Reconstructions.


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
    assert count_pixels(path, WRONG) == 0  # all are right


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


def test_a_wrong_prediction_is_marked_in_colour_and_words(path, drawn):
    labels = torch.tensor([0, 1, 2, 3])
    draw_reconstructions(plain(4), plain(4), labels, torch.tensor([0, 1, 3, 3]), DIGITS, path=path)
    found = {text.get_text(): text.get_color() for text in words(drawn[0])}
    assert found["2 → 3"] == pictures.WRONG
    assert found["0"] == found["1"] == found["3"] == pictures.INK
    # The frames: only around the third column of four.
    columns = np.nonzero((pixels(path)[120:-60] == WRONG).all(-1))[1] / pixels(path).shape[1]
    assert len(columns) > 500
    assert columns.min() > 0.48
    assert columns.max() < 0.75


@pytest.mark.parametrize(
    ("channels", "count"), [(1, 1), (3, 2), (2, 5), (3, 10), (1, 11), (5, 16), (1, 33)]
)
def test_any_channels_and_counts(channels, count, path, drawn):
    images = noise(count, channels, 9, 14)
    labels = torch.arange(count) % 10
    draw_reconstructions(images, 1 - images, labels, labels.flip(0), LONG, path=path)
    pixels(path)
    assert_neat(drawn[0])


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
    pink = [round(255 * c) for c in to_rgb(pictures.NOT_A_NUMBER)]
    assert count_pixels(path, pink) > 10_000


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


# Confusion.


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 60, 120, 250])
def test_any_number_of_classes(classes, path, drawn):
    names = [f"class number {k}" for k in range(classes)]
    draw_confusion(matrix(classes), names, path=path)
    pixels(path)
    figure = drawn[0]
    total = classes * 40 + 7
    title = figure.axes[0].get_title(loc="left").replace("\N{NARROW NO-BREAK SPACE}", "")
    assert title == f"{total} examples, accuracy {100 * classes * 40 / total:.2f} %"
    assert strings(figure).count("7") == (1 if classes <= 20 else 0)
    assert strings(figure).count("class number 0") == 2
    if classes <= 60:  # pairs of texts grow with the square
        assert_neat(figure)


@pytest.mark.parametrize("count", [1, 99_999, 10_000_000])
def test_counts_fit_their_cells(count, path, drawn):
    draw_confusion(matrix(20, right=count), [str(k) for k in range(20)], path=path)
    assert_neat(drawn[0])


def test_mistakes_are_coloured_by_share_and_the_diagonal_is_not(path, drawn):
    # Class 0: 10 of 20 wrong. Class 1: 10 of 1000 wrong. Class 2: none.
    counts = torch.tensor([[10, 10, 0], [10, 990, 0], [0, 0, 500]])
    draw_confusion(counts, ["a", "b", "c"], path=path)
    image = pixels(path)
    axes = drawn[0].axes[0]

    def cell(true, predicted):
        # Away from the number in the middle.
        x, y = axes.transData.transform((predicted + 0.3, true + 0.3))
        return image[image.shape[0] - 1 - int(y), int(x)]

    saturation = {(i, j): int(np.ptp(cell(i, j))) for i in range(3) for j in range(3)}
    assert saturation[0, 1] > saturation[1, 0] + 30
    assert saturation[1, 0] > 15  # 1 % is seen beside 50 %
    assert saturation[0, 2] == 0  # white
    assert {tuple(cell(k, k)) for k in range(3)} == {(0xCF, 0xD8, 0xDE)}


def test_rows_are_the_true_classes(path, drawn):
    draw_confusion(matrix(2), ["cat", "dog"], path=path)
    axes = drawn[0].axes[0]
    (seven,) = [text for text in axes.texts if text.get_text() == "7"]
    assert seven.get_position() == (0, 1)  # x: predicted cat, y: true dog
    assert axes.get_ylabel() == "true class"
    assert axes.get_xlabel() == "predicted class"
    assert axes.yaxis_inverted()


def test_an_empty_matrix_has_no_accuracy(path, drawn):
    draw_confusion(torch.zeros(3, 3), ["a", "b", "c"], path=path)
    assert drawn[0].axes[0].get_title(loc="left") == "0 examples"


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (4,), (0, 0)])
def test_a_matrix_without_its_names_is_refused(shape, path):
    names = ["a", "b"] if shape != (0, 0) else []
    with pytest.raises(ValueError, match="class names"):
        draw_confusion(torch.zeros(shape), names, path=path)


# Mistakes.


def mistakes(count, total, path):
    labels = torch.arange(count) % 10
    confidence = torch.linspace(0.95, 0.35, count)
    draw_mistakes(
        plain(count, (0.0, 1.0, 0.0)), labels, (labels + 1) % 10, confidence, DIGITS,
        path=path, total=total,
    )  # fmt: skip


def test_each_mistake_is_named_with_its_confidence(path, drawn):
    mistakes(3, 3, path)
    assert {"0 → 1 (0.95)", "1 → 2 (0.65)", "2 → 3 (0.35)"} <= set(strings(drawn[0]))
    assert "The 3 mistakes, the most confident first" in strings(drawn[0])
    assert count_pixels(path, [0, 255, 0]) > 50_000
    assert count_pixels(path, WRONG) > 1000


def test_at_most_24_are_drawn_of_all(path, drawn):
    mistakes(30, 1234, path)
    shown = strings(drawn[0])
    assert sum("(0." in text for text in shown) == 24
    assert "The 24 most confident of 1\N{NARROW NO-BREAK SPACE}234 mistakes" in shown
    assert_neat(drawn[0])


def test_one_mistake(path, drawn):
    mistakes(1, 1, path)
    assert "The only mistake" in strings(drawn[0])
    assert_neat(drawn[0])


def test_no_mistake_is_said_in_words(path, drawn):
    mistakes(0, 0, path)
    assert strings(drawn[0]) == ["No mistakes: every prediction is right."]
    assert_neat(drawn[0])
    assert count_pixels(path, WRONG) == 0
    assert (pixels(path) < 100).any()


@pytest.mark.parametrize(("count", "total"), [(3, 2), (0, 5), (2, 0)])
def test_an_impossible_total_is_refused(count, total, path):
    with pytest.raises(ValueError, match="total"):
        mistakes(count, total, path)
    assert not path.exists()


# Prediction.


def bar_axes(figure):
    (axes,) = [axes for axes in figure.axes if axes.patches]
    return axes


def bars(figure):
    return bar_axes(figure).patches


def test_image_reconstruction_and_winner_are_seen(path, drawn):
    activation = torch.tensor([0.1, 0.8, 0.25])
    image, rebuilt = plain(1, (1.0, 0.0, 0.0))[0], plain(1, (0.0, 0.0, 1.0))[0]
    draw_prediction(image, rebuilt, activation, ["a", "b", "c"], path=path, title="file.png")
    assert count_pixels(path, [255, 0, 0]) > 20_000
    assert count_pixels(path, [0, 0, 255]) > 20_000
    np.testing.assert_allclose([bar.get_width() for bar in bars(drawn[0])], activation)
    first, winner, last = (bar.get_facecolor() for bar in bars(drawn[0]))
    assert first == last != winner
    assert {"file.png", "prediction: b (0.80)", "0.10", "0.25"} <= set(strings(drawn[0]))
    assert_neat(drawn[0])


def test_without_reconstruction_there_is_none(path, drawn):
    draw_prediction(noise(3, 8, 8), None, noise(4), ["a", "b", "c", "d"], path=path, title="x")
    assert "reconstruction" not in strings(drawn[0])
    assert len(drawn[0].axes) == 2
    assert_neat(drawn[0])


@pytest.mark.parametrize("rebuilt", [True, False])
def test_of_many_classes_the_highest_20_in_class_order(rebuilt, path, drawn):
    activation = noise(60)
    names = [f"letter {k}" for k in range(60)]
    image = noise(1, 8, 20)
    draw_prediction(
        image, image if rebuilt else None, activation, names, path=path, title="a" * 300
    )
    kept = sorted(activation.argsort(descending=True)[:20].tolist())
    shown = [label.get_text() for label in bar_axes(drawn[0]).get_yticklabels()]
    assert shown == [f"letter {k}" for k in kept]
    np.testing.assert_allclose([bar.get_width() for bar in bars(drawn[0])], activation[kept])
    winner = names[int(activation.argmax())]
    assert any(text.startswith(f"prediction: {winner} (") for text in strings(drawn[0]))
    assert_neat(drawn[0])


def test_a_missing_activation_is_not_the_winner(path, drawn):
    activation = torch.tensor([math.nan, 0.5, 0.1])
    draw_prediction(noise(1, 8, 8), None, activation, ["a", "b", "c"], path=path, title="x")
    assert {"prediction: b (0.50)", "nan"} <= set(strings(drawn[0]))


def test_one_name_for_each_class(path):
    with pytest.raises(ValueError, match="activation"):
        draw_prediction(noise(1, 8, 8), None, noise(3), ["a"], path=path, title="x")
