"""What routing changed, what a capsule sees, its matrix W, the votes: held to arithmetic."""

from typing import Any

import numpy as np
import pytest
import torch

import torchcaps
from tests.explorer_page import (
    coupling,
    drawn,
    lengths,
    press,
    set_activation,
    set_range,
    settle,
    state,
    texts,
)
from torchcaps.explorer import SHIPPED, write_explorer
from torchcaps.explorer.network import page_model
from torchcaps.models import CapsNet, ImageCapsNet

FIELD = 17  # pixels: two convolutions with kernels of 9, of which the second has a stride of 2


def number(text):
    return float(text.replace("−", "-").replace("+", ""))


@pytest.fixture(scope="module")
def model():
    return page_model(torchcaps.load_model(SHIPPED))


def show(page, selector):
    page.locator(selector).scroll_into_view_if_needed()
    settle(page)


def votes_for(page, j):
    """û_ij of all input capsules for class j, [I, D]."""
    flat = page.evaluate(
        """(j) => {
          const { model, votesOf, store } = torchcaps;
          const { primary } = store.state.result;
          return Array.from({ length: model.I }, (_, i) =>
            Array.from(votesOf(model, primary, i).subarray(j * model.D, (j + 1) * model.D)));
        }""",
        j,
    )
    return np.array(flat)


def known_excitation(page):
    """Wait until the page knows what excites its capsules."""
    page.evaluate(
        """async () => {
          while (!torchcaps.store.state.excited) await new Promise(requestAnimationFrame);
        }"""
    )
    settle(page)


# --- with and without routing
def compared(page):
    show(page, "#compare")
    return np.array([[number(x) for x in texts(page, f"#compare-table td.{kind}")]
                     for kind in ("without", "with")])  # fmt: skip


@pytest.mark.parametrize("iterations", [3, 6])
def test_lengths_without_routing_are_those_of_one_iteration(page, iterations):
    set_range(page, "#rounds", iterations)
    without, routed = compared(page)
    assert routed == pytest.approx(lengths(page), abs=6e-3)
    assert texts(page, "#compare-table thead th")[1:] == ["r = 1", f"r = {iterations}"]
    set_range(page, "#scrubber", 0)  # whatever moment is shown
    assert (compared(page) == (without, routed)).all()
    bars = page.locator(".compare-bar.with").evaluate_all(
        "(all) => all.map((bar) => bar.getBoundingClientRect().width)"
    )
    assert np.argmax(bars) == np.argmax(routed)
    set_range(page, "#rounds", 1)
    assert without == pytest.approx(lengths(page), abs=6e-3)
    assert "Set more of them" in page.locator("#compare-words").text_content()


def test_the_words_name_what_routing_turned_round(page):
    """Lengths are set by hand, as of an image that routing alone tells."""
    equal, routed = {4: 0.5, 9: 0.4}, {4: 0.3, 9: 0.8}
    set_activation(page, *([of.get(j, 0) for j in range(10)] for of in (equal, equal, routed)))
    show(page, "#compare")
    assert page.locator("#compare-words").text_content() == (
        "With equal shares the longest is 4 (0.50). Routing makes it 9 (0.80)."
    )


# --- what a capsule sees
@pytest.mark.parametrize("i", [0, 77, 287])
def test_the_pixels_shown_are_those_that_move_the_capsule(page, model, i):
    """Gradients of |u_i| are zero everywhere but in the field that the page shows."""
    images = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    model.primary_capsules(images).pose[0, i].square().sum().backward()
    seen = images.grad[0, 0].abs().numpy() > 0
    rows, columns = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
    seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    page.evaluate("(i) => torchcaps.store.set({ input: i })", i)
    show(page, "#pair")
    shown = drawn(page, "#pair-pixels canvas >> nth=0")
    whole = np.array(state(page, "image")).reshape(28, 28)
    assert seen.sum() == FIELD**2
    assert np.allclose(shown.ravel() / 255, whole[seen], atol=0.51 / 255)
    veiled = np.abs(drawn(page, "#preview") / 255 - whole) > 0.01
    assert not (veiled & seen).any()
    assert veiled[~seen & (whole < 0.3)].all()


