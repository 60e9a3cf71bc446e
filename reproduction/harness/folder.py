"""The folder of an experiment: its settings, its finished cells, its runs."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
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
from torchcaps.training.config import config_to_dict
from torchcaps.training.run_folder import describe_machine

__all__ = ["ExperimentFolder"]

# Where a thing lies and on how many threads it runs is not what is computed.
NOT_SETTINGS = {"data_dir", "out", "threads", "seed", "tensorboard"}


class ExperimentFolder:
    """Paths in the folder of an experiment, and what has been finished in it.

    experiment.json (name, scale, settings, data), cells/ (a JSON file for each finished cell, and
    its arrays), runs/ (the run folder of each training), and in the end results.csv, pictures and
    report.md.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts = path / "experiment.json"
        self.cells = path / "cells"
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
        self._expected = json.loads(json.dumps(facts))
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
        data = json.loads(json.dumps(data))
        if self.facts.exists():
            before = self._read(self.facts)["data"]
            if before != data:
                raise InputError(
                    f"the data are not those that the experiment in {self.path} began with "
                    f"({before['name']}, {before['train']} training images): bring them back, or "
                    "name another folder with --out"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        for partial in [*self.path.glob(".partial-*"), *self.cells.glob(".partial-*")]:
            remove_abandoned(partial)  # unless another process is at it
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
            yield mine and self.row(cell) is None
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
        """The row of a finished cell, versions and machine at its end; None of another one."""
        path = self.cells / f"{cell.key}.json"
        if not path.exists():
            return None
        record = self._read(path)
        return {"cell": cell.name, "seed": cell.seed, **record["row"], **record["machine"]}

    def arrays(self, row: Row) -> Arrays:
        """The arrays of a finished cell."""
        path = self.cells / f"{Cell(row['cell'], row['seed']).key}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{path} cannot be read ({error}): remove {path.with_suffix('.json').name} beside "
                "it, so that the cell is computed again"
            ) from error

    def keep(self, cell: Cell, outcome: Outcome) -> None:
        """Write down a finished cell; its JSON file comes last, and says that it is finished."""
        if outcome.arrays:
            with atomic_path(self.cells / f"{cell.key}.npz") as path:
                np.savez_compressed(path, allow_pickle=False, **dict(outcome.arrays))
        record = {"row": outcome.row, "machine": self.machine}
        write_json(self.cells / f"{cell.key}.json", record)
        shutil.rmtree(self.run_of(cell) / "checkpoints", ignore_errors=True)

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
        there = self._read(self.facts)
        for name in ("experiment", "scale"):
            if there[name] != facts[name]:
                raise InputError(
                    f"{self.path} holds the experiment {there['experiment']} at the scale "
                    f"{there['scale']}: name another folder with --out"
                )
        # A folder that is older than an option was computed with what is now its default.
        usual = Scale(minutes=0, training=published_training())
        default = json.loads(json.dumps(settings(usual)))
        for name in sorted({*there["settings"], *facts["settings"]}):
            before, now = (s["settings"].get(name, default.get(name)) for s in (there, facts))
            if before != now:
                raise InputError(
                    f"{self.path} holds this experiment with {name} = {before}, and now it is "
                    f"{now}: name another folder with --out"
                )

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            record: dict[str, Any] = read_json(path)
            wanted = (
                {"experiment", "scale", "settings", "data"}
                if path == self.facts
                else {"row", "machine"}
            )
            if lacking := wanted - set(record):
                raise KeyError(f"it lacks {', '.join(sorted(lacking))}")
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({error}): restore it, or remove it to do its work again"
            ) from error
        return record


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
    return values
