"""The page without a pointer: every control by Tab, arrows, Enter and the space bar."""

import numpy as np

from tests.explorer_page import drawn, lengths, settle, state, texts

CONTROLS = [
    "theme",
    "board",
    "clear",
    "file",
    "fit",
    "strip",
    "cells",
    "outputs",
    "play",
    "scrubber",
    "rounds",
    "colour-by",
    "gain",
    "voters",
    "draw-choice",
    "sliders",
    "draw-free",
    "matrix-table",
    "back",
    "numbers-table",
    "scenes",
    "planes",
    "two-rounds",
]


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    settle(page)


def focused(page):
    """Id of what has the focus, or of the nearest element around it that has one."""
    return page.evaluate(
        "document.activeElement.closest('[id], a, body').id || document.activeElement.localName"
    )


def tab_to(page, wanted, most=120):
    for _ in range(most):
        page.keyboard.press("Tab")
        if focused(page) == wanted:
            return
    raise AssertionError(f"Tab does not come to {wanted}")


def test_tab_reaches_every_control_once_and_leaves(page):
    reached = []
    for _ in range(150):
        page.keyboard.press("Tab")
        if focused(page) == "body":
            break
        reached.append(focused(page))
    else:
        raise AssertionError("Tab does not get through the page")
    assert [name for name in CONTROLS if name not in reached] == []
    assert reached.index("board") < reached.index("play") < reached.index("draw-choice")
    # A grid, a radio group and a row of the strip are one stop each.
    assert [reached.count(name) for name in ("cells", "outputs", "strip")] == [1, 1, 3]


def test_what_has_the_focus_shows_it(page):
    tab_to(page, "play")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_drawing_with_the_keys(page):
    tab_to(page, "clear")
    press(page, "Enter")
    assert state(page, "image") is None
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab") if focused(page) != "board" else None
    assert focused(page) == "board"
    press(page, "Space", *["ArrowDown"] * 14, "Space")
    assert np.argmax(lengths(page)) == 1
    one = drawn(page, "#board")
    press(page, *["ArrowRight"] * 5)  # the pen is up
    assert (drawn(page, "#board") == one).all()


def test_watching_with_the_keys(page):
    tab_to(page, "scrubber")
    press(page, "Home")
    assert state(page, "step") == 0
    press(page, "ArrowRight", "ArrowRight")
    assert "iteration 2" in page.locator("#moment-words").text_content()
    page.keyboard.press("Shift+Tab")
    press(page, "Enter")
    assert state(page, "playing") is True
    press(page, "Space")
    assert state(page, "playing") is False


def test_picking_outputs_with_the_keys(page):
    tab_to(page, "outputs")
    best = int(np.argmax(lengths(page)))
    press(page, "ArrowDown", "ArrowDown")
    assert state(page, "output") == (best + 2) % 10
    press(page, "End", "ArrowRight")
    assert state(page, "output") == 0
    checked = page.locator("#outputs [aria-checked=true]")
    assert checked.count() == 1
    assert checked.evaluate("(button) => button === document.activeElement")


def test_walking_the_input_capsules_with_the_keys(page):
    tab_to(page, "cells")
    press(page, "Home")
    label = lambda: page.evaluate("document.activeElement.getAttribute('aria-label')")  # noqa: E731
    assert label().startswith("type 1, row 1, column 1: length 0.")
    press(page, "ArrowRight", "ArrowDown", "ArrowDown")
    assert label().startswith("type 1, row 3, column 2")
    assert page.locator("#tip").is_visible()
    press(page, "Enter")
    assert state(page, "input") == 13
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    press(page, *["ArrowRight"] * 5)  # across the edge, into the grid beside it
    assert label().startswith("type 2, row 3, column 1")
    press(page, "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp")
    assert label().startswith("type 2, row 1, column 1")
    press(page, "Escape")
    assert state(page, "input") is None
    press(page, "End")
    assert label().startswith("type 8, row 6, column 6")


def test_the_strip_with_the_keys(page):
    tab_to(page, "strip")
    press(page, "ArrowRight", "Enter")
    index = state(page, "source")
    shown = page.locator("#strip [aria-pressed=true]")
    assert shown.count() == 1
    assert shown.evaluate("(button) => button === document.activeElement")
    assert index == page.evaluate(
        "torchcaps.samples.map((s, n) => [s, n]).filter(([s]) => s.kind === 'right')[1][1]"
    )


def test_bending_with_the_keys(page):
    before = drawn(page, "#draw-output")
    tab_to(page, "sliders")
    press(page, *["ArrowRight"] * 20)
    page.evaluate("() => new Promise((go) => setTimeout(go, 200))")
    assert page.locator(".slider-value").first.text_content() == "+0.20"
    assert (drawn(page, "#draw-output") != before).any()


def test_the_small_example_with_the_keys(page):
    tab_to(page, "planes")
    before = texts(page, "#shares tbody td")
    handle = page.locator(".handle").first
    angle = int(handle.get_attribute("aria-valuenow"))
    press(page, "ArrowRight", "ArrowRight")
    assert int(handle.get_attribute("aria-valuenow")) == angle - 10
    assert texts(page, "#shares tbody td") != before
    press(page, "ArrowDown")
    assert "length 0.85" in handle.get_attribute("aria-valuetext")


def test_terms_explain_themselves_on_hover_and_on_focus(page):
    tip = page.locator("#term-tip")
    names = page.evaluate(
        "[...document.querySelectorAll('[data-term]')].map((n) => n.dataset.term)"
    )
    assert {"capsule", "coupling", "vote", "agreement", "entropy", "margin", "squash"} <= set(names)
    for term in page.locator("[data-term]").all():
        described = term.get_attribute("aria-describedby")
        meaning = page.locator(f"#{described}").text_content()
        assert len(meaning) > 20
        term.focus()
        assert tip.is_visible()
        assert tip.text_content() == meaning
        box = tip.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1280
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("[data-term=agreement]").first.hover()
    assert tip.text_content().startswith("û·v")
    page.locator("#how-heading").hover()
    assert not tip.is_visible()


def test_a_screen_reader_hears_the_result(page):
    page.evaluate("() => new Promise((go) => setTimeout(go, 900))")
    said = page.locator("#news").text_content()
    best = int(np.argmax(lengths(page)))
    assert said.startswith(f"It sees: {best}")
    assert "after iteration 3 of 3" in said