def test_pointing_at_a_capsule_shows_its_pixels(page):
    place = page.evaluate(
        """() => {
          const { layout } = torchcaps.view;
          const tile = layout.tile(3);
          const frame = document.getElementById("stage").getBoundingClientRect();
          return [frame.left + tile.x + 2.5 * layout.cell, frame.top + tile.y + 1.5 * layout.cell];
        }"""
    )
    page.mouse.move(*place)
    settle(page)
    assert state(page, "hovered") == 3 * 36 + 6 + 2
    assert state(page, "input") is None
    whole = np.array(state(page, "image")).reshape(28, 28)
    shown = drawn(page, "#tip-patches canvas >> nth=0")
    assert np.allclose(shown / 255, whole[2 : 2 + FIELD, 4 : 4 + FIELD], atol=0.51 / 255)
    preview = drawn(page, "#preview")
    page.mouse.move(5, 5)
    settle(page)
    assert state(page, "hovered") is None
    assert (drawn(page, "#preview") != preview).any()
    tab = page.locator(".cell-cursor")
    tab.focus()
    page.keyboard.press("Home")
    settle(page)
    assert state(page, "hovered") == 0
    assert np.allclose(drawn(page, "#tip-patches canvas >> nth=0") / 255,
                       whole[:FIELD, :FIELD], atol=0.51 / 255)  # fmt: skip


def test_what_excites_a_capsule_is_what_it_is_longest_for(page, model):
    i = 150
    page.evaluate("(i) => torchcaps.store.set({ input: i })", i)
    show(page, "#pair")
    known_excitation(page)
    images = np.array(page.evaluate("torchcaps.samples.map(({ image }) => Array.from(image))"))
    images = images.reshape(-1, 1, 28, 28)
    with torch.no_grad():
        awake = (
            model.primary_capsules(torch.tensor(images, dtype=torch.float32)).pose[:, i].norm(dim=1)
        )
    order = awake.argsort(descending=True)[:4]
    told = [number(text) for text in texts(page, "#pair-pixels figcaption")[1:]]
    assert told == pytest.approx(awake[order].tolist(), abs=6e-3)
    row, column = i % 36 // 6, i % 6
    for place, k in enumerate(order.tolist()):
        patch = images[k, 0, 2 * row : 2 * row + FIELD, 2 * column : 2 * column + FIELD]
        shown = drawn(page, f"#pair-pixels canvas >> nth={place + 1}")
        assert np.allclose(shown / 255, patch, atol=0.51 / 255)


