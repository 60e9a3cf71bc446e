"""From an experiment and a scale to a folder with rows, pictures and a report."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError

from reproduction.harness.cell import Arrays, Cell, Outcome, Row
from reproduction.harness.experiment import Experiment, Report, Results
from reproduction.harness.folder import ExperimentFolder
from reproduction.harness.progress import ExperimentProgress
from reproduction.harness.report_file import report_of, write_report
from reproduction.harness.scale import Scale, ScaleName
from reproduction.harness.tuning import TRIAL_SEED, outcome_of
from reproduction.harness.workbench import Workbench
from torchcaps.errors import InputError, RunStopped
from torchcaps.training.build import describe_data

__all__ = ["adapted", "default_folder", "reproduce", "write_up"]


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

    Several processes may be given the same folder at once: each takes cells that no other has.

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
            are with another process; what is finished stays.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("an experiment runs in one process: call it without torchrun")
    scale = adapted(experiment, scale_name, seeds, data)
    folder = ExperimentFolder(out or default_folder(experiment.name, scale_name, data))
    folder.check(experiment.name, scale_name, scale)
    cells = experiment.cells(scale)
    left = [cell for cell in cells if folder.row(cell) is None]

    def finished() -> int:
        return sum(folder.row(cell) is not None for cell in cells)

    with ExperimentProgress(len(cells), finished) as progress:
        workbench = Workbench(folder, scale, data_dir, progress)
        if left:  # what is wrong with the data is said before anything is written
            if scale.training is not None:
                workbench.check()
            folder.begin(None if scale.training is None else describe_data(workbench.whole))
        for cell in left:
            with folder.claimed(cell) as mine:
                if mine:
                    with progress.cell(cell.key):
                        folder.keep(cell, computed(experiment, cell, workbench))
    folder.tidy()
    rows = [row for cell in cells if (row := folder.row(cell)) is not None]
    if len(rows) < len(cells):
        raise RunStopped(
            f"done, but {len(cells) - len(rows)} of {len(cells)} cells in {folder.path} are with "
            "another process: the last one to end writes the report",
            exit_code=0,
        )
    return folder.path, write_up(folder, experiment, scale_name, scale, rows).figures


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
    report = report_of(experiment, Results(folder.path, scale, rows, arrays or folder.arrays))
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


def computed(experiment: Experiment, cell: Cell, workbench: Workbench) -> Outcome:
    """A cell, or how to go on where it is interrupted."""
    path = workbench.folder.path
    try:
        return outcome_of(experiment, cell, workbench)
    except SafetensorError as error:  # of a disk that is full, for one
        raise RunStopped(
            f"the folder {path} cannot be written ({error}); what is done is saved: see to the "
            "disk, and the same command goes on from there",
            exit_code=1,
        ) from error
    except (RunStopped, KeyboardInterrupt) as error:
        if isinstance(error, RunStopped) and error.exit_code != 130:
            raise
        raise RunStopped(
            f"stopped in {cell.key}; what is done is saved in {path}: the same command goes on "
            "from there",
            exit_code=130,
        ) from error


def default_folder(name: str, scale_name: str, data: str | None) -> Path:
    """Where an experiment lies unless told otherwise."""
    parts = [name, scale_name] + ([] if data is None else [Path(data).stem])
    return Path("runs") / "-".join(parts)
