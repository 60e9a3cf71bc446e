"""Where the channels are: [H, W], [C, H, W] or [H, W, C]."""

from collections.abc import Sequence

from torchcaps.errors import InputError

__all__ = ["channels_last"]


def channels_last(shape: Sequence[int], what: str, channels: int | None = None) -> bool:
    """Say whether an image shape of three axes is [H, W, C] (True) or [C, H, W] (False).

    Channels are the outer axis of 1 to 4 entries, for an image has more rows and columns than that.
    Where neither has so few, they are the axis beside which the other two make a square, or an
    outer axis of at most half of either other.

    Args:
        shape: the sizes of the three axes.
        what: how the message names the image.
        channels: how many there are, where that is known: then they are the outer axis of so many,
            the first of two.

    Raises:
        InputError: both or neither of the outer axes can be the channels.

    Example:
        >>> channels_last((28, 28, 3), "image"), channels_last((3, 28, 28), "image")
        (True, False)
        >>> channels_last((13, 64, 64), "image"), channels_last((64, 48, 13), "image")
        (False, True)
    """
    first, middle, last = shape
    if channels in (first, last):
        return channels != first
    if (first <= 4) != (last <= 4):
        return last <= 4
    if first > 4:
        if (first == middle) != (middle == last):
            return first == middle
        if 2 * min(first, last) <= min(middle, max(first, last)):
            return last < first
    raise InputError(
        f"{what} has shape {list(shape)}, where {'both' if first <= 4 else 'neither'} of the outer "
        "axes can be the channels; expected [C, H, W] or [H, W, C]: say how many channels there "
        "are with --channels (channels in Python)"
    )
