"""The lock of a run folder: one process at a time writes there, and the others hear which."""

import datetime
import json
import os
import socket
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from torchcaps.errors import InputError
from torchcaps.storage import is_at, parse_json

__all__ = ["RunLock"]

NAME = ".lock"
_HELD: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


class RunLock:
    """Hold a run folder until `release`; the death of the process lets go of it too.

    The file `.lock` says who holds it (pid, host, since) and is removed at the end. On Windows, and
    on a file system without locks, nothing is held and nobody is refused.

    Raises:
        InputError: another process, or another run of this one, holds it; the message says which.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> lock = RunLock(folder)
        >>> [path.name for path in folder.iterdir()]
        ['.lock']
        >>> lock.release()
        >>> list(folder.iterdir())
        []
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.handle: int | None = None
        if sys.platform == "win32":
            return
        self.handle = _take(self.path)
        who = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        os.ftruncate(self.handle, 0)
        with suppress(OSError):  # on a full disk it holds, and does not say who
            os.pwrite(self.handle, json.dumps(who).encode(), 0)
        _HELD.add(self)

    def release(self) -> None:
        """Let go, and remove the file; a second time does nothing."""
        if self.handle is not None and is_at(self.handle, self.path):
            self.path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        handle, self.handle = self.handle, None
        if handle is not None:
            os.close(handle)


def _let_go_in_child() -> None:
    """A forked child would hold on to what its parent, which may die before it, has locked."""
    for lock in list(_HELD):
        lock._close()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go_in_child)


def _take(path: Path) -> int:
    """The descriptor of the lock file, locked."""
    import fcntl

    while True:
        # Neither a link nor a pipe that lies there is followed or waited for.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            with suppress(OSError):  # a file system without locks
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise InputError(_held(path.parent, os.pread(handle, 1000, 0))) from error
            if is_at(handle, path):  # else the one before removed it in between
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _held(folder: Path, content: bytes) -> str:
    """What the one who is refused is told."""
    try:
        who = parse_json(content.decode())
        by = f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):  # it has not written it yet
        by = "another process"
    return f"the run {folder} is being written by {by}: wait for its end, or stop it, and try again"
