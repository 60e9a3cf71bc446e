"""Whether data will fit into memory, asked before they are read."""

import os

from torchcaps.errors import InputError

__all__ = ["TooLarge", "check_fits", "physical_memory"]

SHARE = 0.6  # of the physical memory that one data set may take


class TooLarge(InputError):
    """Data do not fit into memory."""


def physical_memory() -> int | None:
    """Bytes of memory in this machine; None where the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_fits(needed: int, what: str, advice: str) -> None:
    """Refuse to read `needed` bytes if they exceed 60 % of the physical memory.

    Raises:
        TooLarge: they do; the message begins with `what` and ends with `advice`.

    Example:
        >>> check_fits(1000, "a small array", "")
    """
    there = physical_memory()
    if there is not None and needed > SHARE * there:
        raise TooLarge(
            f"{what} would take {needed / 2**30:.1f} GiB of memory, more than {SHARE:.0%} of the "
            f"{there / 2**30:.1f} GiB of this machine; {advice}"
        )
