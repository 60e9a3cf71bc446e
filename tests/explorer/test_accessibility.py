"""axe-core finds nothing serious: light and dark, narrow and wide, in the states of the page."""

import pytest

from tests.explorer_page import SEVEN, settle, stroke
from torchcaps.explorer import write_explorer
from torchcaps.models import ImageCapsNet

axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()


def findings(page):
    """What axe-core has to say, but for what it itself calls minor or moderate."""
    found = axe.run(page, options={"resultTypes": ["violations", "incomplete"]}).response
    for rule in found["violations"]:
        nodes = [node["html"][:120] for node in rule["nodes"]]
        print(rule["impact"], rule["id"], len(nodes), nodes[:3])
    print(f"axe-core {found['testEngine']['version']}: {len(found['violations'])} findings, "
          f"{len(found['passes'])} rules passed")  # fmt: skip
    return [rule["id"] for rule in found["violations"] if rule["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_nothing_serious(open_page, page_file, scheme, width):
    size = {"width": width, "height": 900}
    page = open_page(page_file, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    settle(page)
    assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_while_the_page_is_used(open_page, page_file, scheme):
    page = open_page(page_file, color_scheme=scheme, reduced_motion="reduce")
    settle(page)
    page.click("#clear")
    settle(page)
    assert findings(page) == []
    stroke(page, *SEVEN)
    page.evaluate("torchcaps.store.set({ input: 5, output: 2, step: 6, colourBy: 'agreement' })")
    page.locator("[data-term=entropy]").first.focus()
    settle(page)
    assert findings(page) == []


@pytest.mark.parametrize("routing", ["attention", "em"])
def test_axe_finds_nothing_serious_with_other_routings(open_page, tmp_path, routing):
    model = ImageCapsNet(17, num_classes=3, decoder_hidden=[6], routing=routing)
    write_explorer(model, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html", reduced_motion="reduce")
    stroke(page, *SEVEN)
    page.locator("[data-term=activation]").first.focus()
    settle(page)
    assert findings(page) == []


def test_axe_would_find_something(open_page, page_file):
    page = open_page(page_file)
    settle(page)
    page.evaluate("document.getElementById('scrubber').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('.scrub .unseen').remove()")
    page.evaluate("document.getElementById('truth').style.color = '#ddd'")
    assert {"label", "color-contrast"} & set(findings(page))
