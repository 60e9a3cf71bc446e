"""Make docs/images/explorer-*.png: the explorer's page in its main states, and routing, moving.

    python scripts/explorer_pictures.py

Drives the page of the package's own model in the Chromium of this machine, by playwright. With
the font Inter installed they look as those in the repository. The moving picture is reduced to 128
colours, without dithering, to stay small.
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
# Before routing; then of each iteration the new shares, and the new lengths.
MOVING = (0, 3, 5, 7, 9, 12)
STEP_TIME, LAST_TIME = 700, 3000  # milliseconds a picture


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


def write_moving(name: str, images: list[Image.Image]) -> None:
    """An APNG; all its pictures have the palette of the last, the most colourful one."""
    palette = images[-1].quantize(128, dither=Image.Dither.NONE)
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    times = [STEP_TIME] * len(others) + [LAST_TIME]
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
            width: int, height: int, scheme: Literal["light", "dark"], scale: float = 1
        ) -> Any:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                device_scale_factor=scale,
            )
            page.goto(path.as_uri())
            settle(page)
            return page

        take_pictures(open_page)
        browser.close()


def take_pictures(open_page: Callable[..., Any]) -> None:
    page = open_page(1440, 1000, "light")
    choose(page, "right", 6)
    write("explorer-light.png", picture(page.screenshot()))
    change(page, step=8)
    write("explorer-steps.png", picture(page.locator("#steps").screenshot()))
    write("explorer-two-capsules.png", picture(page.locator(".two").screenshot()))

    page = open_page(1440, 1000, "dark")
    choose(page, "wrong", 1)
    page.locator("#voters button").nth(1).click()
    settle(page)
    write("explorer-dark.png", picture(page.screenshot()))

    page = open_page(360, 1000, "light", 1.5)
    choose(page, "right", 6)
    page.evaluate("document.querySelector('.routing').scrollIntoView()")
    settle(page)
    write("explorer-narrow.png", picture(page.screenshot()))

    page = open_page(1300, 800, "light")
    choose(page, "right", 6)
    page.evaluate("document.querySelector('.routing').scrollIntoView()")
    frames = []
    for step in MOVING:
        change(page, step=step)
        top, bottom = (page.locator(part).bounding_box() for part in (".routing", "#moment-words"))
        area = {**top, "height": bottom["y"] + bottom["height"] + 12 - top["y"]}
        frames.append(picture(page.screenshot(clip=area)))
    write_moving("explorer-routing.png", frames)


if __name__ == "__main__":
    main()
