"""The image files that a person means by files, folders and patterns."""

import glob
import os
from collections.abc import Iterable, Iterator
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
    files and what systems leave in folders are passed over. Links to folders are followed, each
    folder once.

    Args:
        named: files, folders, and patterns such as `photos/**/*.jpg` for shells that expand none.
        leave_out: a folder whose files are not taken from the folders around it, where pictures of
            earlier answers lie.

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
    paths: dict[Path, None] = {}
    others = 0
    left_out = None if leave_out is None else os.path.realpath(leave_out)
    for path in _expanded(named):
        if not path.is_dir():
            paths[path] = None
            continue
        files = list(_walk(path, left_out, set()))
        images = [file for file in files if is_image(file) or file.is_dir()]
        if not images:
            raise InputError(
                f"{path} holds no images; expected {' '.join(sorted(IMAGE_SUFFIXES))} in it or in "
                "its folders"
            )
        others += len(files) - len(images)
        paths.update(dict.fromkeys(images))
    return FoundImages(list(paths), others)


def is_image(path: Path) -> bool:
    """Whether a file is called as images are."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _expanded(named: Iterable[Path]) -> Iterator[Path]:
    for path in named:
        if os.path.lexists(path) or not glob.has_magic(str(path)):
            yield path
            continue
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise InputError(f"{path} matches no file: name files, folders, or another pattern")
        yield from map(Path, matches)


def _walk(folder: Path, left_out: str | None, seen: set[str]) -> Iterator[Path]:
    """Every file that may be looked at, and every folder that cannot be."""
    real = os.path.realpath(folder)
    if real in seen or real == left_out:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: (entry.is_dir(), entry.is_file()) for entry in entries}
    except OSError:
        yield folder
        return
    for name in sorted(kinds):
        if name.startswith(".") or name.lower() in JUNK:
            continue
        is_folder, is_file = kinds[name]
        if is_folder:
            yield from _walk(folder / name, left_out, seen)
        elif is_file or os.path.islink(folder / name):  # a link to nothing is a broken file
            yield folder / name
