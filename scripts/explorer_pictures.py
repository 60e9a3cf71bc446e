"""Make docs/images/explorer-*.png: the explorer's page in its main states, and moving.

    python scripts/explorer_pictures.py

Drives the page of the package's own model in the Chromium of this machine, by playwright. With
the font Inter installed they look as those in the repository. All are reduced to 256
colours, without dithering, to stay small; the pictures of a moving one share them.
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import sync_playwright

import torchcaps
from torchcaps.explorer import SHIPPED, held_out_images, write_explorer
from torchcaps.storage import write_bytes

TARGET = Path(__file__).parents[1] / "docs/images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SETTLED = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  while (!globalThis.torchcaps?.store.state.ready) await frame();
  do { await frame(); await frame(); } while (torchcaps.store.state.waiting > 0);
  await new Promise((go) => setTimeout(go, 700));
}"""
# What excites the capsules is known.
EXCITED = """async () => {
  while (!torchcaps.store.state.excited) await new Promise(requestAnimationFrame);
}"""
# Before routing; then of each iteration the new shares, and the new lengths.
MOVING = (0, 3, 5, 7, 9, 12)
STEP_TIME, LAST_TIME = 700, 3000  # milliseconds a picture
LINE_TIME, STATION_TIME = 420, 4500  # of the opening a line, as on the page; of the tour a station
# Colours of small parts, an arrow's, must not be lost among greys.
PALETTE: dict[str, Any] = {
    "colors": 256,
    "method": Image.Quantize.MAXCOVERAGE,
    "dither": Image.Dither.NONE,
}


def settle(page: Any) -> None:
    page.evaluate(SETTLED)


def choose(page: Any, kind: str, n: int = 0) -> None:
    page.locator(f".strip-{kind} + .strip-row button").nth(n).click()
    settle(page)


def change(page: Any, **state: object) -> None:
    page.evaluate("(state) => torchcaps.store.set(state)", state)
    settle(page)


def write(name: str, image: Image.Image, **options: Any) -> None:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)
    TARGET.mkdir(parents=True, exist_ok=True)
    write_bytes(TARGET / name, file.getvalue())
    print(f"{name}: {image.width} × {image.height}, {file.tell() / 1000:.0f} kB")


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def write_still(name: str, png: bytes) -> None:
    """In as few colours as do it no harm."""
    write(name, picture(png).quantize(**PALETTE))


def write_moving(name: str, images: list[Image.Image], times: list[int]) -> None:
    """An APNG; all its pictures have the palette of all of them together."""
    width, height = images[0].size
    together = Image.new("RGB", (width, height * len(images)))
    for k, image in enumerate(images):
        together.paste(image, (0, k * height))
    palette = together.quantize(**PALETTE)
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    write(name, first, save_all=True, append_images=others, duration=times, loop=0)


def main() -> None:
    """Write the page, take its pictures."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"no browser was found, none of {', '.join(BROWSERS)}: install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "explorer.html"
        model = torchcaps.load_model(SHIPPED)
        write_explorer(model, path, held_out_images(model))
        # As root, as in a container, Chromium runs without its sandbox only.
        arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=browser_path, args=arguments)

        def open_page(
            width: int,
            height: int,
            scheme: Literal["light", "dark"],
            scale: float = 1,
            motion: Literal["no-preference", "reduce"] = "no-preference",
        ) -> Any:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                device_scale_factor=scale,
                reduced_motion=motion,
            )
            page.goto(path.as_uri())
            settle(page)
            return page

        take_pictures(open_page)
        record_opening(open_page)
        browser.close()


def take_pictures(open_page: Callable[..., Any]) -> None:
    page = open_page(1440, 1000, "light")
    choose(page, "right", 6)
    write_still("explorer-light.png", page.screenshot())
    change(page, step=8)
    write_still("explorer-steps.png", page.locator("#steps").screenshot())
    change(page, step=12)
    page.locator("#pair").scroll_into_view_if_needed()
    page.evaluate(EXCITED)
    settle(page)
    both = {**page.locator("#compare").bounding_box()}
    pair = page.locator("#pair").bounding_box()
    both["width"] = pair["x"] + pair["width"] - both["x"]
    write_still("explorer-votes.png", page.screenshot(clip=both))
    write_still("explorer-two-capsules.png", page.locator(".two").screenshot())

    page = open_page(1440, 1000, "dark")
    choose(page, "wrong", 1)
    page.locator("#voters button").nth(1).click()
    settle(page)
    write_still("explorer-dark.png", page.screenshot())

    page = open_page(360, 1000, "light", 1.5)
    choose(page, "right", 6)
    page.evaluate("document.querySelector('.routing').scrollIntoView()")
    settle(page)
    write_still("explorer-narrow.png", page.screenshot())

    page = open_page(1300, 800, "light")
    choose(page, "right", 6)
    page.evaluate("document.querySelector('.routing').scrollIntoView()")
    frames = []
    for step in MOVING:
        change(page, step=step)
        top, bottom = (page.locator(part).bounding_box() for part in (".routing", "#moment-words"))
        area = {**top, "height": bottom["y"] + bottom["height"] + 12 - top["y"]}
        frames.append(picture(page.screenshot(clip=area)))
    times = [STEP_TIME] * (len(frames) - 1) + [LAST_TIME]
    write_moving("explorer-routing.png", frames, times)


def record_opening(open_page: Callable[..., Any]) -> None:
    """The page as it opens, line by line, and the stations of its tour."""
    page = open_page(900, 760, "light", motion="reduce")
    page.locator(".cell-cursor").focus()  # so that it is known what excites the capsules
    page.evaluate(EXCITED)
    page.evaluate("document.activeElement.blur()")
    page.click("#clear")
    change(page, step=0)
    frames, times = [picture(page.screenshot())], [STEP_TIME]
    choose(page, "right", 6)
    for step in range(13):
        change(page, step=step)
        frames.append(picture(page.screenshot()))
        times.append(2 * LINE_TIME if step == 0 else LAST_TIME if step == 12 else LINE_TIME)
    page.click("#tour-begin")
    while page.locator(".tour").is_visible():
        settle(page)
        frames.append(picture(page.screenshot()))
        times.append(STATION_TIME)
        page.locator(".tour .primary").click()
    write_moving("explorer-opening.png", frames, times)


if __name__ == "__main__":
    main()
