"""Answers as rows of a CSV file, or as lines of JSON; written as they come, there when all are."""

import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from torchcaps.errors import InputError
from torchcaps.inference.answers import Answer
from torchcaps.storage import atomic_path, check_plain_file

__all__ = ["as_json", "check_folder", "check_table", "open_table"]

Write = Callable[[Answer], None]
SUFFIXES = (".csv", ".jsonl")
LONGEST = 1 << 20  # bytes of a first line that are looked at
COLUMNS = ("image", "class", "nearest", "activation", "inverted", "error")

# How a table begins, and so tells itself from other people's.
FIRST_ROW = re.compile(",".join(COLUMNS).encode())
FIRST_LINE = re.compile(rb'\{"image": ".*", "class": (null|".*"), "(nearest|error)": ')


def check_table(path: Path, inputs: Sequence[Path] = ()) -> None:
    """Raise unless a table can be written here.

    Raises:
        InputError: another suffix than .csv and .jsonl, no plain file, one of the inputs, below a
            file, or a file that is not such a table.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--to {path} must end with .csv (a table) or .jsonl (JSON lines)")
    try:
        real = str(check_plain_file(path))
    except InputError as error:
        raise InputError(f"--to {error}") from error
    if any(os.path.realpath(named) == real for named in inputs):
        raise InputError(f"--to {path} is one of the images: name another file")
    check_folder(path.parent, f"--to {path}")
    if path.exists() and not is_table(path):
        raise InputError(
            f"--to {path} is there already and not a table of answers: name another file, or "
            "remove it"
        )


def check_folder(folder: Path, option: str) -> None:
    """Raise where something that is no folder is in its place, or above it.

    Raises:
        InputError: so it is; the message begins with `option`.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise InputError(f"{option}: {there} is no folder: name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{option}: nothing can be written in {there}: name another place")


def is_table(path: Path) -> bool:
    """Whether a file is empty or begins as the tables that `open_table` writes."""
    with path.open("rb") as file:
        first = file.readline(LONGEST)
    csv_file = path.suffix.lower() == ".csv"
    return not first or bool((FIRST_ROW if csv_file else FIRST_LINE).match(first))


@contextmanager
def open_table(path: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """A function that adds an answer; the file is there, whole, once all went well.

    A CSV file has the columns `image`, `class` (empty where none of the classes is in the picture),
    `nearest` (the class with the largest activation) and that `activation`, `inverted`, `error`
    (why a file could not be read), and one of every class, `activation: NAME`. A line of JSON has
    the same names, and `activation` an object of the classes. UTF-8; bytes in the name of a file
    that are no UTF-8 are written as Python's `\\udcXX`.

    Args:
        path: ends with .csv or .jsonl; its folder is made where there is none.
        class_names: of the model.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        csv_file = path.suffix.lower() == ".csv"
        yield _csv_writer(file, class_names) if csv_file else _json_writer(file, class_names)


def as_json(answer: Answer, class_names: Sequence[str]) -> dict[str, Any]:
    """An answer as JSON values; `class` is None where none of the classes is in the picture.

    Example:
        >>> as_json(Answer(Path("a.png"), (0.1, 0.75), 1, known=True), ["cat", "dog"])["class"]
        'dog'
    """
    if answer.nearest is None:
        return {"image": str(answer.path), "class": None, "error": answer.error}
    nearest = class_names[answer.nearest]
    return {
        "image": str(answer.path),
        "class": nearest if answer.known else None,
        "nearest": nearest,
        "activation": dict(zip(class_names, map(_finite, answer.activation))),
        "inverted": answer.inverted,
    }


def _finite(value: float) -> float | None:
    """JSON has no word for what is not a number."""
    return value if math.isfinite(value) else None


def _json_writer(file: IO[str], class_names: Sequence[str]) -> Write:
    def write(answer: Answer) -> None:
        json.dump(as_json(answer, class_names), file, ensure_ascii=False, allow_nan=False)
        file.write("\n")

    return write


class UnixLines:
    """Writes lines that end in "\\r\\n" as lines that end in "\\n"."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, line: str) -> int:
        """One whole line."""
        return self.file.write(line.removesuffix("\r\n") + "\n")


def _csv_writer(file: IO[str], class_names: Sequence[str]) -> Write:
    # Before Python 3.13 a line break within a value is quoted only if the end of lines holds it.
    writer = csv.writer(UnixLines(file), lineterminator="\r\n")
    writer.writerow([*COLUMNS, *(f"activation: {name}" for name in class_names)])

    def write(answer: Answer) -> None:
        row: list[object]
        if answer.nearest is None:
            row = [answer.path, "", "", "", "", answer.error, *[""] * len(class_names)]
        else:
            nearest = class_names[answer.nearest]
            said = nearest if answer.known else ""
            inverted = "yes" if answer.inverted else "no"
            row = [answer.path, said, nearest, answer.largest, inverted, "", *answer.activation]
        writer.writerow(row)

    return write
