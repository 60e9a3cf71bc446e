"""Check the built site: that every internal link leads somewhere, and what axe-core finds.

    python scripts/check_site.py [FOLDER]          # links and anchors: a second
    python scripts/check_site.py --axe [FOLDER]    # axe-core too, in Chromium

FOLDER is build/docs by default. Exits with 1 and a line for each finding. axe-core looks at every
page 390 and 1440 pixels wide, light and dark, and tells what it calls serious or critical; a page
that can be scrolled sideways as a whole is a finding too. It needs the extra `dev`.
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WIDTHS, SCHEMES = (390, 1440), ("light", "dark")
# As in the Makefile.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Page(HTMLParser):
    """The places of a page that a link can lead to, and where its own links lead."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places, self.links = {""}, set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value or "")
            elif name in ("href", "src"):
                self.links.add(value or "")


def dead_links(folder: Path) -> Iterator[str]:
    """A line for each link from a page to a file or a place that is not there."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in sorted(page.links):
            scheme, host, target, _, place = urlsplit(link)
            if scheme or host:
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            here = path.relative_to(folder.resolve())
            if not there.is_file():
                yield f"{here}: {link} is not there"
            elif there in pages and unquote(place) not in pages[there].places:
                yield f"{here}: {link} names no place of that page"


def axe_findings(folder: Path) -> Iterator[str]:
    """A line for each serious finding of axe-core, and for each page that is too wide."""
    import os
    import shutil

    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
    from playwright.sync_api import sync_playwright

    axe = Axe()
    arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=next(filter(None, map(shutil.which, NAMES))), args=arguments
        )
        for width in WIDTHS:
            for scheme in SCHEMES:
                context = browser.new_context(
                    viewport={"width": width, "height": 900},
                    color_scheme=scheme,  # type: ignore[arg-type]
                    reduced_motion="reduce",
                )
                for path in sorted(folder.rglob("*.html")):
                    page = context.new_page()
                    page.goto(path.resolve().as_uri())
                    where = f"{path.relative_to(folder)}, {width} pixels, {scheme}"
                    found = axe.run(page, options={"resultTypes": ["violations"]}).response
                    for rule in found["violations"]:
                        if rule["impact"] in ("serious", "critical"):
                            nodes = rule["nodes"]
                            yield (
                                f"{where}: {rule['id']}, {len(nodes)} times: "
                                f"{nodes[0]['html'][:160]}"
                            )
                    wide = page.evaluate("document.documentElement.scrollWidth")
                    if wide > width:
                        yield f"{where}: {wide} pixels wide"
                    page.close()
                context.close()
        browser.close()


def main() -> None:
    """Print what was found."""
    folders = [word for word in sys.argv[1:] if word != "--axe"]
    folder = Path(folders[0] if folders else "build/docs")
    if not (folder / "index.html").is_file():
        sys.exit(f"{folder} holds no site: make it with `make docs`")
    checks = [dead_links, *([axe_findings] if "--axe" in sys.argv else [])]
    count = 0
    for check in checks:
        for line in check(folder):
            print(line, flush=True)
            count += 1
    sys.exit(1 if count else 0)


if __name__ == "__main__":
    main()
