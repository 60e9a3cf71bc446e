"""Class names as they are seen in a picture."""

from tests.training.pictures import examples
from tests.training.pictures.examples import LONG, NO_FONT_HAS, matrix, noise
from tests.training.pictures.figure_checks import strings
from torchcaps.training.pictures import draw_confusion, draw_prediction, text


def test_of_a_name_of_a_million_characters_one_line_is_looked_up():
    assert text.legible(["x" * 10**6, "y"]) == ["x" * 300, "y"]


def test_a_name_that_loses_characters_carries_its_number(path, laid_out):
    names = ["cat", NO_FONT_HAS, NO_FONT_HAS]
    draw_prediction(noise(1, 8, 8), None, noise(3), names, path=path, title=f"a{NO_FONT_HAS}.png")
    shown = strings(laid_out[0])
    assert {"cat", "1: □", "2: □", "a□.png"} <= set(shown)


def test_an_installed_font_supplies_what_the_first_one_lacks(path, laid_out, monkeypatch):
    letter = "\U0001d49c"  # 𝒜: not in DejaVu Sans, in STIX, which comes with matplotlib
    monkeypatch.setattr(text, "FALLBACK_FONTS", ())
    draw_confusion(matrix(2), [letter, "b"], path=path)
    monkeypatch.setattr(text, "FALLBACK_FONTS", ("No Such Font", "STIXGeneral"))
    draw_confusion(matrix(2), [letter, "b"], path=path)
    assert "0: □" in strings(laid_out[0])
    assert letter in strings(laid_out[1])


def test_long_names_end_with_an_ellipsis_and_keep_the_confidence(path, laid_out):
    examples.mistakes(path, LONG)
    tiles = [said for said in strings(laid_out[0]) if said.startswith("→ a")]
    assert len(tiles) == 13
    assert all("… (0." in said for said in tiles)
