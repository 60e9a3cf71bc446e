"""The folder of an experiment: its settings, its finished cells, its runs."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reproduction.harness.cell import Arrays, Cell, Outcome, Row
from reproduction.harness.scale import Scale, published_training
from torchcaps.errors import InputError
from torchcaps.storage import (
    atomic_path,
    locked,
    read_json,
    remove_abandoned,
    write_json,
    write_text,
)
from torchcaps.training.config import USUAL_SHIFT, config_to_dict
from torchcaps.training.run_folder import describe_machine

__all__ = ["ExperimentFolder"]

# Where a thing lies and on how many threads it runs is not what is computed.
NOT_SETTINGS = {"data_dir", "out", "threads", "seed", "tensorboard"}
Fields = Mapping[str, type | tuple[type, ...]]
# What must be in experiment.json, in what it says of the data, and in the file of a cell.
FACTS: Fields = {"experiment": str, "scale": str, "settings": dict, "data": (dict, type(None))}
OF_DATA: Fields = {"name": str, "train": int, "test": int, "image": list}
RECORD: Fields = {"row": dict, "machine": dict}


class Kept(dict[str, Any]):
    """What a file of a cell holds; a name that it lacks says that the file is damaged."""

    def __init__(self, values: Mapping[str, Any], damaged: Callable[[str], InputError]) -> None:
        super().__init__(values)
        self.damaged = damaged

    def __missing__(self, name: str) -> Any:
        raise self.damaged(f"it lacks {name!r}")


class ExperimentFolder:
    """Paths in the folder of an experiment, and what has been finished in it.

    experiment.json (name, scale, settings, data), cells/ (a JSON file for each finished cell, and
    its arrays), diverged/ (a JSON file for each training that has no row since its loss was not
    finite), runs/ (the run folder of each training), and in the end results.csv, pictures and
    report.md.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts = path / "experiment.json"
        self.cells = path / "cells"
        self.failures = path / "diverged"
        self.machine = describe_machine()
        self._expected: dict[str, Any] = {}

    def check(self, experiment: str, scale_name: str, scale: Scale) -> None:
        """Raise unless the folder is new, or holds the experiment of this name. Nothing is written.

        More or fewer seeds than before are the same experiment: finished cells count. So is a
        setting that the folder does not name, where it now has its default.

        Raises:
            InputError: it holds another one or other things, or is a file.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise InputError(f"--out {self.path} is a file: name a folder")
        facts = {"experiment": experiment, "scale": scale_name, "settings": settings(scale)}
        self._expected = json_values(facts)
        if self.facts.exists():
            self._check_same(self._expected)
        elif self.path.is_dir() and not all(map(is_partial, self.path.iterdir())):
            raise InputError(
                f"{self.path} holds other things: name a new folder, or that of an experiment, "
                "with --out"
            )

    def begin(self, data: dict[str, Any] | None) -> None:
        """Make the folder, or take it up again.

        Args:
            data: what identifies the data; None where there are none.

        Raises:
            InputError: it was begun with other data.
        """
        data = json_values(data)
        if self.facts.exists():
            before = self.read_facts()["data"]
            if before != data:
                had = "" if before is None else f" ({before['name']}, {before['train']} training "
                raise InputError(
                    f"the data are not those that the experiment in {self.path} began with"
                    f"{had and had + 'images)'}: bring them back, or name another folder with --out"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        for left in [*self.path.glob(".partial-*"), *self.cells.glob(".partial-*")]:
            remove_abandoned(left)  # unless another process is at it
        write_json(self.facts, self._expected | {"data": data})
        self.cells.mkdir(exist_ok=True)

    def run_of(self, cell: Cell) -> Path:
        """The run folder of a cell's training."""
        return self.path / "runs" / cell.key

    @contextmanager
    def claimed(self, cell: Cell) -> Iterator[bool]:
        """Whether the cell is left to this process, and to no other while the block lasts."""
        path = self.cells / f"{cell.key}.lock"
        with locked(path) as mine:
            yield mine and not self.is_done(cell)
            if mine:
                path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove locks of finished cells, which stay where a kill came after a cell's last file."""
        for path in self.cells.glob("*.lock"):
            if path.with_suffix(".json").exists():
                with locked(path) as mine:
                    if mine:
                        path.unlink(missing_ok=True)

    def row(self, cell: Cell) -> Row | None:
        """The row of a finished cell, versions and machine at its end; None of another one.

        Raises:
            InputError: its file is damaged, or says that the cell had other options.
        """
        path = self.cells / f"{cell.key}.json"
        if not path.exists():
            return None
        record = read_record(path, RECORD)
        now = json_values(cell.options)
        before = record.get("options", now)  # older files do not say it
        if before != now:
            raise InputError(
                f"{path} was computed with the options {before}, and now they are {now}: rows of "
                "both cannot be compared, name another folder with --out"
            )
        values = {"cell": cell.name, "seed": cell.seed, **record["row"], **record["machine"]}
        return Kept(values, partial(damaged, path))

    def arrays(self, row: Row) -> Arrays:
        """The arrays of a finished cell."""
        path = self.cells / f"{Cell(row['cell'], row['seed']).key}.npz"

        def unreadable(why: object) -> InputError:
            return InputError(
                f"{path} cannot be read ({why}): remove {path.with_suffix('.json').name} beside "
                "it, so that the cell is computed again"
            )

        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return Kept({name: file[name] for name in file.files}, unreadable)
        # Damaged archives make zipfile, zlib and numpy raise errors of many kinds.
        except Exception as error:
            raise unreadable(error) from error

    def keep(self, cell: Cell, outcome: Outcome) -> None:
        """Write down a finished cell; its JSON file comes last, and says that it is finished."""
        if outcome.arrays:
            with atomic_path(self.cells / f"{cell.key}.npz") as path:
                np.savez_compressed(path, allow_pickle=False, **dict(outcome.arrays))
        options = json_values(cell.options)
        record = {"row": outcome.row, "machine": self.machine, "options": options}
        write_json(self.cells / f"{cell.key}.json", record)
        shutil.rmtree(self.run_of(cell) / "checkpoints", ignore_errors=True)

    def keep_diverged(self, cell: Cell, why: str) -> None:
        """Write down that a training diverged, so that it is named and not begun again."""
        self.failures.mkdir(exist_ok=True)
        write_json(self.failures / f"{cell.key}.json", {"why": why, "machine": self.machine})

    @property
    def diverged(self) -> list[str]:
        """The keys of the cells whose trainings diverged."""
        return sorted(path.stem for path in self.failures.glob("*.json"))

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell has a row, or never will."""
        return self.row(cell) is not None or (self.failures / f"{cell.key}.json").exists()

    def write_results(self, rows: Sequence[Row]) -> None:
        """Write results.csv: a row a cell, with every column that any of them has."""
        columns = list(
            dict.fromkeys(name for row in rows for name in row if name not in self.machine)
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=[*columns, *self.machine], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "results.csv", text.getvalue())

    def _check_same(self, facts: dict[str, Any]) -> None:
        there = self.read_facts()
        for name in ("experiment", "scale"):
            if there[name] != facts[name]:
                raise InputError(
                    f"{self.path} holds the experiment {there['experiment']} at the scale "
                    f"{there['scale']}: name another folder with --out"
                )
        # A folder that is older than an option was computed with what is now its default.
        usual = Scale(minutes=0, training=published_training())
        default = json_values(settings(usual))
        for name in sorted({*there["settings"], *facts["settings"]}):
            before, now = (s["settings"].get(name, default.get(name)) for s in (there, facts))
            if before != now:
                raise InputError(
                    f"{self.path} holds this experiment with {name} = {before}, and now it is "
                    f"{now}: name another folder with --out"
                )

    def read_facts(self) -> dict[str, Any]:
        """What experiment.json says.

        Raises:
            InputError: it cannot be read, or is damaged.
        """
        facts = read_record(self.facts, FACTS)
        if facts["data"] is not None:
            check_fields(self.facts, facts["data"], OF_DATA)
        return facts


def read_record(path: Path, fields: Fields) -> dict[str, Any]:
    """The object of these fields that a file holds as JSON."""
    try:
        record: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    check_fields(path, record, fields)
    return record


def check_fields(path: Path, record: Any, fields: Fields) -> None:
    """Raise unless a record is an object with these fields, each of its type."""
    if not isinstance(record, dict):
        raise damaged(path, "it holds no object")
    for name, kind in fields.items():
        if name not in record:
            raise damaged(path, f"it lacks {name!r}")
        if not isinstance(record[name], kind):
            raise damaged(path, f"its {name} is {record[name]!r:.40}")


def damaged(path: Path, why: object) -> InputError:
    """What is said of a file of JSON that is not as it was written."""
    return InputError(f"{path} is damaged ({why}): restore it, or remove it to do its work again")


def json_values(values: Any) -> Any:
    """The same as it is read from a file: a mapping is an object, a tuple a list."""
    return json.loads(json.dumps(values, default=dict))


def is_partial(path: Path) -> bool:
    """Whether a file is what a kill leaves of the first one that was to be written."""
    return path.name.startswith(".partial-")


def settings(scale: Scale) -> dict[str, Any]:
    """What determines the results of a scale, flat; the number of seeds is not among it."""
    aside = {"minutes", "seeds", "training", "wanted"}
    values = {k: v for k, v in asdict(scale).items() if k not in aside}
    values["compared_iterations"] = values.pop("iterations")  # a training has `iterations` too
    if scale.training is not None:
        trained = config_to_dict(scale.training)
        values = {k: v for k, v in trained.items() if k not in NOT_SETTINGS} | values
        if values["max_shift"] is None:  # as it was noted in the first rows
            values["max_shift"] = USUAL_SHIFT
    return values
