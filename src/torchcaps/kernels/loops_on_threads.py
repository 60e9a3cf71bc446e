"""Loops of the CPU kernels on all of torch's threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from torchcaps.kernels.openmp_team import has_team, run_loop

__all__ = ["on_all_threads"]

WORTH_A_THREAD = 100_000  # steps of a loop, 0.04 ms or more: to have a thread begin takes 0.01
WORTH_A_POOL = 8  # times as many, where Python wakes it

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def on_all_threads(
    function: Callable[..., None], items: int, *arguments: object, steps: int
) -> None:
    """Call function(*arguments, counter, items) on as many threads as torch has.

    The threads share out the items by the counter as they go, so that a slow one does fewer. Every
    item has places of its own to write to: who does it changes no bit of what comes out. Where
    there are few `steps`, this thread does all of them (threads of our own: as many take part as
    the steps are worth).
    """
    counter = np.zeros(1, np.int64)
    threads = torch.get_num_threads()
    useful = min(threads, items)
    if has_team():  # OpenMP wakes all of torch's threads, and waits for all of them
        worth = useful > 1 and steps >= WORTH_A_THREAD * max(2, useful // 2)
        run_loop(function, threads if worth else 1, *arguments, counter, items)
    else:
        call = partial(run_loop, function, 1, *arguments, counter, items)
        on_pool(call, min(useful, steps // (WORTH_A_POOL * WORTH_A_THREAD)))


def on_pool(call: Callable[[], None], threads: int) -> None:
    """Call a function on so many threads, this one among them."""
    if threads <= 1:
        call()
        return
    key = (os.getpid(), threads)  # threads do not survive a fork
    pool = _pools.get(key)
    if pool is None:
        # Without a lock, which a fork could leave closed: of two that are made, one is kept, and
        # the other has not begun a thread.
        pool = _pools.setdefault(key, ThreadPoolExecutor(threads - 1, "torchcaps"))
    helpers = [pool.submit(call) for _ in range(threads - 1)]
    call()
    for helper in helpers:
        if not helper.cancel():  # one that has not begun yet finds nothing left to do
            helper.result()
