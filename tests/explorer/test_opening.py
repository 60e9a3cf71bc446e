"""The page opens playing, and takes a visitor around."""

import re

import pytest

from tests.explorer_page import SEVEN, settle, state, stroke

STATIONS = 10
PLAYED = """async () => {
  while (torchcaps.store.state.playing) await new Promise(requestAnimationFrame);
}"""


def test_it_opens_playing_to_the_answer(open_page, page_file):
    page = open_page(page_file)
    settle(page)
    assert state(page, "playing")
    assert state(page, "step") < 12
    page.evaluate(PLAYED)
    settle(page)
    assert state(page, "step") == 12
    assert page.locator("#verdict").text_content().startswith("It sees: ")


def test_who_draws_meanwhile_gets_the_answer_at_once(open_page, page_file):
    page = open_page(page_file)
    settle(page)
    assert state(page, "playing")
    page.click("#clear")
    stroke(page, *SEVEN)
    assert not state(page, "playing")
    assert page.locator("#verdict").text_content().startswith("It sees: 7")


def test_it_opens_still_where_motion_is_not_wanted(page):
    assert not state(page, "playing")
    assert state(page, "step") == 12


def test_the_tour_stops_what_plays(page):
    page.click("#play")
    settle(page)
    assert state(page, "playing")
    page.click("#tour-begin")
    settle(page)
    assert (state(page, "step"), state(page, "playing")) == (0, False)


def lit_is_in_sight(page):
    """The part that the tour speaks of, and its words, can both be seen."""
    return page.evaluate(
        """() => {
          const part = document.querySelector(".in-tour").getBoundingClientRect();
          const card = document.querySelector(".tour").getBoundingClientRect();
          const inside = card.top >= 0 && card.bottom <= innerHeight
            && card.left >= 0 && card.right <= innerWidth;
          const seen = Math.min(part.bottom, card.top) - Math.max(part.top, 0);
          return inside && seen >= Math.min(60, part.height - 1);
        }"""
    )


def test_the_tour_by_the_keys(page):
    page.locator("#tour-begin").focus()
    page.keyboard.press("Enter")
    told = []
    for station in range(STATIONS):
        settle(page)
        assert page.locator(".tour .hint").text_content() == f"{station + 1} of {STATIONS}"
        assert page.locator(".in-tour").count() == 1
        assert lit_is_in_sight(page), station
        words = page.locator(".tour-words").text_content()
        assert len(re.findall(r"[.](?: |$)", words)) == 2, words
        told.append((words, state(page, "step"), state(page, "input")))
        page.keyboard.press("ArrowRight")
    assert len({words for words, _, _ in told}) == STATIONS
    assert [step for _, step, _ in told] == [0, 0, 0, 3, 4, 12, 12, 12, 12, 12]
    assert [picked is not None for _, _, picked in told] == [False] * 7 + [True, True, False]
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert page.locator(".tour .hint").text_content() == f"{STATIONS - 1} of {STATIONS}"
    page.keyboard.press("Escape")
    settle(page)
    assert page.locator(".tour").is_hidden()
    assert page.locator(".in-tour").count() == 0
    assert state(page, "input") is None
    assert page.evaluate("document.activeElement.id") == "tour-begin"


@pytest.mark.parametrize("width", [390, 820])
def test_the_tour_by_touch(open_page, page_file, width):
    page = open_page(
        page_file, viewport={"width": width, "height": 844}, has_touch=True, reduced_motion="reduce"
    )
    settle(page)
    page.locator("#tour-begin").tap()
    for station in range(STATIONS):
        settle(page)
        assert lit_is_in_sight(page), station
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".tour .primary").tap()
    settle(page)
    assert page.locator(".tour").is_hidden()
