"""The network that was trained on two digits at once, and the page's choice between the two."""

import base64
import hashlib
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import torchcaps
from tests.explorer_page import SEVEN, lengths, set_activation, settle, state, stroke
from torchcaps import InputError
from torchcaps.data import load_data
from torchcaps.explorer import SHIPPED, held_out_images, write_explorer
from torchcaps.explorer.export import page_data
from torchcaps.models import CapsNet

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts/digit_pairs.py"))
DigitPairs, count_found = SCRIPT["DigitPairs"], SCRIPT["count_found"]
SHA256 = "e1fd00b4ed838f324d58c64be7c741345a6963a0542b5bebfc8616bb26095a80"
ONE = ((0.72, 0.2), (0.72, 0.8))
SLIM_SEVEN = ((0.15, 0.2), (0.5, 0.2), (0.3, 0.8))


@pytest.fixture(scope="module")
def pairs() -> Any:
    return torchcaps.load_pretrained("digit-pairs")


@pytest.fixture(scope="module")
def both_file(pairs, tmp_path_factory) -> Path:
    """The page of both networks, as `torchcaps explore` writes it."""
    model = torchcaps.load_model(SHIPPED)
    path = tmp_path_factory.mktemp("both") / "page.html"
    write_explorer(model, path, held_out_images(model), pairs=pairs)
    return path


