"""Colours of 16 bits, of which pillow keeps the upper byte alone: what the lower one tells."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from torchcaps.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["checked_colours"]

COLOURS = {"RGB": 3, "RGBX": 3, "RGBA": 3, "CMYK": 4}  # bands; what follows is transparency
NATIVE = "L" if sys.byteorder == "little" else "B"
Args = tuple[Any, ...] | str | None  # of a decoder
Bytes = npt.NDArray[np.uint8]


def checked_colours(image: Image, what: str) -> Image:
    """An image that is not decoded yet, its transparent colour of 16 bits as white.

    Raises:
        InputError: 16 bits hold numbers of 8, which would all be black; `what` names the file.
    """
    from PIL import Image as pil

    low = low_bytes(image)
    if low is None:
        return image
    values = np.asarray(image).astype(np.uint16) * 256 + low
    colours = COLOURS[image.mode]
    # Black ink may lie in the transparency alone.
    told = values[..., :colours] if values[..., :colours].any() else values
    if 0 < told.max() <= 255:
        raise InputError(
            f"{what} holds integers from {told.min()} to {told.max()} that may be meant as 8 bits "
            "or as 16: convert it to an 8-bit PNG"
        )
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple):  # pillow would compare it with the upper bytes
        image = image.copy()
        del image.info["transparency"]
        image.paste("white", mask=pil.fromarray((values == transparent).all(axis=2)))
    return image


def low_bytes(image: Image) -> Bytes | None:
    """The lower bytes `[H, W, bands]`; None where colours have 8 bits, or are decoded already."""
    from PIL import Image as pil

    file, tiles = getattr(image, "fp", None), getattr(image, "tile", None)
    if file is None or not tiles or image.mode not in COLOURS:
        return None
    if image.format is None or (other := opposite(raw_mode(tiles[0].args))) is None:
        return None
    place = file.tell()
    try:
        file.seek(0)
        with pil.open(file, formats=(image.format,)) as again:
            again.tile = [
                tile._replace(args=with_raw_mode(tile.args, other)) for tile in again.tile
            ]
            low = np.asarray(again)
    finally:
        file.seek(place)
    return low[..., [1, 1, 1, 3]] if other == "RGBA" else low


def opposite(raw: str) -> str | None:
    """The raw mode by which pillow takes the lower bytes in place of the upper ones."""
    if raw == "LA;16B":
        return "RGBA"  # all four bytes of a pixel
    bands, _, bits = raw.partition(";")
    if bands not in COLOURS or bits not in ("16B", "16L", "16N"):
        return None
    order = NATIVE if bits == "16N" else bits[-1]
    return f"{bands};16{'L' if order == 'B' else 'B'}"


def raw_mode(args: Args) -> str:
    """How the pixels of a tile lie in its file, in pillow's words."""
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else ""


def with_raw_mode(args: Args, raw: str) -> Args:
    return (raw, *args[1:]) if isinstance(args, tuple) else raw
