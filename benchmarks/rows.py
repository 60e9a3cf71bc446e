"""Rows of results, appended to a CSV file."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["append"]


def append(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Add rows to a file, with a header where it is new."""
    path.parent.mkdir(exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows → {path}")
