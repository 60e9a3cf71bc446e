"""The size and the number of channels that a person asks for."""

import operator

from torchcaps.errors import InputError

__all__ = ["check_channel_count", "check_channels", "check_size", "size_advice"]

LARGEST_SIDE = 8192
USUAL_SIDES = (28, 32, 64, 128)


def check_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """`image_size` as (H, W): an integer is a square, None stays None.

    Raises:
        InputError: it is not one or two integers from 1 to 8192.

    Example:
        >>> check_size(32), check_size((20, 30))
        ((32, 32), (20, 30))
    """
    if image_size is None:
        return None
    sides = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    try:
        height, width = (operator.index(side) for side in sides)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise InputError(
            f"image_size is {image_size!r}; expected one integer or a pair (height, width), "
            f"each from 1 to {LARGEST_SIDE}"
        )
    return height, width


def check_channels(channels: int | None) -> int | None:
    """`channels` itself, if it is 1 (grey), 3 (RGB) or None (as the images are).

    Raises:
        InputError: it is something else.

    Example:
        >>> check_channels(3)
        3
    """
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise InputError(f"channels is {channels!r}; expected 1 (grey) or 3 (RGB)")
    return channels


def check_channel_count(channels: int | None) -> int | None:
    """`channels` itself, if it is a number of channels that an array may have, or None.

    Raises:
        InputError: it is something else.

    Example:
        >>> check_channel_count(13)
        13
    """
    if channels is None:
        return None
    try:
        count = 0 if isinstance(channels, bool) else operator.index(channels)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"channels is {channels!r}; expected a whole number from 1")
    return count


def size_advice(*sizes: tuple[int, ...]) -> str:
    """What to do where images differ in size, with a usual size to try: the largest that fits.

    Example:
        >>> size_advice((480, 640), (70, 90))
        'give --image-size (image_size in Python), for example 64'
    """
    smallest = min(side for size in sizes for side in size)
    example = max((side for side in USUAL_SIDES if side <= smallest), default=USUAL_SIDES[0])
    return f"give --image-size (image_size in Python), for example {example}"
