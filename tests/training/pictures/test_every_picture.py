"""What holds for all five pictures."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.training.pictures import examples
from tests.training.pictures.examples import DIGITS, LONG, NO_FONT_HAS
from tests.training.pictures.figure_checks import assert_neat, pixels, strings, words
from torchcaps.training import pictures

NAMING = [
    examples.confusion,
    examples.mistakes,
    examples.prediction,
    examples.reconstructions,
]
each_picture = pytest.mark.parametrize("draw", [examples.curves, *NAMING])
each_with_names = pytest.mark.parametrize("draw", NAMING)


def fail(*args, **kwargs):
    raise OSError("disk full")


@each_picture
def test_writes_one_png_the_same_whatever_its_name_and_the_settings_of_matplotlib(draw, path):
    assert draw(path, DIGITS) is None
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
    assert len(np.unique(pixels(path)[:, :, 0])) > 10
    other = path.with_suffix(".pdf")
    settings: dict[Any, Any] = {
        "font.size": 30,
        "axes.facecolor": "black",
        "axes.grid": True,
        "savefig.bbox": "tight",
        "font.family": "serif",
    }
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        draw(str(other), DIGITS)
        assert dict(matplotlib.rcParams) == before
    assert path.read_bytes() == other.read_bytes()


@each_with_names
def test_long_names_neither_overlap_nor_leave_the_figure(draw, path, laid_out):
    draw(path, ["W" * 80] * 10)
    assert_neat(laid_out[0])


@pytest.mark.parametrize("draw", [examples.reconstructions, examples.mistakes])
def test_captions_stand_clear_of_the_tiles(draw, path, laid_out):
    draw(path, LONG)
    tiles = [image.get_window_extent() for image in laid_out[0].axes[0].images]
    captions = [text.get_window_extent() for text in words(laid_out[0])]
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


@each_with_names
def test_names_are_drawn_as_they_are(draw, path, laid_out):
    # Unbalanced math, characters without a glyph, control characters, broken file names.
    hard = ["$x^$", "a_b $", "$\\frac$", f"{NO_FONT_HAS}x", f"{NO_FONT_HAS}y"]
    draw(path, [*hard, "\udc80", "\x00", "", "two\nlines\t", "é→ß"])
    shown = " ".join(strings(laid_out[0]))
    assert NO_FONT_HAS not in shown
    assert "$x^$" in shown
    assert_neat(laid_out[0])


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
    called = {name for draw in [examples.curves, *NAMING] for name in draw.__code__.co_names}
    assert set(pictures.__all__) <= called
