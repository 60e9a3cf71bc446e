"""The page for other networks: sizes, colour, no decoder, and names that mean harm."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine_page import with_statistics
from tests.explorer_page import (
    SEVEN,
    coupling,
    drawn,
    lengths,
    set_range,
    settle,
    state,
    stroke,
    texts,
)
from torchcaps.data import ImageData
from torchcaps.explorer import write_explorer
from torchcaps.explorer.network import page_model
from torchcaps.models import CapsNet, Classifier, ImageCapsNet
from torchcaps.routing import DynamicRouting

TINY: dict[str, Any] = {
    "image_size": 17,
    "conv_channels": 4,
    "primary_types": 2,
    "decoder_hidden": [6],
}
NASTY = (
    "<img src=x onerror=document.title='taken'>",
    "</script><script>document.title='taken'</script>",
    "<!-- ${document.title='taken'}",
    "a name of so many words that it cannot possibly stand beside a bar, and with a\nbreak",
)


def images_of(model: Classifier) -> ImageData:
    images = torch.randint(256, (12, model.channels, *model.image_size), dtype=torch.uint8)
    return ImageData(images, torch.arange(12) % model.num_classes, model.class_names, "noise")


@pytest.fixture
def open_model(open_page, tmp_path):
    def open_it(model, held_out=None, **options):
        write_explorer(model, tmp_path / "page.html", held_out)
        page = open_page(tmp_path / "page.html", **{"reduced_motion": "reduce", **options})
        settle(page)
        return page

    return open_it


def test_names_are_text_and_nothing_else(open_model):
    model = CapsNet(**TINY, num_classes=4, class_names=NASTY)
    model.metadata = {"data": "<img src=y onerror=document.title='taken'></title>"}
    page = open_model(model, images_of(model), viewport={"width": 360, "height": 700})
    assert texts(page, ".bar-name") == list(NASTY)
    page.locator("#outputs button").nth(1).click()
    page.locator("#strip button").last.click()
    page.locator("#steps").scroll_into_view_if_needed()
    settle(page)
    assert page.locator("img, script:not([type]) ~ script").count() == 0
    assert page.title() == "Draw and watch it being routed"
    assert "<img src=y" in page.locator("#title").text_content()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_model_in_colour_and_not_square(open_model):
    model = CapsNet(**{**TINY, "image_size": (18, 25)}, channels=3, num_classes=2)
    page = open_model(model, images_of(model))
    assert drawn(page, "#preview").shape == (18, 25)
    board = page.locator("#board").bounding_box()
    assert board["width"] / board["height"] == pytest.approx(25 / 18, rel=0.02)
    assert page.locator("#fit").input_value() == "whole"
    page.click("#clear")
    page.fill("#ink", "#ff0000")
    stroke(page, *SEVEN)
    red, green, blue = np.array(state(page, "image")).reshape(3, 18, 25)
    assert red.max() > 0.9
    assert green.max() == blue.max() == 0
    page.select_option("#fit", "centre")
    settle(page)
    assert np.array(state(page, "image")).reshape(3, -1).max(axis=1).tolist() == [1, 1, 1]
    assert len(lengths(page)) == 2


def test_a_model_without_a_decoder(open_model):
    page = open_model(CapsNet(**TINY, reconstruct=False))
    assert "without a decoder" in page.locator("#drawing-parts").text_content()
    assert page.locator("#drawing-parts input").count() == 0
    stroke(page, *SEVEN)
    assert len(lengths(page)) == 10


def test_a_page_without_samples_starts_empty(open_model):
    page = open_model(CapsNet(**TINY))
    assert page.locator("#strip button").count() == 0
    assert state(page, "result") is None
    assert page.locator("#verdict").text_content() == "Nothing drawn yet."
    assert page.locator("#board-hint").is_visible()
    set_range(page, "#scrubber", 1)  # nothing to show, and nothing breaks
    page.locator("#outputs button").nth(3).click()
    page.click("#play")
    stroke(page, *SEVEN)
    assert not page.locator("#board-hint").is_visible()
    assert sum(lengths(page)) > 0


def test_leaky_routing_starts_with_one_share_more(open_model):
    model = CapsNet(**TINY, num_classes=3, routing=DynamicRouting(2, leaky=True))
    page = open_model(model, images_of(model))
    assert np.allclose(coupling(page, 1), 0.25)
    set_range(page, "#scrubber", 0)
    page.locator("#steps").scroll_into_view_if_needed()
    settle(page)
    assert texts(page, "#numbers-table tbody td:nth-of-type(2)") == ["0.250"] * 3
    assert "0.250" in page.locator(".legend-middle").text_content()


def test_more_iterations_than_the_page_offers(open_model):
    model = CapsNet(**TINY, routing=DynamicRouting(40))
    page = open_model(model, images_of(model))
    assert state(page, "iterations") == 10


def test_thousands_of_capsules(open_model):
    model = CapsNet(image_size=40, conv_channels=8, primary_types=12, decoder_hidden=[6])
    page = open_model(model, images_of(model))
    count = page.evaluate("torchcaps.store.state.measures.I")
    assert count == 12 * 12 * 12
    page.keyboard.press("Tab")
    page.locator(".cell-cursor").focus()
    page.keyboard.press("End")
    assert page.locator(".cell-cursor").get_attribute("aria-label").startswith("type 12, row 12")
    assert page.locator("#cells *").count() == 2  # one cell is in the page, not thousands
    lines = drawn(page, "#picture")
    assert (lines > 0).any()


def test_photos_are_not_drawn_and_the_page_does_not_speak_of_digits(open_model):
    options = {**TINY, "image_size": 64, "conv_channels": 2, "primary_types": 8}
    model = CapsNet(**options, channels=3, num_classes=4, class_names=["ant", "bee", "cow", "dog"])
    model.metadata = {"border_brightness": 0.45, "data": "pictures"}
    page = open_model(model, images_of(model))
    assert page.title() == "Watch an image being routed"
    assert page.locator("h1").text_content() == page.title()
    assert "digit" not in page.locator("main").inner_text()
    assert page.evaluate("torchcaps.store.state.measures.I") == 4608
    note = page.locator("#legend-note").text_content()
    assert note.endswith("Of 4608 capsules the 1500 most awake are drawn.")
    for hidden in ("#ink", "#fit"):
        assert not page.locator(hidden).is_visible()
    seen = state(page, "image")
    stroke(page, *SEVEN)
    page.locator("#board").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert state(page, "image") == seen
    page.click("#clear")
    settle(page)
    assert page.locator("#verdict").text_content() == "No image yet."
    assert "Choose an image below" in page.locator("#board-hint").text_content()


def test_of_thousands_of_capsules_the_most_awake_are_drawn(open_model):
    model = CapsNet(**{**TINY, "image_size": 64, "primary_types": 8}, num_classes=3)
    page = open_model(model, images_of(model))
    drawn_ones = page.evaluate(
        """() => {
          const { awake } = torchcaps.store.state.measures;
          const least = torchcaps.leastDrawn(awake);
          return [awake.length, awake.filter((value) => value >= least).length,
                  torchcaps.leastDrawn(awake.subarray(0, 1152))];
        }"""
    )
    assert drawn_ones == [4608, 1500, 0]


def test_a_decoder_that_is_too_large_for_a_page_is_left_out(open_model, tmp_path):
    model = CapsNet(**{**TINY, "image_size": 40, "decoder_hidden": [2000]}, channels=3)
    page = open_model(model, images_of(model))
    assert (tmp_path / "page.html").stat().st_size < 5_000_000  # with it 28
    assert "too large for a page" in page.locator("#drawing-parts").text_content()
    assert len(lengths(page)) == 10
    assert model.decoder is not None


def test_samples_that_the_model_gets_wrong_are_marked(open_model):
    model = CapsNet(**TINY, num_classes=3)
    page = open_model(model, images_of(model))
    kinds = page.evaluate("torchcaps.samples.map((sample) => sample.kind)")
    for kind in set(kinds):
        row = page.locator(f".strip-{kind} + .strip-row button")
        assert row.count() == kinds.count(kind)


IMAGES: dict[str, dict[str, Any]] = {
    "28 px grey": {"image_size": 28, "decoder_hidden": [9]},
    "32 px RGB without decoder": {"image_size": 32, "channels": 3, "reconstruct": False},
    "64 px RGB with a decoder of convolutions": {"image_size": 64, "channels": 3},
    "17 px padded": {"image_size": 17, "decoder_hidden": [9]},
}


@pytest.mark.parametrize("name", IMAGES)
def test_networks_for_images_of_any_size(open_model, name):
    model = with_statistics(ImageCapsNet(**IMAGES[name], num_classes=3, mean=0.5, std=0.3))
    page = open_model(model, images_of(model))
    image = torch.tensor(state(page, "image")).view(1, model.channels, *model.image_size)
    with torch.no_grad():
        expected = page_model(model)(image)
    assert lengths(page) == pytest.approx(expected.activation[0].tolist(), abs=1e-4)
    if expected.reconstruction is None:
        assert "without a decoder" in page.locator("#drawing-parts").text_content()
    else:
        picture = np.array(state(page, "reconstruction"))
        assert np.abs(picture - expected.reconstruction.flatten().numpy()).max() < 1e-4
        assert drawn(page, "#draw-output").shape == model.image_size


@pytest.mark.parametrize(("width", "least"), [(360, 4), (1280, 6)])
@pytest.mark.parametrize(("size", "side"), [(32, 5), (64, 6), (38, 8)])
def test_the_grids_of_a_thousand_capsules_are_readable(open_model, size, side, width, least):
    """All of them in their place, apart from each other, in cells that can be told apart."""
    model = ImageCapsNet(size, 3, 3, ["automobile", "cat", "ship"], reconstruct=False)
    page = open_model(model, images_of(model), viewport={"width": width, "height": 800})
    cell, labels, tiles, space = page.evaluate(
        """() => {
          const { layout } = torchcaps.view;
          const { width, height } = document.getElementById("cells").getBoundingClientRect();
          const tiles = Array.from({ length: layout.types }, (_, t) => layout.tile(t));
          return [layout.cell, layout.labels, tiles.map(({ x, y }) => [x, y]), [width, height]];
        }"""
    )
    assert model.primary_grid == (side, side)
    assert cell >= least
    assert labels
    across = {x for x, _ in tiles}
    down = {y for _, y in tiles}
    assert len(tiles) == 16 <= len(across) * len(down)
    for places, room in zip((sorted(across), sorted(down)), space):
        assert np.diff(places).min() > cell * side
        assert places[0] > 0
        assert places[-1] + cell * side <= room


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("count", [3, 40])
def test_classes_few_or_many_do_not_hide_each_other(open_model, count, width):
    names = [f"kind {k}" for k in range(count)]
    page = open_model(
        CapsNet(**TINY, num_classes=count, class_names=names),
        viewport={"width": width, "height": 800},
    )
    boxes = page.locator("#outputs button").evaluate_all(
        "(all) => all.map((b) => [b.offsetTop, b.offsetHeight, b.scrollHeight])"
    )
    tops, heights, needed = np.array(boxes).T
    assert (tops[1:] >= (tops + heights)[:-1]).all()
    assert (needed <= heights).all()
    assert heights.max() <= 72


@pytest.mark.parametrize("gain", ["1", "4", "16"])
def test_of_one_class_every_share_is_the_equal_one(open_model, gain):
    model = CapsNet(**TINY, num_classes=1)
    page = open_model(model, images_of(model))
    page.select_option("#gain", gain)
    page.locator("#strip button").first.click()
    settle(page)
    assert page.locator("#legend-note").text_content() == (
        "Colour: coupling c, always 1, for there is one class alone."
    )
    assert texts(page, "#legend .legend-numbers > *") == ["", "1.000", ""]
    assert page.evaluate("(gain) => torchcaps.departure(1, 1, gain)", int(gain)) == 0
