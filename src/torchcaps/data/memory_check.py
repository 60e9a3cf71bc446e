"""Whether data will fit into memory, asked before they are read."""

import os
from pathlib import Path

from torchcaps.cpu_threads import CGROUP
from torchcaps.errors import InputError

__all__ = ["TooLarge", "check_fits", "memory_of_container", "physical_memory"]

SHARE = 0.6  # of the physical memory that one data set may take


class TooLarge(InputError):
    """Data do not fit into memory."""


def physical_memory() -> int | None:
    """Bytes of memory in this machine, or that its container may use; None where the system does
    not say (Windows)."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return min(there, memory_of_container() or there)


def memory_of_container(root: Path = CGROUP) -> int | None:
    """Bytes that this container may use before it is killed; None where nothing limits it.

    Args:
        root: where Linux shows the limits: `memory.max` (version 2 of its control groups), or
            `memory/memory.limit_in_bytes` (version 1, a huge number without a limit).
    """
    for path in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        try:
            return int(path.read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
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
