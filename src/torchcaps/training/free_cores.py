"""Fewer threads for as long as other processes keep cores busy."""

import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import psutil
import torch

__all__ = ["CpuTime", "FreeCores", "cpu_time", "threads_that_fit"]

FIRST = 0.3  # seconds until the first look: a core's time is counted in hundredths of a second
EVERY = 5.0  # seconds between later ones
SPARE = 0.25  # of a core: so little other work costs less than a thread fewer would
# Whoever sets one of these has chosen the number of threads, or binds them to cores.
CHOSEN = {
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
}  # fmt: skip


class FreeCores:
    """Lets torch take no more threads than other processes leave cores.

    The threads of an operation wait for one another at its end. Where another process keeps one of
    two cores busy, one thread of two waits for its turn on that core in every operation, and the
    other waits for it: a step of a small network then takes some times as long on two threads as on
    one (docs/training.md, "Beside other work"). Up to as many threads as there were at first are
    taken again as soon as the others have ended.

    Nothing is changed where somebody has chosen the number of threads, here, in the environment, or
    by `torch.set_num_threads` while this looks; nor where threads are bound to cores, or the system
    does not tell what its cores do.

    Args:
        follow: False: change nothing.
    """

    def __init__(self, *, follow: bool = True) -> None:
        self.most = self._taken = torch.get_num_threads()
        self._said = False
        self._next = time.perf_counter() + FIRST
        follows = follow and self.most > 1 and not CHOSEN & set(os.environ)
        self._before = cpu_time() if follows else None
        if self._before and len(self._before.cores) < self.most:
            self._before = None  # the threads have other cores than this one: they are bound

    def look(self) -> str | None:
        """Take as many threads as fit; the sentence for a person where that has not been said."""
        if self._before is None or time.perf_counter() < self._next:
            return None
        before, now = self._before, cpu_time()
        self._next = time.perf_counter() + EVERY
        if now is None or torch.get_num_threads() != self._taken:
            self.close()
            return None
        self._before = now
        if now.cores != before.cores:  # these are sums over other cores
            return None
        cores = len(now.cores)
        seconds = now.clock - before.clock
        busy, niced = (now.others - before.others) / seconds, (now.niced - before.niced) / seconds
        threads = threads_that_fit(self.most, cores, busy)
        if niced > 0:  # they slow this down, but give way: half of the threads are left
            without = threads_that_fit(self.most, cores, busy - niced)
            threads = max(threads, min(without, math.ceil(self.most / 2)))
        self._take(threads)
        if self._taken == self.most or self._said:
            return None
        self._said = True
        return (
            f"other processes keep {min(busy, cores):.1f} of {cores} cores busy: training takes "
            f"{self._taken} of {self.most} threads until they have ended (--threads {self.most} "
            "keeps all)"
        )

    def close(self) -> None:
        """As many threads as at first, unless somebody else has set their number; no more looks."""
        if self._before is not None and torch.get_num_threads() == self._taken:
            self._take(self.most)
        self._before = None

    def _take(self, threads: int) -> None:
        if threads != self._taken:
            torch.set_num_threads(threads)
        self._taken = threads


class CpuTime(NamedTuple):
    """A reading of what the cores have done."""

    clock: float
    """Seconds on the clock, from any moment."""
    others: float
    """Seconds that processes other than this one and its `multiprocessing` children have kept those
    cores busy."""
    cores: tuple[int, ...]
    """That this process may run on."""
    niced: float = 0.0
    """Seconds of those of others that are of processes which give way to this one."""


def cpu_time() -> CpuTime | None:
    """Read the clocks of the cores and of this process; None where the system does not tell.

    Processes whose nice value is above 0 give way, unless this one's is, too.
    """
    try:
        children = multiprocessing.active_children()  # first: it also collects those that ended
        process, all_cores = psutil.Process(), psutil.cpu_times(percpu=True)
        # Where a system does not tell which of the cores it may use, it may use all.
        has_affinity = hasattr(process, "cpu_affinity")
        mine = process.cpu_affinity() if has_affinity else range(len(all_cores))
        kinds = ("user", "nice", "system", "irq", "softirq")
        busy = sum(getattr(all_cores[core], kind, 0.0) for core in mine for kind in kinds)
        gives_way = hasattr(os, "nice") and os.nice(0) > 0
        niced = 0.0 if gives_way else sum(getattr(all_cores[core], "nice", 0.0) for core in mine)
        own = own_seconds(process, children)
    except (OSError, psutil.Error, IndexError):  # such as cores that are not there, in a container
        return None
    return CpuTime(time.perf_counter(), busy - own, tuple(mine), niced)


def own_seconds(process: psutil.Process, children: Sequence[BaseProcess]) -> float:
    """Seconds on cores of a process and of its children, such as those that read images for it."""
    seconds = float(sum(process.cpu_times()[:4]))  # user, system, and those of ended children
    for child in children:
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
    if busy <= SPARE:
        return most
    return max(1, min(most, cores - math.ceil(busy - SPARE)))
