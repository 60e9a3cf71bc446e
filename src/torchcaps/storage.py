"""Atomic writes: a reader finds either the old file or the new one, never half of one."""

import errno
import hashlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from torchcaps.errors import InputError
from torchcaps.plain_numbers import plain_number

__all__ = [
    "as_utf8",
    "atomic_path",
    "check_plain_file",
    "expand_user",
    "is_at",
    "locked",
    "one_at_a_time",
    "parse_json",
    "read_json",
    "remove_abandoned",
    "short_name",
    "write_bytes",
    "write_json",
    "write_text",
]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success it becomes `path`, else it vanishes.

    The file is flushed to disk (fsync) before it is renamed, and the folder after, so that neither
    a kill nor a power cut leaves a half-written `path`. The temporary name keeps the suffix, for
    writers that take the format from it. What a kill leaves is removed by the next write of the
    same file. A link is followed: it stays, and what it leads to is written.

    Raises:
        InputError: `path` is there and not a plain file: a folder, a device, a pipe.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [p.name for p in folder.iterdir()]
        ['a.txt']
    """
    target = check_plain_file(path)
    lock, temporary = _begin(target)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # whoever could read the file before can read the new one
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(target)  # a full disk does not say whose write it refused
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _sync_folder(target.parent)


def check_plain_file(path: str | os.PathLike[str]) -> Path:
    """Where a file is to be written: `path` itself, or what it leads to as a link.

    Raises:
        InputError: something is there that is not a plain file, which a write would replace.

    Example:
        >>> check_plain_file("/dev/null")
        Traceback (most recent call last):
        ...
        torchcaps.errors.InputError: /dev/null is a device: name a plain file
    """
    real = Path(os.path.realpath(path))
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return real
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is {_kind(mode)}: name a plain file")
    return real


def expand_user(path: str | os.PathLike[str]) -> Path:
    """A path with the folder of a user in the place of ~ and ~name, as a shell gives it.

    Where there is no such user it stays as it stands.

    Example:
        >>> expand_user("~/runs") == Path.home() / "runs", expand_user("a/~").as_posix()
        (True, 'a/~')
    """
    return Path(os.path.expanduser(path))


def read_json(path: Path) -> Any:
    """What a plain file holds as JSON; for a pipe or a device one could wait for ever.

    Raises:
        InputError: something is there that is not a plain file.
        OSError: it cannot be read.
        ValueError: it is not JSON in UTF-8, is nested too deeply, names a field twice, or has a
            number of thousands of digits.
    """
    return parse_json(check_plain_file(path).read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """What a text says as JSON.

    Raises:
        ValueError: it is not JSON, is nested too deeply, names a field twice, or has a number of
            thousands of digits.

    Example:
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which JSON would else silently take the last of two fields of one name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {twice!r} twice")
    return found


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket"


def _begin(target: Path) -> tuple[int | None, Path]:
    """A new file beside `target`: the descriptor that locks it while it is open, and its path.

    It has the mode that the system gives a new file, and a name made from that of `target`, so that
    the next write of it finds what a kill has left. Another name, where somebody else is at it.
    """
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    suffix = target.suffix if len(os.fsencode(target.suffix)) < 32 else ""
    usual = target.with_name(f".partial-{digest}{suffix}")
    remove_abandoned(usual)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        other = target.with_name(f".partial-{digest}-{secrets.token_hex(4)}{suffix}")
        for path in (usual, other):
            try:
                handle = os.open(path, flags, 0o666)
            except FileExistsError:
                continue
            except OSError as error:
                error.filename = str(target)
                raise
            if sys.platform == "win32":  # no locks there, and no renaming of what is open
                os.close(handle)
                return None, path
            if path == other:
                return handle, path
            has_lock = _lock(handle)
            if has_lock and is_at(handle, path):
                return handle, path
            os.close(handle)  # somebody took it for abandoned, before it was locked
            if has_lock is None:  # nobody can, so that it would stay
                path.unlink(missing_ok=True)


def remove_abandoned(path: Path) -> None:
    """Remove a temporary file of `atomic_path` that no process holds any more: a kill left it.

    Where there are no locks, as on Windows, nothing is known of that, and the file stays.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".partial-0.json").touch()
        >>> remove_abandoned(folder / ".partial-0.json")
        >>> list(folder.iterdir())
        []
    """
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK)
    except (OSError, AttributeError):  # not there, most often; on Windows there are no such locks
        return
    try:
        if _lock(handle) and is_at(handle, path):
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock an open file, unless another process has; None on a file system without locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # as a server of files says that it is held
        return False
    except OSError:
        return None
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still what lies at a path.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     is_at(file.fileno(), Path(file.name)), is_at(file.fileno(), Path("elsewhere"))
        (True, False)
    """
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


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


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block with the same folder; Windows does not wait.

    Example:
        >>> import tempfile
        >>> with one_at_a_time(Path(tempfile.mkdtemp())):
        ...     pass
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with ExitStack() as stack:
        with suppress(PermissionError):  # it may be written but not read
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def as_utf8(text: str) -> str:
    """A text that UTF-8 can hold; bytes of a file's name that were no UTF-8 become `\\udcXX`.

    JSON reads that back.

    Example:
        >>> as_utf8("caf\\udce9")
        'caf\\\\udce9'
    """
    return text.encode(errors="backslashreplace").decode()


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8 (see `as_utf8`)."""
    write_bytes(path, as_utf8(content).encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` to `path` atomically, as readable JSON (floats keep every bit)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=plain_number) + "\n")


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder to sync it
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # it syncs no folders
            raise
    finally:
        os.close(descriptor)


def short_name(name: str, most: int = 200) -> str:
    """As much of a name as leaves room for an ending: file systems take 255 bytes.

    Example:
        >>> short_name("letters"), len(short_name(100 * "é").encode())
        ('letters', 200)
    """
    return name.encode("utf-8", "surrogateescape")[:most].decode("utf-8", "ignore")
