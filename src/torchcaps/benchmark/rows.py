"""Rows of results in a CSV file that grows."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchcaps.errors import InputError
from torchcaps.storage import write_text

__all__ = ["append_rows"]


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
