"""One image file as a model takes it, and many of them read ahead in threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from torch import Tensor

from torchcaps.data import read_image
from torchcaps.data.border import DARK, LIGHT, border_brightness
from torchcaps.errors import InputError
from torchcaps.models import Classifier

__all__ = ["Invert", "ReadImage", "check_readable", "grounds_differ", "read_ahead", "read_for"]

Invert = Literal["auto", "yes", "no"]
Item = TypeVar("Item")
Result = TypeVar("Result")


class ReadImage(NamedTuple):
    """An image of a model's shape.

    Attributes:
        pixels: `[C, H, W]` in [0, 1].
        inverted: whether dark and light were swapped.
    """

    pixels: Tensor
    inverted: bool


def read_for(model: Classifier, path: Path, invert: Invert) -> ReadImage:
    """Read an image file in a model's size and channels, and swap dark and light where needed.

    Args:
        model: whose metadata may say how bright the border of its images was.
        path: an image file.
        invert: "auto" swaps where the model learned on a dark ground and the image has a light one,
            or the other way round.

    Raises:
        InputError: it cannot be read as an image.
    """
    if os.path.isdir(path):  # one whose files could not be listed
        raise InputError(f"folder {path} cannot be read: {_why_not_listed(path)}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path} is neither a file nor a folder: name image files")
    pixels = read_image(path, model.image_size, model.channels).float() / 255
    swap = invert == "yes"
    if invert == "auto":
        learned = model.metadata.get("border_brightness")
        swap = grounds_differ(learned, float(border_brightness(pixels)))
    return ReadImage(1 - pixels if swap else pixels, swap)


def check_readable(model: Classifier) -> None:
    """Raise for a model whose images no image file holds."""
    if model.channels not in (1, 3):
        raise InputError(
            f"the model takes images of {model.channels} channels, which no image file holds: "
            "use it from Python"
        )


def grounds_differ(learned: float | None, seen: float) -> bool:
    """Whether the model knows dark paper and the image is on white, or the other way round.

    Example:
        >>> grounds_differ(0.0, 0.98), grounds_differ(0.0, 0.5), grounds_differ(None, 0.98)
        (True, False, False)
    """
    if learned is None:
        return False
    return (learned < DARK and seen > LIGHT) or (learned > LIGHT and seen < DARK)


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[Result]:
    """`function` of each item, in order, at work in threads on up to `most` items ahead.

    Example:
        >>> list(read_ahead(str.upper, ["a", "b", "c"], most=2))
        ['A', 'B', 'C']
    """
    threads = min(8, max(2, os.cpu_count() or 2))
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reading")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _why_not_listed(folder: Path) -> str:
    try:
        os.scandir(folder).close()
    except OSError as error:
        return error.strerror or str(error)
    return "it was not readable before"
