"""Names and numbers as they can be drawn: with the fonts at hand, in the room there is."""

import bisect
from collections.abc import Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

__all__ = ["caption", "drawable", "families", "legible", "shortened", "thousands", "width_of"]

MOST_CHARACTERS = 300  # more than any line has room for; each is looked up in every font
FONT = "DejaVu Sans"  # comes with matplotlib
FALLBACK_FONTS = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)
UNTYPED_RENDERER: Any = RendererAgg  # matplotlib gives it no types


def families() -> list[str]:
    """The fonts at hand, in the order in which they are asked for a character."""
    installed = fontManager.get_font_names()
    return [FONT, *(name for name in FALLBACK_FONTS if name in installed)]


def legible(class_names: Sequence[str]) -> list[str]:
    """The names as they can be drawn; one that loses characters carries the number of its class."""
    drawn = [drawable(name) for name in class_names]
    return [
        shown if shown == _one_line(name) else f"{k}: {shown}"
        for k, (shown, name) in enumerate(zip(drawn, class_names))
    ]


def drawable(words: str) -> str:
    """One line, with □ for each character that no font at hand has.

    matplotlib would draw an empty box too, but warn for each; its fonts are asked beforehand.
    """
    fonts = [get_font(findfont(FontProperties(family=name))) for name in families()]
    return "".join(
        letter if any(font.get_char_index(ord(letter)) for font in fonts) else "□"
        for letter in _one_line(words)
    )


def _one_line(words: str) -> str:
    return " ".join(words[:MOST_CHARACTERS].split())


def thousands(number: int) -> str:
    """12345 as 12 345."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


# What follows measures text, so it holds inside `style.figure`, where the fonts are set.


def width_of(words: str, size: float = 9.0) -> float:
    """Width in inches of a line of `size` points."""
    dpi = rcParams["figure.dpi"]
    renderer = UNTYPED_RENDERER(1, 1, dpi)
    width, _, _ = renderer.get_text_width_height_descent(words, FontProperties(size=size), False)
    return float(width / dpi)


def shortened(name: str, width: float, size: float = 9.0) -> str:
    """`name`, cut and ended with … where it is wider than `width` inches."""
    if width_of(name, size) <= width:
        return name
    fitting = bisect.bisect_right(
        range(len(name)), width, key=lambda k: width_of(name[:k].rstrip() + "…", size)
    )
    return name[: max(0, fitting - 1)].rstrip() + "…"


def caption(names: Sequence[str], true: int, predicted: int, note: str, width: float) -> str:
    """The class of a tile, or "true → predicted" when they differ: on two lines if need be."""
    if true == predicted:
        return shortened(names[true], width)
    line = f"{names[true]} → {names[predicted]}{note}"
    if width_of(line) <= width:
        return line
    rest = width - width_of(f"→ {note}")
    return f"{shortened(names[true], width)}\n→ {shortened(names[predicted], rest)}{note}"
