import pytest
import torch

from tests.training.pictures.examples import DIGITS, plain
from tests.training.pictures.figure_checks import assert_neat, count_pixels, pixels, rgb, strings
from torchcaps.training.pictures import draw_mistakes
from torchcaps.training.pictures.style import WRONG


def mistakes(count, total, path):
    labels = torch.arange(count) % 10
    confidence = torch.linspace(0.95, 0.35, count)
    draw_mistakes(
        plain(count, (0.0, 1.0, 0.0)), labels, (labels + 1) % 10, confidence, DIGITS,
        path=path, total=total,
    )  # fmt: skip


def test_each_mistake_is_named_with_its_confidence(path, written):
    mistakes(3, 3, path)
    assert {"0 → 1 (0.95)", "1 → 2 (0.65)", "2 → 3 (0.35)"} <= set(strings(written[0]))
    assert "The 3 mistakes, the most confident first" in strings(written[0])
    assert count_pixels(path, [0, 255, 0]) > 50_000
    assert count_pixels(path, rgb(WRONG)) > 1000


def test_at_most_24_are_drawn_of_all(path, laid_out):
    mistakes(30, 1234, path)
    shown = strings(laid_out[0])
    assert sum("(0." in text for text in shown) == 24
    assert "The 24 most confident of 1\N{NARROW NO-BREAK SPACE}234 mistakes" in shown
    assert_neat(laid_out[0])


def test_one_mistake(path, laid_out):
    mistakes(1, 1, path)
    assert "The only mistake" in strings(laid_out[0])
    assert_neat(laid_out[0])


def test_no_mistake_is_said_in_words(path, written):
    mistakes(0, 0, path)
    assert strings(written[0]) == ["No mistakes: every prediction is right."]
    assert_neat(written[0])
    assert count_pixels(path, rgb(WRONG)) == 0
    assert (pixels(path) < 100).any()


@pytest.mark.parametrize("count", [1, 24])
def test_a_network_that_has_not_learned_is_not_called_confident(count, path, laid_out):
    labels = torch.zeros(count, dtype=torch.int64)
    warning = "The network has not learned: " + "all 200 held-out images are taken for “1”, " * 3
    draw_mistakes(
        plain(count), labels, labels + 1, torch.ones(count), DIGITS,
        path=path, total=100, warning=warning,
    )  # fmt: skip
    said = strings(laid_out[0])
    assert f"{count} of 100 mistakes" in said
    assert not any("confident" in text for text in said)
    assert sum("(> 0.99)" in text for text in said) == count
    assert warning.strip() in " ".join(said)
    assert_neat(laid_out[0])


@pytest.mark.parametrize(("count", "total"), [(3, 2), (0, 5), (2, 0)])
def test_an_impossible_total_is_refused(count, total, path):
    with pytest.raises(ValueError, match="total"):
        mistakes(count, total, path)
    assert not path.exists()
