"""The engine beside the page: order of answers, staying responsive, and doing without a worker."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine_page import from_text, to_text, write_engine_page
from torchcaps.explorer.export import page_data
from torchcaps.models import CapsNet

SMALL: dict[str, Any] = {
    "image_size": 17,
    "conv_channels": 4,
    "primary_types": 2,
    "decoder_hidden": [5],
}


@pytest.fixture
def page(open_page, tmp_path):
    page = open_page(write_engine_page(tmp_path))
    page.evaluate("(data) => { globalThis.data = data; }", page_data(CapsNet(**SMALL)))
    return page


ONE = """
async (image) => {
  const asked = engine.startEngine(data).evaluate(engine.floats(image), 3);
  const found = await engine.within(asked);
  return { ...found, primary: null, trace: null, activation: engine.text(found.activation),
    reconstruction: engine.text(found.reconstruction), last: engine.text(found.trace.poses[2]) };
}
"""


def same_without_engine(page, image):
    return page.evaluate(
        """(image) => {
          const found = engine.evaluate(engine.readModel(data), engine.floats(image), 3);
          return { ...found, primary: null, trace: null, activation: engine.text(found.activation),
            reconstruction: engine.text(found.reconstruction),
            last: engine.text(found.trace.poses[2]) };
        }""",
        image,
    )


def an_image():
    return to_text(torch.rand(17 * 17).numpy())


def test_a_worker_answers_as_the_page_itself_would(page):
    image = an_image()
    page.evaluate(
        """() => {
          globalThis.made = 0;
          globalThis.Worker = class extends Worker {
            constructor(...given) { super(...given); globalThis.made += 1; }
          };
        }"""
    )
    assert page.evaluate(ONE, image) == same_without_engine(page, image)
    assert page.evaluate("made") == 1


def test_reconstruct(page):
    pose = torch.randn(10, 16).numpy()
    found = page.evaluate(
        """async (pose) => engine.text(
             await engine.startEngine(data).reconstruct(engine.floats(pose), 7))""",
        to_text(pose),
    )
    expected = page.evaluate(
        """(pose) => engine.text(
             engine.reconstruct(engine.readModel(data), engine.floats(pose), 7))""",
        to_text(pose),
    )
    assert found == expected
    assert page.evaluate("data.config.reconstruct = false") is False
    nothing = "async () => engine.startEngine(data).reconstruct(new Float32Array(160), 7)"
    assert page.evaluate(nothing) is None


def test_a_newer_request_takes_the_place_of_the_waiting_one(page):
    found = page.evaluate(
        """async () => {
          const asked = engine.startEngine(data);
          const images = [0, 1, 2, 3, 4].map((k) => new Float32Array(289).map(
            (_, p) => ((p * (k + 3)) % 7) / 7));
          const drawn = asked.reconstruct(new Float32Array(160).fill(0.1), 1); // another kind
          const results = await engine.within(
            Promise.all(images.map((image) => asked.evaluate(image, 2))));
          const expected = images.map((image) =>
            engine.text(engine.evaluate(engine.readModel(data), image, 2).activation));
          const later = await asked.evaluate(images[2], 2);
          return { results: results.map((result) => result && engine.text(result.activation)),
            expected, later: engine.text(later.activation), drawn: (await drawn).length };
        }"""
    )
    expected = found["expected"]
    assert len(set(expected)) == 5
    assert found["results"] == [expected[0], None, None, None, expected[4]]
    assert found["later"] == expected[2]
    assert found["drawn"] == 289


@pytest.mark.parametrize(
    "trouble",
    [
        "delete globalThis.Worker",
        "globalThis.Worker = class { constructor() { throw new Error('no'); } }",
        "globalThis.torchcapsWorkerSource = 'throw new Error(1)'",
        "globalThis.torchcapsWorkerSource = 'this is no JavaScript'",
    ],
)
def test_where_no_worker_can_be_had(page, trouble):
    image = an_image()
    page.evaluate(f"() => {{ {trouble}; }}")
    assert page.evaluate(ONE, image) == same_without_engine(page, image)


@pytest.mark.parametrize("trouble", ["", "delete globalThis.Worker"])
def test_damaged_data_are_told(page, trouble):
    page.evaluate(f"() => {{ {trouble}; }}")
    said = page.evaluate(
        """async () => {
          data.tensors["stem.0.weight"].data = data.tensors["stem.0.weight"].data.slice(0, 16);
          const asked = engine.startEngine(data);
          const ask = () => engine.within(asked.evaluate(new Float32Array(289), 3)).catch(String);
          return [await ask(), await ask()];
        }"""
    )
    for text in said:  # the second request is not stuck behind the first
        assert "stem.0.weight holds 6 numbers, not 324: the page is damaged" in text


def test_the_page_stays_responsive_while_a_large_network_works(page):
    large = CapsNet(conv_channels=128, primary_types=16, reconstruct=False)
    page.evaluate("(data) => { globalThis.data = data; }", page_data(large))
    ticks = page.evaluate(
        """async () => {
          const asked = engine.startEngine(data);
          await asked.evaluate(new Float32Array(784).fill(0.5), 3);
          let ticks = 0;
          const timer = setInterval(() => { ticks += 1; }, 5);
          await asked.evaluate(new Float32Array(784).fill(0.25), 3);
          clearInterval(timer);
          return ticks;
        }"""
    )
    assert ticks >= 3  # on the page's own thread there would be none


@pytest.mark.parametrize(
    ("rows_a", "rows_b", "depth"), [(1, 1, 1), (4, 3, 8), (9, 7, 513), (3, 8, 1100), (12, 2, 5)]
)
def test_products_of_rows(page, rows_a, rows_b, depth):
    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal((rows, depth)).astype("f4") for rows in (rows_a, rows_b))
    before = draw.standard_normal((rows_a, rows_b + 5)).astype("f4")
    text = page.evaluate(
        """([a, b, out, rowsA, rowsB, depth]) => {
          const [x, y, z] = [a, b, out].map(engine.floats);
          engine.addProducts(x, rowsA, y, rowsB, depth, z, 2, rowsB + 5);
          return engine.text(z);
        }""",
        [to_text(a), to_text(b), to_text(before), rows_a, rows_b, depth],
    )
    expected = before.copy()
    expected[:, 2 : 2 + rows_b] += a @ b.T
    np.testing.assert_allclose(from_text(text, *before.shape), expected, atol=1e-4)
