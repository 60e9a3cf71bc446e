"""Find the images of a folder of class folders, before any is opened."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from torchcaps.errors import InputError
from torchcaps.models.folder import is_run

__all__ = ["Listing", "has_test_part", "scan"]

logger = logging.getLogger("torchcaps")

IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".bmp", ".gif", ".webp", ".tif", ".tiff",
}  # fmt: skip
# What systems and network drives leave in folders, some of it thumbnails and deleted images.
JUNK = {
    "thumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin", "system volume information",
    "lost+found", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",
}  # fmt: skip
TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")  # the first of these that is there
PART = re.compile(r"(?<![a-z])(train|test|val)")  # where a word of a part's name begins
DEEPEST = 100
MOST_VISITS = 100  # of one folder: links that fork can make 2²³ ways to it of two dozen links
HINT = "expected FOLDER/CLASS/IMAGE, or FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE"


class Listing(NamedTuple):
    """Image files by class; `test` is None where the folder has no test part."""

    class_names: tuple[str, ...]
    train: list[list[Path]]
    test: list[list[Path]] | None


def scan(root: Path) -> Listing:
    """List the image files of each class, in a fixed order.

    Classes are sorted with numbers in numeric order ("2" before "10"), files by their path. Runs of
    this package are passed over.

    Raises:
        InputError: the folder is missing or unreadable; it has fewer than two classes, images
            outside them, a class without images, or parts under other names; or the classes of
            train and test differ.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; {HINT}")
    folders = _class_folders(root)
    by_name = {folder.name.lower(): folder for folder in folders}
    train = next((by_name[name] for name in TRAIN if name in by_name), None)
    test = next((by_name[name] for name in TEST if name in by_name), None)
    parts = {folder for folder in (train, test) if folder is not None}
    if train is None or not _entries(train)[0]:
        known = {*TRAIN, *TEST}.issuperset(folder.name.lower() for folder in folders)
        if parts and (known or len(parts) == 2):
            raise InputError(f"{root} has {_names(folders)} but no classes to train on; {HINT}")
        _check_no_parts(root, folders)
        return Listing(*_classes(root, folders), None)
    if test is None and len(folders) > 1:
        raise InputError(
            f"{root} has {train.name}/ beside {_names([f for f in folders if f != train])}: is it "
            f"a class or the train part? {HINT}"
        )
    names, train_files = _classes(train, _class_folders(train))
    if test is None:
        return Listing(names, train_files, None)
    if others := [folder for folder in folders if folder not in parts]:
        logger.warning(
            "%s: of its folders %s are read; passed over: %s",
            root,
            _names([train, test]),
            _names(others),
        )
    test_names, test_files = _classes(test, _class_folders(test))
    if names != test_names:
        odd = sorted(set(names) ^ set(test_names), key=_natural)
        where = train if odd[0] in names else test
        raise InputError(
            f"{train} and {test} have different classes: {odd[0]!r} is only in {where.name}/; "
            "expected the same class folders in both"
        )
    return Listing(names, train_files, test_files)


def has_test_part(root: Path) -> bool:
    """Whether a folder that `scan` takes has one."""
    names = {folder.name.lower() for folder in _entries(root)[0]}
    return not (names.isdisjoint(TRAIN) or names.isdisjoint(TEST))


def _classes(root: Path, folders: list[Path]) -> tuple[tuple[str, ...], list[list[Path]]]:
    if not folders:
        raise InputError(f"{root} has no class folders; {HINT}")
    if len(folders) == 1:
        raise InputError(
            f"{root} has only one class folder, {folders[0].name!r}; expected at least two classes"
        )
    files = [_images(folder) for folder in folders]
    empty = [folder for folder, images in zip(folders, files) if not images]
    if empty:
        raise InputError(f"class folder {empty[0]} has no images; add some or remove the folder")
    return tuple(folder.name for folder in folders), files


