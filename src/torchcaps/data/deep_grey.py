"""Grey of more than 8 bits as 8: integers, floats, and what a TIFF says of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from torchcaps.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DeepGrey"]

BITS, PHOTOMETRIC, FORMAT = 258, 262, 339  # tags of a TIFF
UNSIGNED, SIGNED = 1, 2  # values of FORMAT
Pixels = npt.NDArray[np.uint8]


class DeepGrey(NamedTuple):
    """What a file says of the numbers of a grey image, which pillow hands on as they are.

    Attributes:
        bits: of a number, where the file is a TIFF.
        signed: whether it says that they are integers with a sign.
        unsigned: that they are without one.
        white_is_zero: 0 is white.
    """

    bits: int | None = None
    signed: bool = False
    unsigned: bool = False
    white_is_zero: bool = False

    @classmethod
    def of(cls, image: Image) -> DeepGrey:
        """What stands in the tags of a TIFF; of other files nothing."""
        tags = getattr(image, "tag_v2", None)
        if tags is None:
            return cls()
        bits, kind = first(tags.get(BITS, 1)), first(tags.get(FORMAT, UNSIGNED))
        return cls(bits, kind == SIGNED, kind == UNSIGNED, tags.get(PHOTOMETRIC) == 0)

    def check_signs(self, what: str) -> None:
        """Raise for numbers of 8 or 16 bits with a sign, whose black and white nobody knows.

        Raises:
            InputError: they are of that kind; `what` names the file.
        """
        if self.signed and self.bits is not None and self.bits <= 16:
            raise InputError(
                f"{what} holds integers of {self.bits} bits with a sign, which have no black and "
                "no white: convert it to an 8-bit PNG"
            )

    def pixels(self, image: Image, what: str) -> Pixels:
        """The grey of an image of mode I;16, I or F, its transparent value as white.

        Raises:
            InputError: numbers of which black and white are not known; `what` names the file.
        """
        values = np.asarray(image)
        if self.bits == 32 and self.unsigned and values.dtype == np.int32:
            values = values.view(np.uint32)  # pillow has no numbers of 32 bits without a sign
        largest = (1 << self.bits) - 1 if self.bits is not None and 8 < self.bits < 16 else 65535
        pixels = to_bytes(values, what, largest)
        if self.white_is_zero:
            pixels = 255 - pixels
        if isinstance(transparent := image.info.get("transparency"), int):
            pixels[values == transparent] = 255
        return pixels


def first(value: int | tuple[int, ...]) -> int:
    """Of a tag that may hold a number for each band."""
    return value[0] if isinstance(value, tuple) else value


def to_bytes(values: npt.NDArray[Any], what: str, largest: int = 65535) -> Pixels:
    """Integers from 0 to the largest, or floats in [0, 1], as uint8.

    Example:
        >>> to_bytes(np.array([0, 4095], np.uint16), "a.tif", 4095).tolist()
        [0, 255]
    """
    low, high = values.min(), values.max()
    if values.dtype.kind in "ui" and low >= 0 and 0 < high <= 255:
        raise InputError(
            f"{what} holds integers from {low} to {high} that may be meant as 8 bits or as 16: "
            "convert it to an 8-bit PNG"
        )
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.asarray(np.rint(values * 255), np.uint8)
    if values.dtype.kind in "ui" and low >= 0 and high <= largest:
        wide = values.astype(np.uint64)
        return np.asarray((wide * 255 + largest // 2) // largest, np.uint8)
    raise InputError(
        f"{what} holds grey values from {low} to {high}; expected 8 or 16 bits, or floats in "
        "[0, 1]: convert it to an 8-bit PNG"
    )