def test_a_field_may_reach_over_the_edge(open_page, tmp_path):
    """Where the convolutions pad; what lies beyond is black."""
    model = ImageCapsNet(17, 1, 3, ["a", "b", "c"], reconstruct=False).eval()
    write_explorer(model, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html", reduced_motion="reduce")
    settle(page)
    page.select_option("#fit", "whole")
    page.evaluate(
        """() => {
          const { context, canvas } = torchcaps.board;
          context.fillStyle = "#fff";
          context.fillRect(0, 0, canvas.width, canvas.height);
          canvas.dispatchEvent(new Event("painted"));
        }"""
    )
    settle(page)
    page.evaluate("torchcaps.store.set({ input: 0 })")
    show(page, "#pair")
    shown = drawn(page, "#pair-pixels canvas >> nth=0")
    assert (shown[0] == 0).all()
    assert (shown[:, 0] == 0).all()
    assert shown[-1, -1] > 200
    assert page.locator("#pair-pixels figure:visible").count() == 1  # of no images nothing is told


# --- W
def test_the_matrix_makes_the_vote(page, model):
    page.evaluate("torchcaps.store.set({ input: 77, output: 8 })")
    show(page, "#matrix-table")
    weight = model.classes.weight[77, 8].detach().numpy()
    labels = page.locator("#matrix-table .entry").evaluate_all(
        "(all) => all.map((cell) => cell.getAttribute('aria-label').split(': ')[1])"
    )
    numbers = [number(text) for text in labels]
    u, rows = np.array(numbers[:8]), np.array(numbers[8:]).reshape(16, 9)
    assert np.allclose(rows[:, :8], weight, atol=6e-4)
    assert np.allclose(rows[:, 8], votes_for(page, 8)[77], atol=6e-4)
    assert np.allclose(weight @ u, rows[:, 8], atol=0.02)
    assert "type 3, row 1, column 6 to class 8" in page.locator("#matrix-caption").text_content()
    page.evaluate("torchcaps.store.set({ output: 1 })")
    settle(page)
    other = page.locator("#matrix-table .entry").nth(8).get_attribute("aria-label")
    assert number(other.split(": ")[1]) == pytest.approx(
        model.classes.weight[77, 1, 0, 0].item(), abs=6e-4
    )


def test_an_entry_of_the_matrix_is_told_by_pointer_and_keys(page, model):
    page.evaluate("torchcaps.store.set({ input: 77, output: 8 })")
    show(page, "#matrix-table")
    weight = model.classes.weight[77, 8].detach().numpy()
    u = page.evaluate("Array.from(torchcaps.store.state.result.primary.subarray(77 * 8, 78 * 8))")
    said = lambda: [number(part.split(" ")[0].strip(":,."))  # noqa: E731
                    for part in page.locator("#matrix-words").text_content().replace("adds", "=")
                    .split("= ")[1:]]  # fmt: skip
    rows = page.locator("#matrix-table tr")
    rows.nth(3).locator("td").nth(4).hover()
    w, times, _, _ = [*said(), 0][:4]
    assert (w, times) == pytest.approx((weight[2, 4], u[4]), abs=6e-4)
    page.mouse.move(5, 5)
    assert "Point at one" in page.locator("#matrix-words").text_content()
    rows.nth(1).locator("td").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert said()[0] == pytest.approx(weight[1, 1], abs=6e-4)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")  # over the edge, to the last row
    assert said()[0] == pytest.approx(weight[15, 1], abs=6e-4)
    assert page.locator("#matrix-table [tabindex='0']").count() == 1


def test_iterations_go_back_and_on_beside_the_votes(page):
    set_range(page, "#scrubber", 0)
    press(page, "#on")  # into the first
    steps = []
    for button in ("forward", "forward", "forward", "rewind", "rewind", "rewind"):
        if page.locator(f"#{button}").is_enabled():
            press(page, f"#{button}")
        steps.append(state(page, "step"))
    assert steps == [8, 12, 12, 8, 4, 0]
    assert page.locator("#rewind").is_disabled()


# --- votes
def told_of_votes(page):
    show(page, "#arrows")
    return page.locator("#arrows-words").text_content(), page.locator("#arrows-note").text_content()


def test_the_plane_is_that_of_the_principal_directions(page):
    for j in (0, 3, 7):  # one after the other: each has a plane of its own
        page.evaluate("(j) => torchcaps.store.set({ output: j })", j)
        votes = votes_for(page, j)
        values = np.linalg.eigvalsh(votes.T @ votes)
        held = 100 * values[-2:].sum() / values.sum()
        note = told_of_votes(page)[1]
        assert int(note.split("holds ")[1].split(" ")[0]) == pytest.approx(held, abs=0.51)


def test_unanimity_and_agreement_follow_the_iteration(page):
    page.locator(".strip-right + .strip-row button").nth(6).click()  # a 3
    j = int(np.argmax(lengths(page)))
    votes = votes_for(page, j)
    long = np.linalg.norm(votes, axis=1)
    told = []
    for iteration in (1, 2, 3):
        set_range(page, "#scrubber", iteration)
        if iteration < 3:
            page.click("#back")  # line 6, where the shares are those that made the pose
        share = coupling(page, iteration)[:, j]
        pose = np.array(
            page.evaluate(
                "([t, j]) => Array.from(torchcaps.store.state.result.trace.poses[t - 1]"
                ".subarray(16 * j, 16 * j + 16))",
                [iteration, j],
            )
        )
        words = told_of_votes(page)[0]
        kept = 100 * np.linalg.norm(share @ votes) / (share @ long)
        assert int(words.split("keep ")[1].split(" ")[0]) == pytest.approx(kept, abs=0.51)
        agreeing = int((votes @ pose > 0).sum())
        assert words.startswith(f"In iteration {iteration}, ")
        assert int(words.split(" ")[3]) == pytest.approx(agreeing, abs=1)
        told.append(kept)
    assert told[0] < told[1] < told[2]
    set_range(page, "#scrubber", 0)
    assert told_of_votes(page)[0].startswith(f"Before routing, every vote for {j} counts as much")


def test_votes_that_agree_look_other_than_votes_that_do_not(page):
    """The arrows of the answer, and of a class that is not there; before and after routing."""
    best, least = int(np.argmax(lengths(page))), int(np.argmin(lengths(page)))
    pictures, kept = [], []
    for j, iteration in ((best, 3), (least, 3), (best, 1)):
        page.evaluate("(j) => torchcaps.store.set({ output: j })", j)
        set_range(page, "#scrubber", iteration)
        kept.append(int(told_of_votes(page)[0].split("keep ")[1].split(" ")[0]))
        pictures.append(drawn(page, "#arrows"))
    assert kept[0] > 5 * kept[1]
    for other in pictures[1:]:
        assert (pictures[0] != other).mean() > 0.005
    page.click("#theme")  # repainted in the other colours
    settle(page)
    assert (drawn(page, "#arrows") != pictures[2]).mean() > 0.005


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("logits", "(b) => -b"),
        ("coupling", "(c, ij, all) => all[(ij + 10) % all.length]"),  # the next capsule's
    ],
    ids=["agreement", "share"],
)
def test_arrows_are_coloured_by_agreement_and_fade_with_their_share(page, part, change):
    """All else stays: what of the trace is changed is all that can change the picture."""
    set_range(page, "#scrubber", 2)
    told_of_votes(page)
    before = drawn(page, "#arrows")
    page.evaluate(
        f"""() => {{
          const {{ result }} = torchcaps.store.state;
          const {part} = result.trace.{part}.map((table) => table.map({change}));
          torchcaps.store.set({{ result: {{ ...result, trace: {{ ...result.trace, {part} }} }} }});
        }}"""
    )
    settle(page)
    assert (drawn(page, "#arrows") != before).mean() > 0.005


@pytest.mark.parametrize("sizes", [{"pose_dim": 1}, {"pose_dim": 2}, {"num_classes": 2}])
def test_planes_of_other_networks(open_page, tmp_path, sizes):
    """Poses of one or two numbers fill the plane, and nothing complains."""
    options: dict[str, Any] = {
        "image_size": 17, "conv_channels": 4, "primary_types": 2, "decoder_hidden": [5]
    }  # fmt: skip
    write_explorer(CapsNet(**options, **sizes), tmp_path / "page.html")
    page = open_page(tmp_path / "page.html", reduced_motion="reduce")
    settle(page)
    assert "appear here" in page.locator("#arrows-words").text_content()
    page.evaluate(
        """() => {
          const { context, canvas } = torchcaps.board;
          context.fillStyle = "#fff";
          context.fillRect(100, 50, 60, 300);
          canvas.dispatchEvent(new Event("painted"));
        }"""
    )
    settle(page)
    note = told_of_votes(page)[1]
    if sizes.get("pose_dim", 16) <= 2:
        assert "holds 100 %" in note
    assert np.isfinite(drawn(page, "#arrows")).all()
