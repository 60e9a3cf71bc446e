"""From an experiment and a scale to a folder with rows, pictures and a report."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError

from reproduction.harness.cell import Arrays, Cell, Row
from reproduction.harness.experiment import Experiment, Report, Results
from reproduction.harness.folder import ExperimentFolder
from reproduction.harness.progress import ExperimentProgress
from reproduction.harness.report_file import report_of, write_report
from reproduction.harness.scale import Scale, ScaleName
from reproduction.harness.tuning import DIVERGED, TRIAL_SEED, outcome_of
from reproduction.harness.workbench import Workbench
from torchcaps.errors import InputError, RunStopped
from torchcaps.training.build import describe_data

__all__ = ["adapted", "default_folder", "finished_seeds", "reproduce", "write_up"]


def reproduce(
    experiment: Experiment,
    scale_name: ScaleName = "smoke",
    *,
    seeds: int | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
) -> tuple[Path, Sequence[str]]:
    """Compute what is left of an experiment, and write its report.

    Several processes may be given the same folder at once: each takes cells that no other has. A
    training whose loss is not finite has no row: the report names it, and is of the seeds before.

    Args:
        experiment: from `find_experiment`.
        scale_name: one of the experiment's.
        seeds: trainings of each kind, in place of the scale's.
        data: what to train on, in place of the scale's.
        data_dir: where the files of the data lie.
        out: the folder; default: one under runs/ that the same call finds again.

    Returns:
        The folder, and the main figures as lines.

    Raises:
        InputError: an argument or the folder is wrong. RunStopped: interrupted, or the last cells
            are with another process, or no seed is without a training that diverged; what is
            finished stays.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("an experiment runs in one process: call it without torchrun")
    scale = adapted(experiment, scale_name, seeds, data)
    folder = ExperimentFolder(out or default_folder(experiment.name, scale_name, data))
    folder.check(experiment.name, scale_name, scale)
    cells = experiment.cells(scale)
    left = [cell for cell in cells if not folder.is_done(cell)]

    def finished() -> int:
        return sum(folder.is_done(cell) for cell in cells)

    with ExperimentProgress(len(cells), finished) as progress:
        workbench = Workbench(folder, scale, data_dir, progress)
        if left:  # what is wrong with the data is said before anything is written
            if scale.training is not None:
                workbench.check()
                experiment.check(workbench)
            folder.begin(None if scale.training is None else describe_data(workbench.whole))
        for cell in left:
            with folder.claimed(cell) as mine:
                if mine:
                    with progress.cell(cell.key):
                        compute_and_keep(experiment, cell, workbench)
    folder.tidy()
    if finished() < len(cells):
        raise RunStopped(
            f"done, but {len(cells) - finished()} of {len(cells)} cells in {folder.path} are with "
            "another process: the last one to end writes the report",
            exit_code=0,
        )
    if any(folder.row(cell) is None for cell in cells):
        seeds = min(scale.seeds, finished_seeds(experiment, scale, folder))
        if not seeds:
            raise RunStopped(
                f"no report of {folder.path} can be written, since no seed is whole: diverged "
                f"{', '.join(folder.diverged)} (why: {folder.failures})",
                exit_code=DIVERGED,
            )
        scale = dataclasses.replace(scale, seeds=seeds)
    rows = [row for cell in experiment.cells(scale) if (row := folder.row(cell)) is not None]
    return folder.path, write_up(folder, experiment, scale_name, scale, rows).figures


def finished_seeds(experiment: Experiment, scale: Scale, folder: ExperimentFolder) -> int:
    """Of how many seeds, more or fewer than the scale's, there is every cell."""
    seeds, before = 0, 0
    while True:
        cells = experiment.cells(dataclasses.replace(scale, seeds=seeds + 1))
        if len(cells) == before or any(folder.row(cell) is None for cell in cells):
            return seeds
        seeds, before = seeds + 1, len(cells)


def write_up(
    folder: ExperimentFolder,
    experiment: Experiment,
    scale_name: str,
    scale: Scale,
    rows: Sequence[Row],
    arrays: Callable[[Row], Arrays] | None = None,
) -> Report:
    """Write results.csv, pictures and report.md from the rows of finished cells.

    Their arrays lie in the folder, unless they are to be had elsewhere.
    """
    folder.write_results(rows)
    results = Results(folder.path, scale, rows, arrays or folder.arrays, folder.diverged)
    report = report_of(experiment, results)
    write_report(folder, experiment, scale_name, scale, rows, report)
    return report


def adapted(
    experiment: Experiment, scale_name: ScaleName, seeds: int | None, data: str | None
) -> Scale:
    """A scale of the experiment, with other seeds or data if asked for."""
    if scale_name not in experiment.scales:
        known = ", ".join(experiment.scales)
        raise InputError(f"{experiment.name} has no scale {scale_name!r}: its scales are {known}")
    scale = experiment.scales[scale_name]
    if seeds is not None:
        if seeds < 1:
            raise InputError(f"--seeds must be at least 1, got {seeds}")
        if seeds > TRIAL_SEED:
            raise InputError(f"--seeds must be at most {TRIAL_SEED}, got {seeds}")
        scale = dataclasses.replace(scale, seeds=seeds)
    if data is not None:
        if scale.training is None:
            raise InputError(f"{experiment.name} takes no data: leave out --data")
        scale = dataclasses.replace(scale, training=dataclasses.replace(scale.training, data=data))
    return scale


def compute_and_keep(experiment: Experiment, cell: Cell, workbench: Workbench) -> None:
    """A cell and its file, or how to go on where it is interrupted."""
    folder = workbench.folder
    path = folder.path
    try:
        outcome = outcome_of(experiment, cell, workbench)
    except SafetensorError as error:  # of a disk that is full, for one
        raise RunStopped(
            f"the folder {path} cannot be written ({error}); what is done is saved: see to the "
            "disk, and the same command goes on from there",
            exit_code=1,
        ) from error
    except (RunStopped, KeyboardInterrupt) as error:
        if isinstance(error, RunStopped) and error.exit_code == DIVERGED:
            folder.keep_diverged(cell, str(error))
            return
        if isinstance(error, RunStopped) and error.exit_code != 130:
            raise
        raise RunStopped(
            f"stopped in {cell.key}; what is done is saved in {path}: the same command goes on "
            "from there",
            exit_code=130,
        ) from error
    folder.keep(cell, outcome)


def default_folder(name: str, scale_name: str, data: str | None) -> Path:
    """Where an experiment lies unless told otherwise."""
    parts = [name, scale_name] + ([] if data is None else [Path(data).stem])
    return Path("runs") / "-".join(parts)
