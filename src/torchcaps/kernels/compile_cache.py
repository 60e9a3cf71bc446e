"""Loops compiled by Numba, kept on disk where that works: a spoilt or full cache is no error.

The cache is a help, not a need: what cannot be read from it is compiled anew, and what cannot be
written to it is compiled again next time. Either is said once.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["compiled"]

logger = logging.getLogger("torchcaps")
_said: set[str] = set()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when first called, and keep the result on disk where that can be written."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    with suppress(
        RuntimeError, AttributeError, OSError
    ):  # no folder to keep it in, or another Numba
        dispatcher._cache = ForgivingCache(function)
    compiled_function: Callable[..., Any] = dispatcher
    return compiled_function


FunctionCache: Any = caching.FunctionCache  # Numba gives it no types


class ForgivingCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, but for what it raises, and what makes it out of date."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # Numba looks at the function's own file alone, but what it calls is compiled into it.
        self._cache_file._source_stamp = (self._cache_file._source_stamp, sources())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for this signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling what is truncated raises anything
            self._say("is damaged, and the loops are compiled anew", error)
        try:
            self.flush()
        except OSError:
            self.disable()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, if that is possible."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self.disable()
            self._say("cannot be written, and the loops are compiled in every process", error)

    def _say(self, what: str, error: Exception) -> None:
        if what not in _said:
            _said.add(what)
            why = error or type(error).__name__
            logger.warning("the cache of compiled loops in %s %s (%s)", self.cache_path, what, why)


@cache
def sources() -> str:
    """What tells these files of kernels from others of the same names."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        with suppress(OSError):  # an editor's lock, say
            digest.update(path.read_bytes())
    return digest.hexdigest()


if hasattr(os, "register_at_fork"):
    # A process that is forked off while another thread compiles would wait for ever to compile too.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