def _check_no_parts(root: Path, folders: list[Path]) -> None:
    """Raise for parts under names that are not known, which would be taken for classes."""
    parts = [folder for folder in folders if PART.search(folder.name.lower())]
    inner = {folder: _inner(folder) for folder in folders} if parts else {}
    for part in parts:
        which, same = f"{part.name}/ holds", inner[part] & {folder.name for folder in folders}
        for other in folders:
            if not same and other != part and len(inner[part] & inner[other]) > 1:
                which = f"{part.name}/ and {other.name}/ hold"
                same = inner[part] & inner[other]
        if same:
            shown = _names([Path(name) for name in sorted(same, key=_natural)])
            raise InputError(
                f"{root} has {_names(folders)}, and {which} {shown}: do these folders hold parts? "
                "Call them train/ and test/, with the classes right in them, and take others away; "
                "or where they are classes give their inner folders other names"
            )


def _inner(folder: Path) -> set[str]:
    """Names of the folders in a folder; none, where images lie beside them."""
    folders, files = _entries(folder)
    loose = any(file.suffix.lower() in IMAGE_SUFFIXES for file in files)
    return set() if loose else {inner.name for inner in folders}


def _class_folders(root: Path) -> list[Path]:
    """The folders in `root`; images beside them are a mistake."""
    folders, files = _entries(root)
    for file in files:
        if file.is_symlink() and not file.exists():  # a class of a disk that is not there, perhaps
            raise InputError(f"{file} is a link to nothing; mend or remove it")
    loose = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if loose:
        raise InputError(
            f"{root} has {len(loose)} images that lie in no class folder, the first "
            f"{loose[0].name}; {HINT}"
        )
    return folders


def _images(folder: Path) -> list[Path]:
    """Every image at any depth in a class folder; other files are passed over, and that is said."""
    files = list(_walk(folder, frozenset(), Counter()))
    others = [file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
    if others:
        logger.warning(
            "class folder %s: passed over %s not called as an image is, the first %s",
            folder,
            "1 file that is" if len(others) == 1 else f"{len(others)} files that are",
            others[0],
        )
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]


def _walk(folder: Path, above: frozenset[Path], visits: Counter[Path]) -> Iterator[Path]:
    """Every file at any depth; `visits` counts how often each folder was come to."""
    real = folder.resolve()
    if real in above:
        raise InputError(f"{folder} is a link to a folder that holds it; remove the link")
    if len(above) > DEEPEST:
        raise InputError(f"{folder} lies more than {DEEPEST} folders deep; move it up")
    visits[real] += 1
    if visits[real] > MOST_VISITS:
        raise InputError(
            f"{folder} is reached in more than {MOST_VISITS} ways over links to folders; remove "
            "the links"
        )
    folders, files = _entries(folder)
    yield from files
    for inner in folders:
        yield from _walk(inner, above | {real}, visits)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files in a folder, in natural order; hidden ones, leavings and runs aside."""
    try:
        with os.scandir(folder) as entries:
            is_folder = {entry.name: _is_folder(entry) for entry in entries}
    except OSError as error:
        raise InputError(f"folder {folder} cannot be read: {error.strerror or error}") from error
    seen = [name for name in is_folder if not name.startswith(".") and name.lower() not in JUNK]
    seen.sort(key=_natural)
    folders = [folder / name for name in seen if is_folder[name]]
    folders = [folder for folder in folders if not _holds_runs(folder)]
    return folders, [folder / name for name in seen if not is_folder[name]]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{entry.path} cannot be read: {why}; mend or remove it") from error


def _holds_runs(folder: Path) -> bool:
    """Whether it is a training run, whose pictures are not data, or the folder where runs lie."""
    inside = folder.glob("*/run.json") if folder.name == "runs" else ()
    return is_run(folder) or any(is_run(file.parent) for file in inside)


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key in which numbers count as numbers."""
    # "²" is a digit to isdigit but not to int, so only 0-9 count
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces], name


def _names(folders: list[Path]) -> str:
    return ", ".join(f"{folder.name}/" for folder in folders[:5]) + (
        ", …" if len(folders) > 5 else ""
    )
