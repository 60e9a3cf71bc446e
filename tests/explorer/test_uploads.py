"""Pictures from outside: files, the clipboard, dropping; and all that is no picture."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.explorer_page import lengths, settle, state
from torchcaps.data import load_data


@pytest.fixture
def page(open_page, page_file):
    page = open_page(page_file, viewport={"width": 1280, "height": 900})
    settle(page)
    return page


def digit(label: int) -> Image.Image:
    """A held-out digit, white on black."""
    held_out = load_data("mnist5k").test
    index = int((held_out.labels == label).nonzero()[3])
    return Image.fromarray(held_out.images[index, 0].numpy())


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def upload(page, data: bytes, name: str = "picture.png") -> str:
    """Choose a file; → what the page says about it."""
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": data})
    page.evaluate("() => new Promise((go) => setTimeout(go, 300))")
    settle(page)
    return page.locator("#notice").text_content()


def on_paper(label: int, kind: str) -> bytes:
    """A digit in dark ink on grey, noisy paper, small and off the middle."""
    ink = np.asarray(digit(label).resize((150, 150), Image.Resampling.BICUBIC)) / 255
    noise = np.random.default_rng(0).normal(0, 3, (400, 600))
    paper = 205 + noise
    paper[180:330, 60:210] -= 160 * ink
    return encoded(Image.fromarray(paper.clip(0, 255).astype(np.uint8)), kind)


def test_a_photograph_of_writing_is_centred_and_read(page):
    for label, kind in ((3, "PNG"), (7, "JPEG"), (6, "BMP"), (2, "GIF"), (0, "WEBP")):
        assert upload(page, on_paper(label, kind), f"digit.{kind.lower()}") == ""
        assert state(page, "source") is None
        assert np.argmax(lengths(page)) == label
        seen = np.array(state(page, "image")).reshape(28, 28)
        rows, columns = np.nonzero(seen > 0.1)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
        middle = [seen.sum(axis) @ np.arange(28) / seen.sum() for axis in (0, 1)]
        assert np.allclose(middle, 13.5, atol=0.75)


def test_white_on_black_needs_no_turning(page):
    assert upload(page, encoded(digit(5).resize((280, 280)))) == ""
    assert np.argmax(lengths(page)) == 5


def test_what_is_transparent_is_paper(page):
    ink = digit(2).resize((200, 200))
    picture = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    picture.putalpha(ink)  # black ink, nothing elsewhere
    assert upload(page, encoded(picture)) == ""
    assert np.argmax(lengths(page)) == 2


def test_the_whole_picture_where_that_is_wished(page):
    picture = digit(4)
    page.select_option("#fit", "whole")
    assert upload(page, encoded(picture)) == ""
    seen = np.array(state(page, "image")).reshape(28, 28)
    assert np.allclose(seen, np.asarray(picture) / 255, atol=0.51 / 255)
    page.select_option("#fit", "centre")
    settle(page)
    assert np.argmax(lengths(page)) == 4


def test_an_even_picture_is_an_empty_board(page):
    assert upload(page, encoded(Image.new("L", (50, 50), 128))) == ""
    assert state(page, "image") is None


def test_pasting_and_dropping(page):
    for event, carrier in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.click("#clear")
        page.evaluate(
            """([event, carrier, text]) => {
              const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              const files = new DataTransfer();
              files.items.add(new File([bytes], "pasted.png"));
              const Kind = event === "paste" ? ClipboardEvent : DragEvent;
              document.getElementById("board-frame").dispatchEvent(
                new Kind(event, { [carrier]: files, bubbles: true, cancelable: true }));
            }""",
            [event, carrier, base64.b64encode(on_paper(6, "PNG")).decode()],
        )
        page.evaluate("() => new Promise((go) => setTimeout(go, 300))")
        assert np.argmax(lengths(page)) == 6


def test_a_picture_can_be_undone_and_drawn_over(page):
    before = lengths(page)
    upload(page, on_paper(6, "PNG"))
    assert lengths(page) != pytest.approx(before, abs=0.01)
    page.click("#undo")
    assert lengths(page) == pytest.approx(before)


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of one row of pixels, whose header promises more."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(width + 1))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


NO_PICTURES = {
    "empty": (b"", "“x.png” is empty: choose another file."),
    "text": (b"not a picture at all\n" * 9, "“x.png” is not a picture that can be read here"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "is not a"),
    "HTML": (b"<!doctype html><img src=http://example.com/x.png>", "is not a picture"),
    "TIFF": (encoded(Image.new("L", (9, 9)), "TIFF"), "is not a picture"),
    "cut off": (encoded(Image.new("RGB", (300, 300)))[:40], "“x.png” is damaged, cut off"),
    "head alone": (b"\x89PNG\r\n\x1a\n", "is damaged, cut off"),
    "GIF head": (b"GIF89a", "is damaged, cut off"),
    "JPEG noise": (b"\xff\xd8\xff" + bytes(range(256)) * 40, "is damaged, cut off"),
    "many pixels": (png_that_claims(9_000, 8_000), "9000 × 8000 pixels; at most 40 million"),
    "bomb": (png_that_claims(60_000, 50_000), "far too large"),
}


def test_what_is_no_picture_gets_one_sentence_and_changes_nothing(page):
    board = "document.getElementById('board').toDataURL()"
    before, painted = lengths(page), page.evaluate(board)
    for kind, (data, words) in NO_PICTURES.items():
        said = upload(page, data, "x.png")
        assert words in said, kind
        assert said.count(". ") == 0
        assert said.endswith(".")
        assert lengths(page) == before
        assert page.evaluate(board) == painted
    assert upload(page, on_paper(3, "PNG")) == ""  # and the next one is taken
    assert np.argmax(lengths(page)) == 3


def test_a_huge_file_is_not_even_read(page):
    page.evaluate(
        """() => {
          const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(31e6)], "x.png"));
          document.getElementById("board-frame").dispatchEvent(
            new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        }"""
    )
    assert page.locator("#notice").text_content().startswith("“x.png” has 31 MB; at most 30 MB")


def test_of_an_animation_the_first_picture_is_used(page):
    for kind in ("GIF", "PNG", "WEBP"):
        page.click("#clear")
        first, second = (Image.open(io.BytesIO(on_paper(label, "PNG"))) for label in (3, 7))
        data = encoded(first, kind, save_all=True, append_images=[second], duration=30)
        assert upload(page, data) == "“picture.png” is animated: its first picture is used."
        page.evaluate("() => new Promise((go) => setTimeout(go, 200))")
        assert np.argmax(lengths(page)) == 3


def test_a_still_picture_is_not_called_animated(page):
    for kind in ("GIF", "PNG", "WEBP"):
        assert upload(page, on_paper(3, kind)) == ""


def test_the_name_of_a_file_is_text(page):
    said = upload(page, b"nothing", "<img src=x onerror=document.title=1>.png")
    assert "<img src=x" in said
    assert page.locator("#notice img").count() == 0


def test_a_clipboard_without_a_picture(page):
    page.evaluate(
        "document.body.dispatchEvent(new ClipboardEvent('paste', { bubbles: true,"
        " clipboardData: new DataTransfer() }))"
    )
    assert page.locator("#notice").text_content() == "There is no picture on the clipboard."
