"""The page as a whole, with the model of the package: drawing, watching, picking, bending."""

import numpy as np
import pytest

from tests import explorer_page
from tests.explorer_page import (
    SEVEN,
    coupling,
    drawn,
    lengths,
    set_activation,
    set_range,
    settle,
    state,
    stroke,
    texts,
)
from torchcaps.data import load_data


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("+", ""))


def table(page):
    """The step panel's table: class → column → number, None where nothing is computed yet."""
    page.locator("#steps").scroll_into_view_if_needed()
    settle(page)
    heads = texts(page, "#numbers-table thead th")
    rows = {}
    for row in page.locator("#numbers-table tbody tr").all():
        name, *cells = row.locator("th, td").all_text_contents()
        numbers = [None if cell == "–" else number(cell) for cell in cells]
        rows[name] = dict(zip(heads[1:], numbers, strict=True))
    return rows


def test_opens_with_a_digit_that_is_read_right(page):
    assert page.locator("#verdict").text_content().startswith("It sees: ")
    assert state(page, "source") is not None
    assert max(lengths(page)) > 0.5
    assert drawn(page, "#preview").shape == (28, 28)


def test_a_stroke_changes_the_lengths(page):
    page.click("#clear")
    settle(page)
    assert page.locator("#verdict").text_content() == "Nothing drawn yet."
    stroke(page, *SEVEN)
    seven = lengths(page)
    assert np.argmax(seven) == 7
    stroke(page, (0.3, 0.55), (0.8, 0.55))  # a bar through it
    assert not np.allclose(seven, lengths(page), atol=0.01)


