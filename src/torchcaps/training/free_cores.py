"""Fewer threads for as long as other processes keep cores busy."""

import math
import multiprocessing
import os
import time
from typing import NamedTuple

import psutil
import torch

__all__ = ["CpuTime", "FreeCores", "cpu_time", "threads_that_fit"]

FIRST = 0.3  # seconds until the first look: a core's time is counted in hundredths of a second
EVERY = 5.0  # seconds between later ones
SPARE = 0.25  # of a core: so little other work costs less than a thread fewer would


class FreeCores:
    """Lets torch take no more threads than other processes leave cores.

    The threads of an operation wait for one another at its end. Where another process keeps one of
    two cores busy, one thread of two waits for its turn on that core in every operation, and the
    other waits for it: a step of a small network then takes up to six times as long on two threads
    as on one (docs/training.md, "Beside other work"). Up to as many threads as there were at first
    are taken again as soon as the others have ended.

    Args:
        follow: False: change nothing, as where a person has chosen the number of threads. Who has
            set OMP_NUM_THREADS has chosen, too.
    """

    def __init__(self, *, follow: bool = True) -> None:
        self.most = torch.get_num_threads()
        self.follows = follow and "OMP_NUM_THREADS" not in os.environ and self.most > 1
        self._said = False
        if self.follows:
            self._before = cpu_time()
            self._next = self._before.clock + FIRST

    def look(self) -> str | None:
        """Take as many threads as fit; the sentence for a person where that has not been said."""
        if not self.follows or time.perf_counter() < self._next:
            return None
        now = cpu_time()
        busy = (now.others - self._before.others) / (now.clock - self._before.clock)
        self._before, self._next = now, now.clock + EVERY
        threads = threads_that_fit(self.most, now.cores, busy)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
        if threads == self.most or self._said:
            return None
        self._said = True
        return (
            f"other processes keep {busy:.1f} of {now.cores} cores busy: training takes {threads} "
            f"of {self.most} threads until they have ended (--threads {self.most} keeps all)"
        )

    def close(self) -> None:
        """As many threads as at first."""
        if self.follows:
            torch.set_num_threads(self.most)


class CpuTime(NamedTuple):
    """A reading of what the cores have done."""

    clock: float
    """Seconds on the clock, from any moment."""
    others: float
    """Seconds that processes other than this and its children have kept cores busy."""
    cores: int
    """That this process may run on."""


def cpu_time() -> CpuTime:
    """Read the clocks of the cores and of this process.

    Processes that give way to this one (with a larger nice value) are not counted.
    """
    process = psutil.Process()
    all_cores = psutil.cpu_times(percpu=True)
    # Where a system does not tell which of the cores it may use, it may use all.
    mine = process.cpu_affinity() if hasattr(process, "cpu_affinity") else range(len(all_cores))
    gives_way = hasattr(os, "nice") and os.nice(0) > 0
    kinds = ("user", "system", "irq", "softirq", *(["nice"] if gives_way else []))
    busy = sum(getattr(all_cores[core], kind, 0.0) for core in mine for kind in kinds)
    return CpuTime(time.perf_counter(), busy - own_seconds(process), len(mine))


def own_seconds(process: psutil.Process) -> float:
    """Seconds on cores of a process and its children, those that read images for it among them."""
    seconds = float(sum(process.cpu_times()[:4]))  # user, system, and those of ended children
    for child in multiprocessing.active_children():
        try:
            seconds += sum(psutil.Process(child.pid).cpu_times()[:2])
        except psutil.Error:  # it has ended just now
            continue
    return seconds


def threads_that_fit(most: int, cores: int, busy: float) -> int:
    """How many threads find a core each where others keep so many of the cores busy.

    Example:
        >>> [threads_that_fit(2, 2, busy) for busy in (0.0, 0.2, 0.5, 1.0, 2.0)]
        [2, 2, 1, 1, 1]
        >>> [threads_that_fit(8, 16, busy) for busy in (1.0, 8.0, 10.0)]
        [8, 8, 6]
    """
    return max(1, min(most, cores - math.ceil(max(0.0, busy - SPARE))))
