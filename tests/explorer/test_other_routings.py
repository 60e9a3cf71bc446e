"""The page of networks that route by attention or by EM: it answers as they do, in their words."""

import copy

import numpy as np
import pytest
import torch

from tests.engine_page import with_statistics
from tests.explorer_page import (
    SEVEN,
    coupling,
    lengths,
    set_activation,
    set_range,
    settle,
    state,
    stroke,
    texts,
)
from torchcaps.data import ImageData
from torchcaps.explorer import write_explorer
from torchcaps.explorer.misfit import misfit
from torchcaps.explorer.network import page_model
from torchcaps.models import ImageCapsNet

NAMES = ("attention", "em")


@pytest.fixture(params=NAMES)
def model(request) -> ImageCapsNet:
    """With weights that give routing something to do, and statistics as after training."""
    model = ImageCapsNet(17, num_classes=3, primary_types=4, decoder_hidden=[9],
                         routing=request.param)  # fmt: skip
    with_statistics(model)
    torch.nn.init.normal_(model.classes.weight, std=0.2)
    return model


@pytest.fixture
def page(model, open_page, tmp_path):
    images = torch.randint(256, (6, 1, 17, 17), dtype=torch.uint8)
    held_out = ImageData(images, torch.arange(6) % 3, model.class_names, "noise")
    write_explorer(model, tmp_path / "page.html", held_out)
    page = open_page(tmp_path / "page.html", viewport={"width": 1280, "height": 900},
                     reduced_motion="reduce")  # fmt: skip
    page.locator("#strip button").first.click()
    settle(page)
    return page


@torch.no_grad()
def expected(model, page, iterations):
    """The trace of the class capsules, and the output, for the image that the page shows."""
    model = copy.deepcopy(page_model(model))
    model.classes.routing.iterations = iterations
    image = torch.tensor(state(page, "image")).view(1, 1, 17, 17)
    return model.trace(image)["classes"], model(image)


@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_it_answers_as_pytorch(page, model, iterations):
    set_range(page, "#rounds", iterations)
    trace, output = expected(model, page, iterations)
    assert lengths(page) == pytest.approx(output.activation[0].tolist(), abs=1e-4)
    for t in range(iterations):
        assert np.abs(coupling(page, t + 1) - trace.coupling[t, 0].numpy()).max() < 1e-4
        set_range(page, "#scrubber", t + 1)
        shown = [float(text) for text in texts(page, ".bar-value")]
        assert shown == pytest.approx(trace.activation[t, 0].tolist(), abs=6e-4)
    picture = np.array(state(page, "reconstruction"))
    assert np.abs(picture - output.reconstruction.flatten().numpy()).max() < 1e-4


def test_the_headline_names_the_most_active_class(page, model):
    trace, output = expected(model, page, 3)
    set_range(page, "#scrubber", 2)
    a = trace.activation[1, 0]
    j = int(a.argmax())
    said = page.locator("#verdict").text_content()
    assert said == f"In iteration 2, the most active so far: {j} ({a[j]:.2f})."
    set_range(page, "#scrubber", 3)
    a = output.activation[0]
    j = int(a.argmax())
    sure = (a / (1 - a)).div((a / (1 - a)).sum()).max() >= 0.5
    said = page.locator("#verdict").text_content()
    told = f"{j} ({a[j]:.2f})."
    assert said == (f"It sees: {told}" if sure else f"It is not sure: the most active is {told}")
    page.evaluate("torchcaps.data.config.threshold = 1.0")
    set_range(page, "#scrubber", 2)
    set_range(page, "#scrubber", 3)
    said = page.locator("#verdict").text_content()
    assert said == f"Nothing I know: the most active, {j} ({a[j]:.2f}), is below 1."


def test_a_class_is_certain_by_its_odds_among_all(page):
    """Training asks for no value of an activation: one that is small may be sure all the same."""
    for activations, sure in [((0.02, 0.2, 0.01), True), ((0.97, 0.96, 0.98), False)]:
        set_activation(page, activations)
        said = page.locator("#verdict").text_content()
        assert said.startswith("It sees: " if sure else "It is not sure: the most active is ")


