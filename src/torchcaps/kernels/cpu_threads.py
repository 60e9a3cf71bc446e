"""Loops of the CPU kernels on all of torch's threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from torchcaps.kernels.cpu_denormals import without_denormals

__all__ = ["on_all_threads"]

WORTH_A_THREAD = 800_000  # steps of a loop, some 0.3 ms: below, waking a thread costs more

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def on_all_threads(
    function: Callable[..., None], items: int, *arguments: object, steps: int
) -> None:
    """Call function(*arguments, counter, items) on as many threads as torch has.

    The threads share out the items by the counter as they go, so that one that is held up holds up
    no other. Every item has places of its own to write to: who does it changes no bit of what comes
    out. Fewer threads where each would have less than `WORTH_A_THREAD` of the `steps`.
    """
    counter = np.zeros(1, np.int64)
    threads = min(torch.get_num_threads(), items, steps // WORTH_A_THREAD)
    if threads <= 1:
        without_denormals(function, *arguments, counter, items)
        return
    key = (os.getpid(), threads)  # threads do not survive a fork
    pool = _pools.get(key)
    if pool is None:
        # Without a lock, which a fork could leave closed: of two that are made, one is kept, and
        # the other has not begun a thread.
        pool = _pools.setdefault(key, ThreadPoolExecutor(threads - 1, "torchcaps"))
    call = partial(without_denormals, function, *arguments, counter, items)
    helpers = [pool.submit(call) for _ in range(threads - 1)]
    call()
    for helper in helpers:
        if not helper.cancel():  # one that has not begun yet finds nothing left to do
            helper.result()
