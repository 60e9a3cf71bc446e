"""The idx format of MNIST and its relatives: bytes in a box with a small header."""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from torchcaps.data.images import ImageData
from torchcaps.data.memory_check import check_fits
from torchcaps.errors import InputError

__all__ = ["UInt8Array", "parse_idx", "read_idx", "read_pair"]

UInt8Array = npt.NDArray[np.uint8]
GZIP = b"\x1f\x8b"
UBYTE = 8  # the third byte of the magic number: the entries are unsigned bytes
LARGEST_RATIO = 1032  # deflate cannot compress further


def read_idx(path: Path, axes: int) -> UInt8Array:
    """Read an idx file, gzip-compressed if its name ends in .gz.

    Args:
        path: the file.
        axes: how many axes it must have: 3 for images [N, H, W], 1 for labels [N].

    Returns:
        The entries, uint8, in the shape that the file states.

    Raises:
        InputError: the file cannot be read, is not idx of bytes with `axes` axes, or holds more or
            less than its header says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> read_idx(path, axes=1)
        array([7, 2, 1], dtype=uint8)
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
            file.seek(0)
            if path.suffix != ".gz":
                if packed:
                    raise InputError(f"{path} is compressed with gzip; rename it to {path.name}.gz")
                return parse_idx(file, axes, str(path), size)
            if not packed:
                raise InputError(
                    f"{path} is named .gz but is not compressed with gzip; "
                    f"rename it to {path.stem}, or get it again"
                )
            with gzip.GzipFile(fileobj=file) as unpacked:
                return parse_idx(unpacked, axes, str(path), LARGEST_RATIO * size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); get it again") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def parse_idx(stream: BinaryIO | gzip.GzipFile, axes: int, what: str, most: int) -> UInt8Array:
    """Read an idx file from a stream.

    Args:
        stream: where to read, to its end.
        axes: as in `read_idx`.
        what: names the stream in messages.
        most: more bytes than this it cannot give: a header that claims them is not believed.

    Raises:
        InputError: as in `read_idx`.
    """
    start = 4 + 4 * axes
    header = stream.read(start)
    magic = bytes([0, 0, UBYTE, axes])
    if header[:4] != magic[: len(header)]:
        raise InputError(
            f"{what} begins with the bytes {header[:4].hex(' ')}; expected {magic.hex(' ')}, "
            f"an idx file of unsigned bytes with {axes} ax{'es' if axes > 1 else 'is'}"
        )
    if len(header) < start:
        raise InputError(
            f"{what} is truncated: it ends after {len(header)} bytes, within its header of {start};"
            " get it again"
        )
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4", axes, offset=4))
    expected = math.prod(shape)
    if axes > 1 and expected == 0:
        raise InputError(f"{what} holds no pixels; expected at least one image")
    if expected <= most:
        check_fits(2 * expected, what, "it is not a file of this data set: get it again")
    body = stream.read(expected + 1) if expected <= most else b""
    if len(body) != expected:
        problem = "is truncated" if len(body) < expected else "has trailing bytes"
        found = f"only {len(body)}" if 0 < len(body) < expected else "more" if body else "fewer"
        raise InputError(
            f"{what} {problem}: its header says {'×'.join(map(str, shape))} = {expected} bytes "
            f"but {found} follow; get it again"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_pair(
    images_path: Path, labels_path: Path, class_names: tuple[str, ...], name: str
) -> ImageData:
    """Images [N, 1, H, W] and labels [N] from their two idx files.

    Raises:
        InputError: a file is wrong (see `read_idx`), is empty, the counts differ, or a label has
            no name in `class_names`.
    """
    images, labels = read_idx(images_path, axes=3), read_idx(labels_path, axes=1)
    if len(images) != len(labels):
        raise InputError(
            f"{images_path} holds {len(images)} images but {labels_path.name} {len(labels)} "
            "labels; they belong to different data: get both again"
        )
    if images.size == 0:
        raise InputError(f"{images_path} holds no pixels; expected at least one image")
    if labels.max() >= len(class_names):
        raise InputError(
            f"{labels_path} holds the label {labels.max()}; expected 0 to {len(class_names) - 1}"
        )
    return ImageData(
        torch.from_numpy(images.copy())[:, None],
        torch.from_numpy(labels.astype(np.int64)),
        class_names,
        name,
    )
