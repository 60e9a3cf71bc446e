"""The check of the built site finds what leads nowhere."""

import runpy
from pathlib import Path

from torchcaps.explorer import write_explorer
from torchcaps.models import CapsNet

ROOT = Path(__file__).parents[2]
dead_links = runpy.run_path(str(ROOT / "scripts/check_site.py"))["dead_links"]


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "a b.svg").touch()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">Start</h1> <a name="old"></a> <a href="#top">up</a> <a href="#gone">no</a>'
        '<a href="api/one.html#x&amp;y">good</a> <a href="api/two.html">none</a>'
        '<img src="a%20b.svg"> <a href="https://example.org/none.html#no">elsewhere</a>'
    )
    (tmp_path / "api" / "one.html").write_text(
        '<p id="x&amp;y"><a href="../index.html#old">good</a> <a href="../index.html#new">no</a>'
        '<a href="../">a folder</a>'
    )
    assert list(dead_links(tmp_path)) == [
        "api/one.html: ../ is not there",
        "api/one.html: ../index.html#new names no place of that page",
        "index.html: #gone names no place of that page",
        "index.html: api/two.html is not there",
    ]


def test_the_page_of_the_explorer_has_no_dead_links(tmp_path: Path) -> None:
    model = CapsNet(image_size=17, conv_channels=4, primary_types=2, decoder_hidden=[5])
    write_explorer(model, tmp_path / "draw.html")
    assert list(dead_links(tmp_path)) == []
