"""Many files at a time, in threads, with a progress bar when the wait is long."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from torchcaps.data.optional import require

__all__ = ["in_threads"]

CHUNK = 64  # items a thread takes at a time
BAR_FROM = 2000  # items from which a progress bar is worth its line
T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Sequence[T], verb: str) -> list[R]:
    """`function` of every item, in order; of several errors, that of the first item is raised.

    `verb` begins the label of the progress bar, "Reading".

    Example:
        >>> in_threads(str.upper, ["a", "b"], "Shouting")
        ['A', 'B']
    """
    starts = range(0, len(items), CHUNK)

    def work(start: int) -> list[R]:
        return [function(item) for item in items[start : start + CHUNK]]

    results: list[R] = []
    threads = min(8, max(2, os.cpu_count() or 2))
    with _bar(len(items), verb) as advance, ThreadPoolExecutor(threads) as pool:
        try:
            for chunk in pool.map(work, starts):
                results.extend(chunk)
                advance(len(chunk))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


@contextmanager
def _bar(total: int, verb: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal; gives the function that moves it on."""
    if total <= BAR_FROM or sys.stderr is None or not sys.stderr.isatty():
        yield lambda count: None
        return
    console = require("rich.console", "rich", "A progress bar").Console(stderr=True)
    progress = require("rich.progress", "rich", "A progress bar")
    with progress.Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"{verb} {total} images", total=total)
        yield lambda count: bar.advance(task, count)