@pytest.mark.parametrize("pointer", ["mouse", "pen", "touch"])
def test_any_pointer_draws(page, pointer):
    page.click("#clear")
    page.locator("#board").evaluate(
        """(board, pointerType) => {
          const frame = board.getBoundingClientRect();
          const tell = (name, x, y) => board.dispatchEvent(new PointerEvent(name, {
            pointerType, pointerId: 1, isPrimary: true, bubbles: true, cancelable: true, button: 0,
            clientX: frame.left + x * frame.width, clientY: frame.top + y * frame.height }));
          board.setPointerCapture = () => {};
          tell("pointerdown", 0.5, 0.15);
          for (let k = 2; k <= 8; k++) tell("pointermove", 0.5, k / 10);
          tell("pointerup", 0.5, 0.85);
          tell("pointermove", 0.9, 0.1); // lifted: draws no more
        }""",
        pointer,
    )
    found = lengths(page)
    assert np.argmax(found) == 1
    board = drawn(page, "#board")
    assert board[:, board.shape[1] // 2].max() == 255
    assert board[:, int(0.8 * board.shape[1]) :].max() == 0


def test_undo_takes_back_strokes_samples_and_clearing(page):
    before = lengths(page)
    assert page.locator("#undo").is_enabled()
    page.click("#clear")
    stroke(page, *SEVEN)
    stroke(page, (0.3, 0.5), (0.7, 0.5))
    page.click("#undo")
    settle(page)
    one_stroke = lengths(page)
    page.click("#undo")
    settle(page)
    assert state(page, "image") is None
    page.keyboard.press("Control+z")
    assert lengths(page) == pytest.approx(before)
    assert one_stroke != pytest.approx(before, abs=0.01)


def test_digits_painted_on_the_board_are_read(page):
    held_out = load_data("mnist5k").test
    chosen = np.linspace(0, len(held_out) - 1, 100).astype(int)
    images, labels = held_out.images[chosen, 0].numpy(), held_out.labels[chosen].numpy()
    assert set(labels) == set(range(10))
    right = 0
    for image, label in zip(images, labels):
        explorer_page.paint(page, image)
        right += int(np.argmax(lengths(page)) == label)
    print(f"{right} of 100 digits painted on the board are read right")
    assert right >= 95


def test_a_sample_goes_in_as_it_is(page):
    for kind in ("right", "wrong", "overlap"):
        index = page.evaluate(
            "(kind) => torchcaps.samples.findIndex((sample) => sample.kind === kind)", kind
        )
        assert index >= 0
        page.locator(f".strip-{kind} + .strip-row button").first.click()
        settle(page)
        assert state(page, "source") == index
        given = page.evaluate("(n) => Array.from(torchcaps.samples[n].image)", index)
        assert state(page, "image") == given
        shown = drawn(page, "#preview").ravel() / 255
        assert np.allclose(shown, given, atol=0.51 / 255)
    assert "Labels: " in page.locator("#truth").text_content()
    page.locator(".strip-wrong + .strip-row button").first.click()
    settle(page)
    assert page.locator("#truth").text_content().endswith("misread.")


def test_a_stroke_over_a_sample_stays_in_its_frame(page):
    given = np.array(state(page, "image")).reshape(28, 28)
    stroke(page, (0.05, 0.95), (0.06, 0.95))
    together = np.array(state(page, "image")).reshape(28, 28)
    assert np.allclose(together[:24, 4:], given[:24, 4:], atol=1e-6)
    assert together[26, 1] > 0.5
    assert page.locator("#truth").text_content() == ""


def test_coupling_starts_equal_and_sharpens(page):
    set_range(page, "#scrubber", 0)
    assert {row["c used"] for row in table(page).values()} == {0.1}
    assert all(row["|v|"] is None for row in table(page).values())
    assert texts(page, ".bar-value") == ["–"] * 10
    assert np.allclose(coupling(page, 1), 0.1, atol=1e-7)
    spread = [np.abs(coupling(page, t) - 0.1).mean() for t in (1, 2, 3)]
    assert spread[0] < 1e-7 < 1e-4 < spread[1] < spread[2]
    set_range(page, "#scrubber", 3)
    assert len({row["c used"] for row in table(page).values()}) > 1


def test_the_scrubber_shows_the_trace(page):
    for iteration in (1, 2, 3):
        set_range(page, "#scrubber", iteration)
        poses = page.evaluate(
            "(t) => Array.from(torchcaps.store.state.result.trace.poses[t - 1])", iteration
        )
        norms = np.linalg.norm(np.array(poses).reshape(10, 16), axis=1)
        assert np.allclose([number(text) for text in texts(page, ".bar-value")], norms, atol=6e-4)
        assert f"iteration {iteration} of 3" in page.locator("#moment-words").text_content()
        assert page.locator("#scrubber").get_attribute("aria-valuetext").startswith("after")


def test_the_picture_changes_with_the_iteration(page):
    pictures = []
    for iteration in (0, 1, 3):
        set_range(page, "#scrubber", iteration)
        page.evaluate("() => new Promise((go) => setTimeout(go, 100))")
        pictures.append(drawn(page, "#picture"))
    assert (pictures[0] != pictures[2]).mean() > 0.01
    assert (pictures[1] != pictures[2]).mean() > 0.01


def test_play_runs_through_all_lines(page):
    set_range(page, "#scrubber", 3)
    page.evaluate(
        """() => {
          globalThis.seen = [];
          torchcaps.store.onChange(({ step }, changed) => changed.has("step") && seen.push(step));
        }"""
    )
    page.click("#play")
    settle(page)
    assert page.locator("#play").text_content() == "Pause"
    page.evaluate(
        """async () => {
          while (torchcaps.store.state.playing) await new Promise(requestAnimationFrame);
        }"""
    )
    settle(page)
    assert page.locator("#play").text_content() == "Play"
    seen = page.evaluate("seen")
    assert seen[-1] == 12
    # From the start, line by line; a busy machine may draw two steps in one frame.
    assert seen[0] <= 1
    assert seen == sorted(set(seen))
    assert len(seen) > 6


def test_iterations_can_be_chosen(page):
    for rounds in (1, 2, 7, 10):
        set_range(page, "#rounds", rounds)
        assert page.evaluate("torchcaps.store.state.result.trace.poses.length") == rounds
        assert page.locator("#scrubber").get_attribute("max") == str(rounds)
        assert texts(page, "#ticks span") == [str(t) for t in range(rounds + 1)]
        assert f"iteration {rounds} of {rounds}" in page.locator("#moment-words").text_content()


def test_other_numbers_of_iterations_are_brought_into_range(page):
    for given, expected in (("11", 10), ("", 10), ("4.4", 4), ("0", 4), ("-3", 1), ("1e9", 10)):
        page.fill("#rounds", given)
        page.locator("#rounds").press("Tab")
        settle(page)
        assert state(page, "iterations") == expected
        assert page.locator("#rounds").input_value() == str(expected)
        assert page.evaluate("torchcaps.store.state.result.trace.poses.length") == expected


def test_picking_an_output_shows_who_votes_for_it(page):
    page.locator("#outputs button").nth(4).click()
    settle(page)
    assert state(page, "output") == 4
    assert page.locator("#outputs button").nth(4).get_attribute("aria-checked") == "true"
    assert page.locator("#voters-heading").text_content().startswith("Most of 4 comes from")
    found = page.evaluate(
        """() => {
          const { result, measures } = torchcaps.store.state;
          const c = result.trace.coupling[2];
          let best = 0;
          const sent = (i) => c[i * 10 + 4] * measures.voteLengths[i * 10 + 4];
          for (let i = 1; i < measures.I; i++) if (sent(i) > sent(best)) best = i;
          return best;
        }"""
    )
    page.locator("#voters button").first.click()
    settle(page)
    assert state(page, "input") == found


def cell_at(page, i):
    """The middle of input capsule i on the screen."""
    place = page.evaluate(
        """(i) => {
          const { layout } = torchcaps.view;
          const tile = layout.tile(Math.floor(i / 36));
          const frame = document.getElementById("stage").getBoundingClientRect();
          return [frame.left + tile.x + ((i % 6) + 0.5) * layout.cell,
            frame.top + tile.y + (Math.floor((i % 36) / 6) + 0.5) * layout.cell];
        }""",
        i,
    )
    return tuple(place)


@pytest.mark.parametrize("i", [77, 287])
def test_picking_an_input_shows_where_it_sends(page, i):
    page.mouse.click(*cell_at(page, i))
    settle(page)
    assert state(page, "input") == i
    name = f"type {i // 36 + 1}, row {i % 36 // 6 + 1}, column {i % 6 + 1}"
    rows = table(page)
    assert page.locator("#numbers-caption").text_content() == f"Input capsule {name}"
    shares = coupling(page, 3)[i]
    assert [rows[str(j)]["c used"] for j in range(10)] == pytest.approx(shares.tolist(), abs=6e-4)
    assert f"{name} sends most to" in page.locator("#voters-heading").text_content()
    assert page.locator("#voters button").first.text_content().startswith(f"{shares.argmax()} · ")
    page.locator("#stage").scroll_into_view_if_needed()
    page.mouse.click(*cell_at(page, i))  # once more lets it go
    settle(page)
    assert state(page, "input") is None


def test_hovering_a_cell_gives_its_true_numbers(page):
    page.mouse.move(*cell_at(page, 40))
    tip = page.locator("#tip")
    assert tip.is_visible()
    shown = int(np.argmax(lengths(page)))
    share = coupling(page, 3)[40, shown]
    assert f"c to {shown} {share:.3f}" in tip.text_content()
    assert "type 2, row 1, column 5" in tip.text_content()


def test_agreement_is_the_dot_product_of_vote_and_pose(page):
    page.mouse.click(*cell_at(page, 150))
    settle(page)
    for iteration in (1, 2, 3):
        set_range(page, "#scrubber", iteration)
        exact = page.evaluate(
            """(t) => {
              const { result } = torchcaps.store.state;
              const votes = torchcaps.votesOf(torchcaps.model, result.primary, 150);
              return Array.from(torchcaps.agreement(votes, result.trace.poses[t - 1], 16));
            }""",
            iteration,
        )
        written = [row["û·v"] for row in table(page).values()]
        assert written == pytest.approx(exact, abs=6e-4)


def test_the_lines_of_procedure_1_with_their_numbers(page):
    set_range(page, "#scrubber", 0)
    page.locator("#steps").scroll_into_view_if_needed()
    settle(page)
    lit = lambda: page.locator("#lines [aria-current=step]").get_attribute("data-line")  # noqa: E731
    assert lit() == "2"
    seen = []
    for _ in range(12):
        page.click("#on")
        settle(page)
        seen.append(lit())
    assert seen == [*"4567", *"4567", *"4568"]
    assert page.locator("#on").is_disabled()
    for _ in range(5):  # to line 7 of iteration 2
        page.click("#back")
    page.click("#on")
    settle(page)
    assert (lit(), state(page, "step")) == ("7", 8)
    after = table(page)
    page.click("#back")
    settle(page)
    before = table(page)
    for j in map(str, range(10)):
        assert after[j]["b"] == pytest.approx(before[j]["b"] + after[j]["û·v"], abs=2e-3)
    assert "agreement" not in page.locator("#sentence").text_content()


def test_a_slider_bends_the_reconstruction(page):
    original = drawn(page, "#draw-output")
    assert page.locator("#sliders input").count() == 16
    for d in (0, 7, 15):
        set_range(page, f"#sliders label:nth-child({d + 1}) input", 0.25)
        page.evaluate("() => new Promise((go) => setTimeout(go, 150))")
        bent = drawn(page, "#draw-output")
        assert (bent != original).any()
        exact = page.evaluate(
            """(d) => {
              const { result } = torchcaps.store.state;
              const pose = Float32Array.from(result.trace.poses[2]);
              pose[result.shown * 16 + d] += 0.25;
              return Array.from(torchcaps.reconstruct(torchcaps.model, pose, result.shown));
            }""",
            d,
        )
        assert np.abs(bent.ravel() / 255 - np.array(exact)).max() < 0.51 / 255
        page.click("#draw-reset")
        page.evaluate("() => new Promise((go) => setTimeout(go, 150))")
        settle(page)
        assert (drawn(page, "#draw-output") == original).all()


def test_free_sliders_reach_further_and_come_back(page):
    slider = page.locator("#sliders input").first
    assert slider.get_attribute("max") == "0.25"
    page.check("#draw-free")
    assert slider.get_attribute("max") == "1"
    set_range(page, "#sliders label:nth-child(1) input", 0.9)
    assert page.locator(".slider-value").first.text_content() == "+0.90"
    page.uncheck("#draw-free")
    assert page.locator(".slider-value").first.text_content() == "+0.25"


def test_reconstruct_as_another_class(page):
    original = drawn(page, "#draw-output")
    page.select_option("#draw-choice", "8")
    page.evaluate("() => new Promise((go) => setTimeout(go, 150))")
    settle(page)
    exact = page.evaluate(
        """() => {
          const { result } = torchcaps.store.state;
          return Array.from(torchcaps.reconstruct(torchcaps.model, result.trace.poses[2], 8));
        }"""
    )
    shown = drawn(page, "#draw-output")
    assert np.abs(shown.ravel() / 255 - np.array(exact)).max() < 0.51 / 255
    assert (shown != original).any()
    assert page.locator("#draw-words").text_content() == "drawn as 8"


def test_two_long_capsules_are_asked_about(page):
    page.locator(".strip-overlap + .strip-row button").first.click()
    settle(page)
    set_activation(page, [{3: 0.8, 8: 0.7}.get(j, 0.05) for j in range(10)])
    assert page.locator("#verdict").text_content().startswith("Two digits? 3 (0.80) and 8 (0.70)")


def test_the_charts_give_their_numbers(page):
    page.locator("#charts").scroll_into_view_if_needed()
    settle(page)
    change, entropy = page.evaluate(
        """() => {
          const { trace } = torchcaps.store.state.result;
          return [torchcaps.meanChange(trace), torchcaps.entropies(trace)];
        }"""
    )
    label = page.locator("#entropy svg").get_attribute("aria-label")
    assert [f"{value:.3f}" for value in entropy] == [
        part.split(": ")[1].rstrip(".") for part in label.split(". ", 1)[1].split("; ")
    ]
    assert entropy[0] == pytest.approx(np.log(10), abs=1e-5)
    assert entropy[2] < entropy[0]
    assert page.locator("#change circle").count() == len(change) == 2
    assert page.locator("#entropy circle").count() == 3


def test_contrast_is_labelled(page):
    ends = {"1": ("c near 0", "c = 1"), "4": ("c ≤ 0.056", "c ≥ 0.178"), "16": ("0.087", "0.115")}
    for gain, (low, high) in ends.items():
        page.select_option("#gain", gain)
        settle(page)
        assert low in page.locator(".legend-low").text_content()
        assert high in page.locator(".legend-high").text_content()
    assert "16 times" in page.locator("#legend-note").text_content()
    page.select_option("#colour-by", "agreement")
    settle(page)
    assert "agreement" in page.locator("#legend-note").text_content()


def test_what_is_out_of_sight_catches_up(page):
    page.set_viewport_size({"width": 1280, "height": 500})
    set_range(page, "#scrubber", 1)
    page.evaluate("() => new Promise((go) => setTimeout(go, 400))")
    assert page.evaluate("document.getElementById('steps').getBoundingClientRect().top > 500")
    # However long that takes beside other work.
    page.locator("#lines [data-line='7'][aria-current=step]").wait_for(state="attached")
    assert page.locator("#lines [aria-current=step]").count() == 1
    assert page.locator("#numbers-table tbody tr").first.text_content().startswith("0")


def test_dragging_a_vote_of_the_small_example_moves_its_coupling(page):
    page.locator("#planes").scroll_into_view_if_needed()
    # What is filled once things have come to rest moves what is below it.
    page.evaluate("() => new Promise((go) => setTimeout(go, 400))")
    page.locator("#planes").scroll_into_view_if_needed()
    rows = lambda: texts(page, "#shares tbody tr:first-child td")  # noqa: E731
    before = rows()
    assert before[0] == "0.50 | 0.50"
    assert number(before[2].split(" | ")[0]) < 0.3  # a opposes 1
    grip = page.locator(".plane .grip").first.bounding_box()
    plane = page.locator(".plane").first.bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    # To where the others point: 25° up, to the right.
    page.mouse.move(
        plane["x"] + 0.85 * plane["width"], plane["y"] + 0.35 * plane["height"], steps=5
    )
    page.mouse.up()
    assert number(rows()[2].split(" | ")[0]) > 0.4
    page.locator("#scenes button").nth(2).click()
    assert rows()[2] == "0.50 | 0.50"
    set_range(page, "#two-rounds", 5)
    assert len(rows()) == 5


def test_light_and_dark(page):
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    picture = drawn(page, "#picture")
    page.click("#theme")
    page.evaluate("() => new Promise((go) => setTimeout(go, 100))")
    assert page.evaluate(background) != light
    assert (drawn(page, "#picture") != picture).any()
    page.emulate_media(color_scheme="dark")
    page.click("#theme")
    assert page.evaluate(background) == light


@pytest.mark.parametrize("width", [360, 768, 1280, 3840])
def test_every_width_fits(open_page, page_file, width):
    page = open_page(page_file, viewport={"width": width, "height": 800})
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(
        """() => [...document.querySelectorAll("main *")]
          .filter((node) => node.getClientRects().length)
          .filter((node) => !node.closest(".unseen, .scroller, .strip-row"))
          .every((node) => node.getBoundingClientRect().right <= innerWidth + 1)"""
    )
