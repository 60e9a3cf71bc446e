"""What is drawn back unlike the image is nothing that the network knows: an X is no digit."""

import runpy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import torchcaps
from tests.explorer_page import paint, settle, state, stroke
from torchcaps.data import ImageData, load_data
from torchcaps.explorer import SHIPPED
from torchcaps.explorer.export import page_data
from torchcaps.explorer.misfit import misfit, misfit_limit
from torchcaps.explorer.network import page_model
from torchcaps.models import CapsNet

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts/explorer_nonsense.py"))
SHAPES, as_drawn = SCRIPT["SHAPES"], SCRIPT["as_drawn"]
X = SHAPES["X"]


@pytest.fixture(scope="module")
def model():
    return page_model(torchcaps.load_model(SHIPPED))


def verdict(page):
    settle(page)
    return page.locator("#verdict").text_content()


def test_an_x_is_not_two_digits(page):
    page.click("#clear")
    for line in X:
        stroke(page, *line)
    found = page.evaluate("torchcaps.store.state.result.misfit")
    limit = page.evaluate("torchcaps.data.config.misfit_limit")
    lengths = sorted(page.evaluate("Array.from(torchcaps.store.state.result.activation)"))
    assert lengths[-2] > 0.5  # which once read as two digits
    assert found > limit
    assert verdict(page).startswith("Nothing I know: drawn back as ")
    assert f"Misfit {found:.2f}" in page.locator("#misfit").text_content()
    page.evaluate("torchcaps.data.config.misfit_limit = null")  # as of a network without a limit
    page.evaluate("torchcaps.store.set({ step: 0 })")
    page.evaluate("torchcaps.store.set({ step: 12 })")
    settle(page)
    assert verdict(page).startswith("Two digits? ")


@torch.no_grad()
def test_two_digits_that_are_drawn_back_stay_two(page, model):
    """Held-out digits over each other, by a limit that a drawing of one of them would exceed."""
    images = load_data("mnist5k").test.images
    both = torch.maximum(images[:500], images[500:1000])
    pose, activation, _ = model(both / 255)
    one = model.decoder(pose, activation.argmax(dim=1))
    alone = (one - both / 255).square().flatten(1).sum(1)
    alone /= (both / 255).square().flatten(1).sum(1)
    together = misfit(model, both / 255).value
    gain = torch.where((activation > 0.52).sum(dim=1) == 2, alone - together, 0)
    k = int(gain.argmax())
    assert gain[k] > 0.1
    page.select_option("#fit", "whole")
    for limit, said in [(alone[k] - 0.04, "Two digits? "), (together[k] - 0.04, "Nothing I know")]:
        page.evaluate("(limit) => { torchcaps.data.config.misfit_limit = limit; }", float(limit))
        paint(page, both[k, 0].numpy())
        assert verdict(page).startswith(said)


def test_the_page_and_python_measure_the_same(page, model):
    held_out = load_data("mnist5k").test
    rows = [*held_out.images[:6, 0].numpy(), as_drawn(X), as_drawn(SHAPES["two bars"])]
    page.select_option("#fit", "whole")
    for image in rows:
        paint(page, image)
        given = torch.tensor(state(page, "image")).view(1, 1, 28, 28)
        found = page.evaluate("torchcaps.store.state.result.misfit")
        assert found == pytest.approx(misfit(model, given).value.item(), abs=1e-3)


def test_on_a_light_ground_the_darkest_is_kept(model):
    """The same picture, with black and white exchanged in a decoder too."""
    images = torch.rand(5, 1, 28, 28)
    images[:, :, 0] = 0

    class Exchanged(torch.nn.Module):
        decoder = staticmethod(lambda pose, k: 1 - model.decoder(pose, k))

        def __call__(self, given):
            output = model(1 - given)
            return output._replace(activation=torch.full_like(output.activation, 0.6))

    class Alike(Exchanged):
        decoder = model.decoder

        def __call__(self, given):
            output = model(given)
            return output._replace(activation=torch.full_like(output.activation, 0.6))

    dark = misfit(cast(Any, Alike()), images).value * images.square().flatten(1).sum(1)
    light = misfit(cast(Any, Exchanged()), 1 - images).value * (1 - images).square().flatten(1).sum(
        1
    )
    assert torch.allclose(dark, light, atol=1e-4)


def test_of_a_hundred_held_out_images_one_is_refused(model):
    held_out = load_data("mnist5k").test
    limit = misfit_limit(model, held_out)
    value, doubtful = misfit(model, held_out.batch(torch.arange(len(held_out)))[0])
    refused = (value > limit) & doubtful
    assert refused.float().mean().item() == pytest.approx(0.01, abs=0.001)
    assert (value[~doubtful] > limit).any()  # sure ones are believed all the same


def test_samples_that_are_read_right_are_not_refused(page):
    for k in range(page.locator(".strip-right + .strip-row button").count()):
        page.locator(".strip-right + .strip-row button").nth(k).click()
        assert verdict(page).startswith("It sees: "), k


def test_where_there_is_no_limit(model):
    held_out = load_data("mnist5k").test
    few = held_out.subset(torch.arange(99))
    assert misfit_limit(model, few) is None
    assert misfit_limit(model, None) is None
    plain = CapsNet(image_size=17, conv_channels=4, primary_types=2, reconstruct=False)
    images = torch.randint(256, (100, 1, 17, 17), dtype=torch.uint8)
    noise = ImageData(images, torch.arange(100) % 10, plain.class_names, "noise")
    assert misfit_limit(plain.eval(), noise) is None
    drawing = CapsNet(image_size=17, conv_channels=4, primary_types=2, decoder_hidden=[5])
    assert page_data(drawing, noise)["config"]["misfit_limit"] is None  # it refuses nothing
    drawing.metadata = {"threshold": 0.3}
    assert page_data(drawing, noise)["config"]["misfit_limit"] > 0


def test_of_shapes_that_are_no_digits_far_more_are_refused(model):
    """By the limit beside the threshold of lengths; and of digits drawn by hand, none."""
    limit = misfit_limit(model, load_data("mnist5k").test)
    drawn = np.stack([as_drawn(shape) for shape in SHAPES.values()])
    images = torch.tensor(drawn[:, None], dtype=torch.float32) / 255
    with torch.no_grad():
        short = model(images).activation.max(dim=1).values < 0.5
    value, doubtful = misfit(model, images)
    unlike = (value > limit) & doubtful
    print(f"of {len(images)} shapes {int(short.sum())} are too short, {int(unlike.sum())} unlike")
    assert int((short | unlike).sum()) > 2 * int(short.sum())