@pytest.fixture
def page(open_page, both_file):
    page = open_page(both_file, viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    settle(page)
    return page


def loads_anew(page, act):
    """Do what makes the page load itself anew, and wait for it."""
    with page.expect_event("load"):  # which a change of the address alone is not
        act()
    settle(page)


def choose(page, name):
    loads_anew(page, lambda: page.select_option("#network", name))


def verdict(page):
    settle(page)
    return page.locator("#verdict").text_content()


def test_the_weights_are_those_that_were_measured():
    folder = Path(SHIPPED).parent / "shipped_pairs"
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == SHA256


def test_what_comes_with_the_package_stays_small():
    package = Path(torchcaps.__file__).parent
    data = [*package.glob("explorer/shipped*/*"), *package.glob("data/mnist5k/*")]
    assert sum(path.stat().st_size for path in data) < 5_000_000


@pytest.mark.parametrize(("kind", "least"), [(0, 0.93), (1, 0.53), (2, 0.88)])
def test_it_finds_what_is_there(pairs, kind, least):
    """On held-out digits: one, two over each other, two side by side. The other one does not."""
    images = DigitPairs(load_data("mnist5k").test, 2, deformed=False)
    found = count_found(pairs, images, kind, 500)
    print(found)
    assert found.exact / found.images > least
    if kind > 0:
        other = count_found(torchcaps.load_pretrained("digits"), images, kind, 500)
        assert other.exact < 0.3 * found.exact


def test_each_capsule_draws_its_own_digit(pairs):
    """Of two digits, each is nearer to what its own capsule draws than to what the other does."""
    batch = DigitPairs(load_data("mnist5k").test, 2, deformed=False).batch(0, 100, 2)
    with torch.no_grad():
        pose = pairs(batch.images).pose
        first, second = (pairs.decoder(pose, batch.labels[:, k]) for k in (0, 1))
    own = (first - batch.digits[:, 0]).square().flatten(1).sum(1)
    other = (second - batch.digits[:, 0]).square().flatten(1).sum(1)
    assert (own < other).float().mean() > 0.95


def test_the_choice_keeps_the_image_and_changes_the_network(page, pairs):
    assert state(page, "source") == 0
    page.locator(".strip-overlap + .strip-row button").first.click()
    settle(page)
    before, alone, sample = state(page, "image"), lengths(page), state(page, "source")
    choose(page, "pairs")
    assert (state(page, "image"), state(page, "source")) == (before, sample)
    image = torch.tensor(before).view(1, 1, 28, 28)
    with torch.no_grad():
        expected = pairs(image).activation[0].tolist()
    assert lengths(page) == pytest.approx(expected, abs=1e-3)
    assert page.locator("#network").input_value() == "pairs"
    assert "one or two digits" in page.locator("#title").text_content()
    choose(page, "")
    assert lengths(page) == pytest.approx(alone, abs=1e-6)


def test_two_digits_side_by_side_are_answered(page):
    choose(page, "pairs")
    page.click("#clear")
    stroke(page, *SLIM_SEVEN)
    stroke(page, *ONE)
    said = verdict(page)
    assert said.startswith("It sees: ")
    assert "7 (" in said
    assert " and " in said
    assert "1 (" in said
    choose(page, "")
    assert state(page, "source") is None
    assert " and " not in verdict(page)


def test_one_digit_is_answered_too(page):
    choose(page, "pairs")
    page.click("#clear")
    stroke(page, *SEVEN)
    assert verdict(page).startswith("It sees: 7 (")
    assert " and " not in verdict(page)


def test_all_that_is_long_is_named(page):
    choose(page, "pairs")
    set_activation(page, [{3: 0.9, 5: 0.8, 8: 0.7}.get(j, 0) for j in range(10)])
    page.evaluate("torchcaps.data.config.misfit_limit = null")
    page.evaluate("torchcaps.store.set({ step: 0 })")
    page.evaluate("torchcaps.store.set({ step: 12 })")
    assert verdict(page) == "It sees: 3 (0.90) and 5 (0.80) and 8 (0.70)."


def test_the_address_names_the_network(page, open_page, both_file):
    choose(page, "pairs")
    page.evaluate("torchcaps.store.set({ input: 7 })")
    page.evaluate("() => new Promise((go) => setTimeout(go, 900))")
    address = page.evaluate("location.hash")
    assert address.startswith("#network=pairs&")
    other = open_page(both_file, reduced_motion="reduce")
    loads_anew(other, lambda: other.evaluate("(hash) => { location.hash = hash; }", address))
    assert other.locator("#network").input_value() == "pairs"
    assert state(other, "input") == 7
    assert lengths(other) == pytest.approx(lengths(page), abs=1e-6)


def test_samples_are_right_or_wrong_by_the_network_shown(pairs):
    model = torchcaps.load_model(SHIPPED)
    held_out = load_data("mnist5k").test
    data = page_data(model, held_out, pairs=pairs)
    first, second = data["samples"], data["pairs"]["samples"]
    assert first["images"] == second["images"]
    images = torch.frombuffer(
        bytearray(base64.b64decode(second["images"])), dtype=torch.uint8
    ).view(-1, 1, 28, 28)
    said = pairs.predict(images / 255).tolist()
    for answer, label, kind, before in zip(said, second["labels"], second["kinds"], first["kinds"]):
        assert (kind == "overlap") == (before == "overlap")
        assert kind in ("overlap", "right" if answer == label else "wrong")
    assert second["kinds"] != first["kinds"]


def test_without_a_second_network_there_is_no_choice(open_page, page_file):
    page = open_page(page_file, reduced_motion="reduce")
    page.evaluate("location.hash = 'network=pairs&sample=2'")
    settle(page)
    assert not page.locator("#network").is_visible()
    assert state(page, "source") == 2


def test_a_second_network_for_other_images_is_refused():
    model = CapsNet(image_size=17, conv_channels=4, primary_types=2)
    with pytest.raises(InputError, match=r"the network of pairs has the image_size \(28, 28\)"):
        page_data(model, pairs=CapsNet(conv_channels=4, primary_types=2))


@pytest.mark.parametrize(
    ("metadata", "limit", "at_once"),
    [
        ({"threshold": 0.5, "misfit_limit": 0.7, "classes_at_once": 2}, 0.7, 2),
        ({"threshold": 0.5, "misfit_limit": "x", "classes_at_once": "2"}, None, 1),
        ({"misfit_limit": 0.7, "classes_at_once": -3}, None, 1),
        ({"threshold": 0.5, "misfit_limit": -1, "classes_at_once": True}, None, 1),
    ],
)
def test_metadata_may_be_anything(metadata, limit, at_once):
    model = CapsNet(image_size=17, conv_channels=4, primary_types=2)
    model.metadata = metadata
    config = page_data(model)["config"]
    assert (config["misfit_limit"], config["at_once"]) == (limit, at_once)
