"""How many CPU threads torch takes, and how they wait for one another."""

import os
from collections.abc import MutableMapping
from pathlib import Path

__all__ = ["CGROUP", "cores_of_container", "describe_threads", "set_threads", "wait_briefly"]

SPINS = 30_000  # about 1 ms, more or less by the processor; OpenMP's own is ten times as many
CGROUP = Path("/sys/fs/cgroup")


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads of torch's operations sleep sooner where they wait for one another.

    To be called before torch is imported: GNU's OpenMP reads its settings once. Its threads wait in
    a loop that keeps a core busy. Where other processes want that core, the thread that all wait
    for does not get it (measured: docs/training.md, "Beside other work"). No number that is
    computed depends on it. Whoever has set GOMP_SPINCOUNT or OMP_WAIT_POLICY keeps them.

    Example:
        >>> environment = {}
        >>> wait_briefly(environment)
        >>> environment
        {'GOMP_SPINCOUNT': '30000'}
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(environment):
        environment["GOMP_SPINCOUNT"] = str(SPINS)


def set_threads(threads: int | None = None) -> None:
    """Let torch take so many threads; default: its own number, or the cores of the container.

    A container that may use 2 of 64 cores sees all 64, and so does torch: its 64 threads would
    wait for one another most of the time. OMP_NUM_THREADS is obeyed.
    """
    import torch

    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        cores = cores_of_container()
        threads = None if cores is None else min(cores, torch.get_num_threads())
    if threads is not None:
        torch.set_num_threads(threads)


def describe_threads(asked: int | None = None) -> str:
    """How many threads torch takes, and why, where that is not its own choice.

    Args:
        asked: what `set_threads` was given.
    """
    import torch

    threads, cores = torch.get_num_threads(), cores_of_container()
    given = asked is not None or "OMP_NUM_THREADS" in os.environ
    limited = not given and threads == cores and threads < (os.cpu_count() or 1)
    return f"{threads} threads" + (", the container's share of the cores" if limited else "")


def cores_of_container(root: Path = CGROUP) -> int | None:
    """How many cores this container may keep busy, rounded up; None where nothing limits it.

    Args:
        root: where Linux shows the limits: `cpu.max` (version 2 of its control groups), or
            `cpu/cpu.cfs_quota_us` and `cpu/cpu.cfs_period_us` (version 1).
    """
    version_1 = [root / "cpu" / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
    for files in ([root / "cpu.max"], version_1):
        try:
            quota, period = map(int, " ".join(file.read_text() for file in files).split())
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
        if quota > 0 and period > 0:
            return -(-quota // period)
    return None