def test_the_numbers_of_every_line(page, model):
    """They are those of PyTorch where the table shows them, and dashes before they are known."""
    trace, _ = expected(model, page, 3)
    page.locator("#steps").scroll_into_view_if_needed()
    page.evaluate("torchcaps.store.set({ input: 5, step: 0 })")
    settle(page)
    heads = texts(page, "#numbers-table thead th")
    for step in range(13):
        iteration, line = -(-step // 4), (step - 1) % 4 + 4 if step else 2
        rows = [texts(page, f"#numbers-table tbody tr:nth-child({k + 1}) > *") for k in range(3)]
        column = {head: [row[n] for row in rows] for n, head in enumerate(heads)}
        if step:
            assert [float(x) for x in column["c used"]] == pytest.approx(
                trace.coupling[iteration - 1, 0, 5].tolist(), abs=6e-4)  # fmt: skip
        done = iteration if line >= 6 else iteration - 1
        if done < 1:
            assert column["a"] == ["–"] * 3
        else:
            assert [float(x) for x in column["a"]] == pytest.approx(
                trace.activation[done - 1, 0].tolist(), abs=6e-4)  # fmt: skip
        shown = iteration if line == 7 and iteration < 3 else max(iteration - 1, 0)
        assert [float(x.replace("−", "-")) for x in column["b"]] == pytest.approx(
            trace.logits[shown, 0, 5].tolist(), abs=6e-4)  # fmt: skip
        lit = texts(page, "#lines .lit")
        assert len(lit) == 1
        assert page.locator("#sentence").text_content()
        if step < 12:
            page.click("#on")
            settle(page)


def test_it_says_nothing_of_dynamic_routing(page, model):
    text = page.locator("body").inner_text()
    for word in ("Procedure 1", "margins", "squash", "longest", "Dynamic Routing", "smallest"):
        assert word not in text, word
    assert page.locator("[data-routing]").evaluate_all(
        "(all, name) => all.every((part) => part.dataset.routing.split(' ').includes(name))",
        model.classes.routing.name,
    )
    assert page.locator("#lines li").count() == 7
    assert page.locator("#two-heading").count() == 0
    marks = page.locator(".bar").first.evaluate(
        "(bar) => getComputedStyle(bar, '::before').content"
    )
    assert marks == "none"
    assert (
        page.locator("#outputs button")
        .first.get_attribute("aria-label")
        .startswith("0: activation 0.")
    )
    page.evaluate("() => new Promise((go) => setTimeout(go, 900))")
    assert "Activations: " in page.locator("#news").text_content()


def test_every_word_that_is_explained_has_a_meaning(page):
    for term in page.locator("[data-term]").all():
        term.focus()
        assert len(page.locator("#term-tip").text_content()) > 20


@torch.no_grad()
def test_agreement_is_shown_where_routing_goes_by_it(page, model):
    page.evaluate("torchcaps.store.set({ input: 5 })")
    j = page.evaluate("torchcaps.store.state.result.shown")
    if model.classes.routing.name == "em":
        assert not page.locator("#colour-by").is_visible()
        page.evaluate("location.hash = '#sample=1&colour=agreement'")
        settle(page)
        assert state(page, "colourBy") == "coupling"
        return
    page.select_option("#colour-by", "agreement")
    shown = page_model(model)
    primary = shown.primary_capsules(torch.tensor(state(page, "image")).view(1, 1, 17, 17))
    votes = shown.classes.votes(primary).materialize()[0, 5, j]
    trace, _ = expected(model, page, 3)
    page.locator("#steps").scroll_into_view_if_needed()
    for iteration in (1, 2, 3):
        set_range(page, "#scrubber", iteration)
        product = float(votes @ trace.pose[iteration - 1, 0, j])
        cell = page.locator(f"#numbers-table tbody tr:nth-child({j + 1}) > :nth-child(7)")
        assert float(cell.text_content().replace("−", "-")) == pytest.approx(product, abs=6e-4)


def test_it_plays_and_its_tour_goes_to_the_end(page, open_page, tmp_path):
    page = open_page(tmp_path / "page.html")
    settle(page)
    page.locator("#strip button").first.click()
    settle(page)
    assert not state(page, "playing")
    page.click("#play")
    page.evaluate("() => new Promise((go) => setTimeout(go, 900))")
    assert state(page, "playing")
    assert 0 < state(page, "step") < 12
    page.click("#tour-begin")
    told = []
    while page.locator(".tour").is_visible():
        told.append(page.locator(".tour-words").text_content())
        page.click(".tour .primary")
    assert len(set(told)) == len(told) >= 8
    assert not any("squashed" in words for words in told)


def test_a_drawing_is_routed(page):
    page.click("#clear")
    stroke(page, *SEVEN)
    assert all(0 < a < 1 for a in lengths(page))


def test_couplings_that_are_whole_at_first(open_page, tmp_path):
    routing = {"name": "em", "first_coupling": "whole"}
    model = with_statistics(ImageCapsNet(17, num_classes=3, decoder_hidden=[9], routing=routing))
    write_explorer(model, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html", reduced_motion="reduce")
    stroke(page, *SEVEN)
    assert (coupling(page, 1) == 1).all()
    assert np.allclose(coupling(page, 2).sum(axis=1), 1)
    page.locator("#steps").scroll_into_view_if_needed()
    set_range(page, "#scrubber", 0)
    assert texts(page, "#numbers-table tbody td:nth-of-type(2)") == ["1.000"] * 3
    entropies = page.evaluate("torchcaps.entropies(torchcaps.store.state.result.trace)")
    assert entropies[0] == pytest.approx(np.log(3), abs=1e-5)


def test_only_the_most_active_class_draws_for_the_misfit(page, model):
    """Training asks for no value of an activation: above ½ are all of them, or none."""
    image = torch.tensor(state(page, "image")).view(1, 1, 17, 17)
    expected_misfit = misfit(page_model(model), image, lengths=False).value.item()
    assert page.evaluate("torchcaps.store.state.result.misfit") == pytest.approx(
        expected_misfit, abs=1e-4
    )
    with torch.no_grad():
        drawn = page_model(model)(image).reconstruction
    assert expected_misfit == pytest.approx(
        float((drawn - image).square().sum() / image.square().sum()), abs=1e-5
    )


def test_votes_and_the_work_of_routing_in_words_of_their_own(page, model):
    page.locator("#pair").scroll_into_view_if_needed()
    settle(page)
    told = page.locator("#pair").inner_text()
    if model.classes.routing.name == "em":  # one iteration has another λ than the first of three
        assert page.locator("#compare").count() == 0
        assert "is the mean of its votes" in told
        assert "agree" not in told
        return
    assert "votes agree with" in told
    said = page.locator("#compare-words").text_content()
    assert said.startswith(
        ("Either way the most active is ", "With equal shares the most active is ")
    )
