"""One image file, or one PIL image, as pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchcaps.data.deep_colour import checked_colours
from torchcaps.data.deep_grey import DeepGrey
from torchcaps.data.image_options import check_channels, check_size
from torchcaps.data.optional import require
from torchcaps.errors import InputError
from torchcaps.storage import expand_user

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Pixels", "image_shape", "read_image", "read_pixels", "to_pixels"]

Pixels = npt.NDArray[np.uint8]


# Formats are told by content, not by the name; no other decoder of pillow's is ever started.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
WIDTH, HEIGHT = 256, 257  # the tags of a TIFF, as its pixels lie in the file
ORIENTATION = 0x0112  # the EXIF tag
TURNED = range(5, 9)  # values of it that exchange rows and columns
UPRIGHT = {  # by its values, what puts an image upright
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
    7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


def read_image(
    path: Path | str,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> Tensor:
    """Read one image file, exactly as `load_data` reads those of a folder.

    EXIF orientation is applied; transparent parts become white, the paper on which drawings with
    transparency are made to be seen (on black, black ink would vanish); 16-bit grey is scaled to 8
    bits; colours of LAB become RGB; of an animation or a many-page TIFF the first picture is taken.

    Args:
        path: a PNG, JPEG, BMP, GIF, WebP or TIFF file.
        image_size: side of a square, or (H, W), to resize to (bicubic, antialiased; proportions
            are not kept); None leaves the size.
        channels: 1 (grey) or 3 (RGB); None takes 1 for grey files and 3 for all others.

    Returns:
        uint8 [C, H, W].

    Raises:
        InputError: the file is missing, truncated, no image that pillow can read, or too large to
            decode safely.
        MissingPackage: pillow is not installed.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp()) / "red.png"
        >>> Image.new("RGB", (6, 4), "red").save(path)
        >>> read_image(path)[:, 0, 0].tolist(), list(read_image(path, 2, channels=1).shape)
        ([255, 0, 0], [1, 2, 2])
    """
    pixels = read_pixels(expand_user(path), check_size(image_size), check_channels(channels))
    return torch.from_numpy(np.ascontiguousarray(pixels))


def read_pixels(path: Path, size: tuple[int, int] | None, channels: int | None) -> Pixels:
    """As `read_image`, with checked options and as an array: [C, H, W], perhaps a view."""
    with _opened(path) as image:
        if size is not None and min(image.size) > 2 * max(size):
            # Lets the JPEG decoder skip detail that resizing would average away; it never goes
            # below twice the size asked for.
            image.draft(image.mode, (2 * max(size), 2 * max(size)))
        return to_pixels(image, str(path), size, channels)


def image_shape(path: Path) -> tuple[int, int, int]:
    """(channels, height, width) that `read_pixels` gives, from what stands before the pixels."""
    with _opened(path) as image:
        tags = getattr(image, "tag_v2", None)  # a TIFF has exchanged its sides already
        width, height = image.size if tags is None else (tags[WIDTH], tags[HEIGHT])
        if orientation_of(image) in TURNED:
            width, height = height, width
        return (1 if image.mode in GREY_MODES else 3), height, width


def orientation_of(image: Image) -> int:
    """How an image is to be turned, 1 to 8; 1 where its EXIF block cannot be read."""
    if image.format == "PNG" and "exif" not in image.info:
        image.load()  # the block may come after the pixels, and these may be damaged
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # of any kind; the pixels are whole
        return 1
    return value if isinstance(value, int) else 1


def to_pixels(
    image: Image, what: str, size: tuple[int, int] | None = None, channels: int | None = None
) -> Pixels:
    """A PIL image as uint8 [C, H, W]; see `read_image`. `what` names it in messages."""
    from PIL import Image as pil

    deep = DeepGrey.of(image)
    deep.check_signs(what)
    _scaled_transparency(image)
    image = checked_colours(image, what)
    image.load()  # by which pillow turns TIFFs upright itself
    if (turned := orientation_of(image)) in UPRIGHT:
        image = image.transpose(pil.Transpose[UPRIGHT[turned]])
    grey = image.mode in GREY_MODES
    if grey and image.mode not in ("1", "L", "LA", "La"):
        image = pil.fromarray(deep.pixels(image, what))  # pillow would clip it at 255
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, "white"), image)
    elif image.mode == "LAB":
        image = image.convert("RGB")  # the only step from there that pillow knows
    if channels is None:
        channels = 1 if grey else 3
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if size is not None and (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), pil.Resampling.BICUBIC)
    pixels = np.array(image)  # a copy: what asarray gives cannot be written to
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _scaled_transparency(image: Image) -> None:
    """Grey of 2 or 4 bits is spread over 8 by pillow, and its transparent value is not."""
    tiles = getattr(image, "tile", None)  # what is still to be decoded, and how
    raw = tiles[0][3] if tiles else None
    factor = {"L;2": 85, "L;4": 17}.get(raw) if isinstance(raw, str) else None
    value = image.info.get("transparency")
    if factor is not None and isinstance(value, int):
        image.info["transparency"] = value * factor


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Open an image file; whatever goes wrong in it becomes an InputError that names it."""
    pil = require("PIL.Image", "pillow", "Reading image files")
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(
                f"{path} is a pipe, a socket or a device, not a file; replace or remove it"
            )
        # From an open file, not from a path: of a path pillow 13 maps uncompressed TIFFs into
        # memory, and reads those that are to be turned with rows and columns exchanged.
        with path.open("rb") as file, pil.open(file, formats=FORMATS) as image:
            limit = pil.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise _too_large(path)
            yield image
    except (InputError, MemoryError):
        raise
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except pil.UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise InputError(
            f"{path} {'is empty' if empty else 'is not an image that pillow can read'}; expected "
            f"{', '.join(FORMATS)}: replace or remove it"
        ) from error
    # Decoders let out errors of any kind (SyntaxError, struct.error, IndexError, …) when a file is
    # damaged, so nothing narrower would do.
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # it could not be opened
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        raise InputError(
            f"{path} is truncated or damaged ({error or type(error).__name__}); "
            "replace or remove it"
        ) from error


def _too_large(path: Path) -> InputError:
    return InputError(
        f"{path} has more pixels than are safe to decode (it may be a decompression bomb); "
        "shrink or remove it"
    )
