"""Where the channels are: [H, W], [C, H, W] or [H, W, C]."""

from collections.abc import Sequence

from torchcaps.errors import InputError

__all__ = ["channels_last"]


def channels_last(shape: Sequence[int], what: str) -> bool:
    """Say whether an image shape of three axes is [H, W, C] (True) or [C, H, W] (False).

    Channels are the axis of 1 to 4 entries; an image has more rows and columns than that.

    Args:
        shape: the sizes of the three axes.
        what: how the message names the image.

    Raises:
        InputError: both or neither of the outer axes can be the channels.

    Example:
        >>> channels_last((28, 28, 3), "image"), channels_last((3, 28, 28), "image")
        (True, False)
    """
    first, last = shape[0] <= 4, shape[-1] <= 4
    if first == last:
        raise InputError(
            f"{what} has shape {list(shape)}, where {'both' if first else 'neither'} of the outer "
            "axes can be the channels (1 to 4 of them); expected [C, H, W] or [H, W, C]"
        )
    return last
