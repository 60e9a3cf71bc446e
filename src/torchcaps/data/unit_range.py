"""Pixels that are floats lie in [0, 1]."""

from torchcaps.errors import InputError

__all__ = ["check_unit_range"]

SLIGHTLY = 1e-3  # outside: what rounding or a bicubic filter does, and no other scale


def check_unit_range(low: float, high: float, holds: str, advice: str) -> None:
    """Raise unless the least and the largest of some pixels lie in [0, 1].

    Args:
        low, high: of the pixels.
        holds: which they are, as a sentence about them begins.
        advice: what to do where they are far from it.

    Example:
        >>> check_unit_range(0.0, 1.0000001, "images holds numbers", "divide them by 255")
        Traceback (most recent call last):
        ...
        torchcaps.errors.InputError: images holds numbers from 0 to 1.0000001; expected finite \
numbers in [0, 1] (they are slightly outside: clip them)
    """
    if low >= 0 and high <= 1:  # NaN makes both comparisons false
        return
    if low >= -SLIGHTLY and high <= 1 + SLIGHTLY:
        advice = "they are slightly outside: clip them"
    raise InputError(
        f"{holds} from {low:.9g} to {high:.9g}; expected finite numbers in [0, 1] ({advice})"
    )
