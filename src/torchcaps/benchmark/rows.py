"""Rows of results in a CSV file that grows."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchcaps.errors import InputError
from torchcaps.storage import check_plain_file, write_text

__all__ = ["append_rows", "check_rows", "read_rows"]

NUMBERS = ("_ms", "_mib", "_torchcaps", "_floor")  # how columns of numbers end
NEEDED = "median_ms"  # never empty


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a file, atomically; a new one gets a header.

    Raises:
        InputError: the file there has other columns, or is damaged.
    """
    columns = list(rows[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    before = check_rows(path, columns)
    if not before:
        writer.writeheader()
    elif not before.endswith("\n"):  # as some editors leave it
        before += "\n"
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, before + text.getvalue())


def check_rows(path: Path, columns: Sequence[str]) -> str:
    """What is in a file, if rows of these columns can be added to it; nothing where there is none.

    Raises:
        InputError: it has other columns, or is damaged.
    """
    advice = "move it away, or name another folder"
    try:
        text = check_plain_file(path).read_text(encoding="utf-8") if path.exists() else ""
        header, *rows = list(csv.reader(io.StringIO(text))) if text else [columns]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table in UTF-8 ({error}): {advice}") from error
    if list(header) != list(columns):
        raise InputError(f"{path} has other columns than these results: {advice}")
    for number, row in enumerate(rows, 1):
        if row and len(row) != len(columns):
            raise InputError(
                f"{path} is damaged (row {number} has {len(row)} cells in {len(columns)} columns): "
                f"remove that row, {advice}"
            )
        strange = [name for name, cell in zip(columns, row) if not may_stand(name, cell)]
        if strange:
            raise InputError(
                f"{path} is damaged ({strange[0]} of row {number} is no number): remove that row, "
                f"{advice}"
            )
    return text


def may_stand(column: str, cell: str) -> bool:
    """Whether a cell holds a number, or nothing, where the column is one of numbers."""
    if not column.endswith(NUMBERS) or not cell:
        return column != NEEDED or bool(cell)
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, numbers as numbers and empty cells as None."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    try:
        return float(text) if text else None
    except ValueError:
        return text
