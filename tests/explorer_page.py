"""Driving the explorer's page as a person does: what its tests, and its pictures, share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Nothing is being evaluated, and what is known has been drawn.
SETTLED = """async (seconds) => {
  const end = performance.now() + 1000 * seconds;
  const frame = () => new Promise((next, fail) => {
    requestAnimationFrame(next);
    const late = () => fail(new Error(`the page has not settled in ${seconds} s`));
    setTimeout(late, end - performance.now());
  });
  while (!globalThis.torchcaps?.store.state.ready) await frame();
  do { await frame(); await frame(); } while (torchcaps.store.state.waiting > 0);
  await frame();
}"""


def settle(page: Any, seconds: float = 120) -> None:
    page.evaluate(SETTLED, seconds)


def state(page: Any, name: str) -> Any:
    """A value of the page's state that JSON can hold; arrays come as lists."""
    return page.evaluate(
        """(name) => {
          const value = torchcaps.store.state[name];
          return ArrayBuffer.isView(value) ? Array.from(value) : value;
        }""",
        name,
    )


def lengths(page: Any) -> list[float]:
    """The lengths of the class capsules, in full; what the page writes is rounded."""
    settle(page)
    return page.evaluate("Array.from(torchcaps.store.state.result.activation)")


def set_activation(page: Any, *iterations: Sequence[float]) -> None:
    """Put other activations of the class capsules into the result: of its last iterations."""
    page.evaluate(
        """(last) => {
          const { store } = torchcaps, { result } = store.state;
          const changed = last.map((values) => Float32Array.from(values));
          const activations = [...result.trace.activations.slice(0, -last.length), ...changed];
          const trace = { ...result.trace, activations };
          store.set({ result: { ...result, trace, activation: activations.at(-1) } });
        }""",
        list(iterations),
    )
    settle(page)


def coupling(page: Any, iteration: int) -> np.ndarray:
    """c of an iteration (counted from 1), [I, J]."""
    settle(page)
    shape, flat = page.evaluate(
        """(t) => {
          const { trace } = torchcaps.store.state.result;
          return [[trace.I, trace.J], Array.from(trace.coupling[t - 1])];
        }""",
        iteration,
    )
    return np.array(flat).reshape(shape)


def stroke(page: Any, *points: tuple[float, float]) -> None:
    """Draw through points of the board (fractions of its sides) with the mouse."""
    page.locator("#board").scroll_into_view_if_needed()
    box = page.locator("#board").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    settle(page)


SEVEN = ((0.25, 0.2), (0.75, 0.2), (0.45, 0.85))


def paint(page: Any, pixels: np.ndarray) -> None:
    """Paint an image [H, W] of bytes onto the board, each pixel a square of it."""
    page.evaluate(
        """([rows, columns, values]) => {
          torchcaps.board.clear();
          const { canvas, context } = torchcaps.board;
          const [w, h] = [canvas.width / columns, canvas.height / rows];
          values.forEach((value, p) => {
            context.fillStyle = `rgb(${value} ${value} ${value})`;
            context.fillRect((p % columns) * w, Math.floor(p / columns) * h, w, h);
          });
          canvas.dispatchEvent(new Event("painted"));
        }""",
        [*pixels.shape, pixels.ravel().tolist()],
    )
    settle(page)


def set_range(page: Any, selector: str, value: float) -> None:
    """Move a slider, as a pointer would."""
    page.locator(selector).evaluate(
        """(slider, value) => {
          slider.value = value;
          slider.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        value,
    )
    settle(page)


def press(page: Any, selector: str) -> None:
    """Click on a button wherever it is: what fills up above it meanwhile does not move it away."""
    page.locator(selector).dispatch_event("click")
    settle(page)


def drawn(page: Any, selector: str) -> np.ndarray:
    """The red channel of a canvas, [H, W]."""
    width, height, values = page.locator(selector).evaluate(
        """(canvas) => {
          const { width, height } = canvas;
          const copy = new OffscreenCanvas(width, height).getContext("2d");
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, width, height);
          return [width, height, Array.from(data.filter((_, k) => k % 4 === 0))];
        }"""
    )
    return np.array(values).reshape(height, width)


def texts(page: Any, selector: str) -> list[str]:
    return page.locator(selector).all_text_contents()
