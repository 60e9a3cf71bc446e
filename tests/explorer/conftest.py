"""A browser for the tests of the page, and pages that may neither complain nor ask anybody."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import torchcaps
from tests.explorer_page import settle
from torchcaps.explorer import SHIPPED, held_out_images, write_explorer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REQUIRED = "TORCHCAPS_REQUIRE_BROWSER"  # set where a test without a browser must fail
OWN = ("file:", "data:", "blob:", "about:")
# As in the Makefile.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def no_browser(reason: str) -> None:
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason} ({REQUIRED} is set)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """The Chromium of this machine, without a window."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        no_browser("playwright is not installed: pip install 'torchcaps[dev]'")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        no_browser(f"no browser was found, none of {', '.join(NAMES)}: install chromium")
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium runs without its sandbox only.
        arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., "Page"]]:
    """`open_page(path, **options of a browser context)` → the page, opened from its file.

    At the end the test fails if a page has written to the console as an error or a warning, has
    let an exception get away, or has asked for anything but itself.
    """
    contexts, faults = [], []

    def heard(said):
        if said.type in ("error", "warning"):
            faults.append(f"console {said.type}: {said.text}")

    def watched(page):
        page.on("console", heard)
        page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
        return page

    def open_it(path: Path, **options):
        context = browser.new_context(**options)
        contexts.append(context)

        def asked(request):
            own_file = request.url.split("#")[0] == Path(path).resolve().as_uri()
            if not own_file and not request.url.startswith(OWN[1:]):
                faults.append(f"request: {request.url}")

        context.on("request", asked)
        page = watched(context.new_page())
        page.faults = faults  # a test of what must fail looks at them, and clears them
        page.goto(Path(path).resolve().as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not faults, "\n".join(faults)


@pytest.fixture(scope="session")
def page_file(tmp_path_factory) -> Path:
    """The page of the network that comes with the package."""
    model = torchcaps.load_model(SHIPPED)
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    write_explorer(model, path, held_out_images(model))
    return path


@pytest.fixture
def page(open_page, page_file) -> "Page":
    """That page, open, for a visitor who wants no motion: it shows its answer at once."""
    page = open_page(page_file, viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    settle(page)
    return page
