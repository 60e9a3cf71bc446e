"""The image files that a person means by files, folders and patterns."""

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from torchcaps.data.folder_listing import IMAGE_SUFFIXES, JUNK
from torchcaps.errors import InputError

__all__ = ["FoundImages", "find_images"]


class FoundImages(NamedTuple):
    """What lies where a person pointed.

    Attributes:
        paths: each file once, in the order named, those of a folder sorted. A folder that cannot be
            read is among them, so that it is reported as a file that cannot be read is.
        others: how many files of folders were passed over, being no images by their suffix.
    """

    paths: list[Path]
    others: int


def find_images(named: Iterable[Path], leave_out: Path | None = None) -> FoundImages:
    """Find image files: those named, those at any depth in folders, those that patterns match.

    A file that is named is taken whatever it is called; in a folder the suffix decides. Hidden
    files and what systems leave in folders are passed over, by patterns too. Links to folders are
    followed, each folder once.

    Args:
        named: files, folders, and patterns such as `photos/**/*.jpg` for shells that expand none.
        leave_out: a folder whose files are not taken from the folders around it, nor by patterns,
            where pictures of earlier answers lie; they are where it is named itself.

    Raises:
        InputError: a folder without images, or a pattern that nothing matches.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.png", "a.JPG", "notes.txt"):
        ...     (folder / name).touch()
        >>> found = find_images([folder])
        >>> [path.name for path in found.paths], found.others
        (['a.JPG', 'b.png'], 1)
    """
    if isinstance(named, str | Path):
        raise TypeError(f"named must be a list of paths, got {named!r}")
    named = [Path(path) for path in named]
    paths: dict[str, Path] = {}  # by where they lie, however that is spelt
    others = 0
    left_out = None if leave_out is None else os.path.realpath(leave_out)
    if left_out is not None and not os.path.isdir(left_out):
        left_out = None
    for path, without in _expanded(named, left_out):
        if not os.path.isdir(path):
            paths.setdefault(_place(path), path)
            continue
        files = list(_walk(path, without, set()))
        images = [file for file, is_shut in files if is_shut or is_image(file)]
        if not images:
            raise InputError(
                f"{path} holds no images{_outside(without, path)}; expected "
                f"{' '.join(sorted(IMAGE_SUFFIXES))} in it or in its folders"
            )
        others += len(files) - len(images)
        for image in images:
            paths.setdefault(_place(image), image)
    return FoundImages(list(paths.values()), others)


def _place(path: Path) -> str:
    """A file by its folder's real path and its own name, be that a link's."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def is_image(path: Path) -> bool:
    """Whether a file is called as images are."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _expanded(named: Iterable[Path], left_out: str | None) -> Iterator[tuple[Path, str | None]]:
    """Files and folders, each with what is to be left out: nothing, where that itself is named."""
    for path in named:
        is_pattern = not os.path.lexists(path) and glob.has_magic(str(path))
        fixed = _before_magic(path) if is_pattern else path
        without = None if _lies_in(fixed, left_out) else left_out
        if not is_pattern:
            yield path, without
            continue
        matches = sorted(_matches(path), key=str)
        taken = [m for m in matches if not _lies_in(m if os.path.isdir(m) else m.parent, without)]
        if not taken:
            outside = _outside(without, fixed) if matches else ""
            raise InputError(f"{path} matches no file{outside}: {_advice(path)}")
        yield from ((match, without) for match in taken)


def _before_magic(pattern: Path) -> Path:
    """The folder in which a pattern looks."""
    return Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))


def _matches(pattern: Path) -> list[Path]:
    """As `glob`, but ** comes to each folder once, where links lead to it in circles.

    What systems leave in folders is passed over, unless the pattern names it.
    """
    junk = JUNK - {part.lower() for part in pattern.parts}
    found = [Path(pattern.anchor)]
    parts = pattern.relative_to(pattern.anchor).parts
    for number, part in enumerate(parts, 1):
        if part == "**":
            seen = set[str]()
            last = number == len(parts)
            found = [path for base in found for path in _below(base, last, junk, seen)]
        elif glob.has_magic(part):
            names = ((base, name) for base in found for name in glob.glob(part, root_dir=base))
            found = [base / name for base, name in names if name.lower() not in junk]
        else:
            found = [base / part for base in found if os.path.lexists(base / part)]
    return found


def _below(folder: Path, with_files: bool, junk: set[str], seen: set[str]) -> Iterator[Path]:
    """A folder and those in it at any depth; hidden ones and those seen aside."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    try:
        with os.scandir(folder) as entries:
            is_folder = {entry.name: _kind(entry)[0] for entry in entries}
    except OSError:  # a file, most often
        return
    seen.add(real)
    yield folder
    for name in sorted(is_folder):
        if name.startswith(".") or name.lower() in junk:
            continue
        if is_folder[name]:
            yield from _below(folder / name, with_files, junk, seen)
        elif with_files:
            yield folder / name


def _advice(pattern: Path) -> str:
    """What to do about a pattern that matches nothing: it may be the name of a folder, [1]."""
    name, escaped = "", Path()
    for depth, part in enumerate(pattern.parts, 1):
        literal = glob.has_magic(part) and os.path.lexists(Path(*pattern.parts[:depth]))
        name = name or (part if literal else "")
        escaped /= glob.escape(part) if literal else part
    if not name:
        return "name files, folders, or another pattern"
    return (
        f"{name} in it is read as a pattern, and there is a folder of this very "
        f"name: for that write {escaped}"
    )


def _lies_in(path: Path, folder: str | None) -> bool:
    return folder is not None and Path(os.path.realpath(path)).is_relative_to(folder)


def _outside(left_out: str | None, path: Path) -> str:
    """What a message says of a folder that was left out around here."""
    if left_out is None or not _lies_in(Path(left_out), os.path.realpath(path)):
        return ""
    return f" outside {left_out}, which is left out unless it is named itself"


def _walk(folder: Path, left_out: str | None, seen: set[str]) -> Iterator[tuple[Path, bool]]:
    """Every file that may be looked at, and every folder that cannot be, which is told beside."""
    real = os.path.realpath(folder)
    if real in seen or real == left_out:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: _kind(entry) for entry in entries}
    except OSError:
        yield folder, True
        return
    for name in sorted(kinds):
        if name.startswith(".") or name.lower() in JUNK:
            continue
        is_folder, is_file = kinds[name]
        if is_folder:
            yield from _walk(folder / name, left_out, seen)
        elif is_file or os.path.islink(folder / name):  # a link to nothing is a broken file
            yield folder / name, False


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether it is a folder, and whether a file: what cannot be told fails when it is read."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError:  # a link in a circle
        return False, True
