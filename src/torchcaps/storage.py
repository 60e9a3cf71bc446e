"""Atomic writes: a reader finds either the old file or the new one, never half of one."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

__all__ = ["atomic_path", "locked", "plain_number", "write_bytes", "write_json", "write_text"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success it becomes `path`, else it vanishes.

    The file is flushed to disk (fsync) before it is renamed, and the folder after, so that neither
    a kill nor a power cut leaves a half-written `path`. The temporary name keeps the suffix, for
    writers that take the format from it.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [p.name for p in folder.iterdir()]
        ['a.txt']
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".partial-", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        # mkstemp makes files private; these are ordinary ones.
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(target)  # a full disk does not say whose write it refused
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Hold a file as a lock, or find that another process does; a kill lets go of it.

    Windows has no such locks: there every process is told that it holds it.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.lock"
        >>> with locked(path) as mine, locked(path) as another:
        ...     print(mine, another)
        True False
    """
    if sys.platform == "win32":
        yield True
        return
    import fcntl

    with open(path, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` to `path` atomically, as readable JSON (floats keep every bit)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=plain_number) + "\n")


def plain_number(value: object) -> int | float:
    """A number as Python's own; what `json.dumps(default=…)` takes for NumPy's.

    Example:
        >>> import numpy as np
        >>> json.dumps({"epochs": np.int64(3)}, default=plain_number)
        '{"epochs": 3}'
    """
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"JSON cannot hold {type(value).__name__}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
