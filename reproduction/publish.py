"""What results/ holds: finished experiments without their weights, small enough to be committed.

results/NAME-SCALE[-DATA]/ is a folder as `python -m reproduction` leaves it, but for the trainings:
experiment.json, a JSON file for each cell (with its seed, versions, commit and machine), of its
arrays what the report needs, results.csv, report.md and the pictures. It is published with

    python -m reproduction.publish runs/iterations-cpu runs/table1-full …
"""

import dataclasses
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reproduction.harness.cell import Arrays, Cell, Row
from reproduction.harness.experiment import Experiment, Report, Results
from reproduction.harness.folder import ExperimentFolder
from reproduction.harness.registry import EXPERIMENTS, find_experiment
from reproduction.harness.report_file import report_of
from reproduction.harness.run import adapted, default_folder, finished_seeds, write_up
from reproduction.harness.scale import Scale, ScaleName
from torchcaps.cli import exit_after
from torchcaps.errors import InputError
from torchcaps.storage import atomic_path

__all__ = ["RESULTS", "ROOT", "Published", "all_published", "publish", "read"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
MOST_BYTES = 300_000  # of all arrays of an experiment


@dataclass(frozen=True)
class Published:
    """Finished cells of an experiment at a scale, and what they were computed with.

    Attributes:
        data: what it was trained on in place of the scale's data; None for those.
        scale: with so many seeds as there are.
        facts: experiment.json.
    """

    folder: ExperimentFolder
    experiment: Experiment
    scale_name: ScaleName
    data: str | None
    scale: Scale
    facts: dict[str, Any]

    @property
    def cells(self) -> Sequence[Cell]:
        """All of them are finished."""
        return self.experiment.cells(self.scale)

    @property
    def rows(self) -> list[Row]:
        """A row a cell."""
        return [row for cell in self.cells if (row := self.folder.row(cell)) is not None]

    def report(self, pictures: Path) -> Report:
        """The report of the rows; its pictures go to a folder."""
        folder = self.folder
        results = Results(pictures, self.scale, self.rows, folder.arrays, folder.diverged)
        return report_of(self.experiment, results)

    @property
    def tuned(self) -> bool:
        """Whether its learning rates were tried as this version tries them."""
        return self.scale.rates == self.experiment.scales[self.scale_name].rates


def read(path: Path) -> Published:
    """The experiment in a folder, with the seeds of which every cell is finished.

    Raises:
        InputError: it holds none, or one with other settings than this version's.
    """
    if not (path / "experiment.json").is_file():
        raise InputError(f"{path} holds no experiment.json: name a folder of an experiment")
    folder = ExperimentFolder(path)
    facts = folder.read_facts()
    scale_name: ScaleName = facts["scale"]
    trained_on, rates = (facts["settings"].get(name) for name in ("data", "rates"))
    try:
        experiment = find_experiment(facts["experiment"])
        scale = adapted(experiment, scale_name, None, None)
        data = None if scale.training is None or trained_on == scale.training.data else trained_on
        scale = adapted(experiment, scale_name, None, data)
    except InputError as error:
        raise InputError(f"{folder.facts}: {error}") from error
    # Rows of before rates were tuned for each network are still to be read, and say so.
    scale = dataclasses.replace(scale, rates=tuple(rates) if isinstance(rates, list) else ())
    folder.check(experiment.name, scale_name, scale)
    seeds = finished_seeds(experiment, scale, folder)
    if not seeds:
        lacking = next(cell.key for cell in experiment.cells(scale) if folder.row(cell) is None)
        if lacking in folder.diverged:
            raise InputError(f"{path} has no whole seed, since {lacking} diverged")
        raise InputError(f"{path} is not finished, it lacks {lacking}: go on with the experiment")
    scale = dataclasses.replace(scale, seeds=seeds)
    return Published(folder, experiment, scale_name, data, scale, facts)


def publish(path: Path, results: Path) -> Path:
    """Copy what is small of a finished experiment, write its report anew, and give the folder.

    Raises:
        InputError: it is not finished, or its arrays are too large.
    """
    source = read(path)
    name = default_folder(source.experiment.name, source.scale_name, source.data).name
    target, partial = results / name, results / f".partial-{name}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write_slim(source, path, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def write_slim(source: Published, path: Path, partial: Path) -> None:
    """Write the folder that is published; whatever is wrong with the one it is made of is named."""

    def slim(row: Row) -> Arrays:
        return source.experiment.slim(source.folder.arrays(row))

    (partial / "cells").mkdir(parents=True)
    shutil.copy(source.folder.facts, partial)
    for cell in source.cells:
        shutil.copy(source.folder.cells / f"{cell.key}.json", partial / "cells")
        if (source.folder.cells / f"{cell.key}.npz").exists():
            arrays = dict(slim({"cell": cell.name, "seed": cell.seed}))
            with atomic_path(partial / "cells" / f"{cell.key}.npz") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
    if source.folder.failures.is_dir():
        shutil.copytree(source.folder.failures, partial / source.folder.failures.name)
    size = sum(file.stat().st_size for file in partial.glob("cells/*.npz"))
    if size > MOST_BYTES:
        raise InputError(
            f"the arrays of {path} take {size:,} bytes, more than {MOST_BYTES:,}: let the "
            f"`slim` of {source.experiment.name} keep less of them"
        )
    copied = ExperimentFolder(partial)
    write_up(copied, source.experiment, source.scale_name, source.scale, source.rows, slim)


def all_published(results: Path) -> Iterator[Published]:
    """Everything in results/, in the order of the experiments, their scales and data."""
    found = [read(path.parent) for path in sorted(results.glob("*/experiment.json"))]
    names = list(EXPERIMENTS)

    def place(one: Published) -> tuple[int, int, str]:
        scales = list(one.experiment.scales)
        return names.index(one.experiment.name), scales.index(one.scale_name), one.data or ""

    yield from sorted(found, key=place)


def main() -> None:
    """Publish the folders that are named."""
    folders = sys.argv[1:]
    if not folders:
        raise InputError("name the folders to publish: python -m reproduction.publish FOLDER …")
    for folder in folders:
        print(publish(Path(folder), RESULTS))


if __name__ == "__main__":
    exit_after(main, "reproduction")
