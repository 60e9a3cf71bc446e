"""Rows of results in a CSV file that grows."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchcaps.errors import InputError
from torchcaps.storage import write_text

__all__ = ["append_rows", "read_rows"]


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a file, atomically; a new one gets a header.

    Raises:
        InputError: the file there has other columns.
    """
    columns = list(rows[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if not before:
        writer.writeheader()
    elif next(csv.reader(io.StringIO(before)), []) != columns:
        raise InputError(
            f"{path} has other columns than these results: move it away, or name another folder"
        )
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, before + text.getvalue())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, numbers as numbers and empty cells as None."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    try:
        return float(text) if text else None
    except ValueError:
        return text
