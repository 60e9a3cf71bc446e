"""All epochs of a run, one after the other, and how it ends: finished, stopped or broken off."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from torchcaps.cpu_threads import describe_threads
from torchcaps.errors import InputError, RunStopped
from torchcaps.storage import write_json
from torchcaps.training.checkpoint import run_of
from torchcaps.training.config import config_to_dict
from torchcaps.training.diagnosis import Alarm
from torchcaps.training.finish import finish
from torchcaps.training.interrupt import StopRequest
from torchcaps.training.progress import TrainingProgress, say
from torchcaps.training.read_ahead import is_lost_reader
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder
from torchcaps.training.task import HeldOut
from torchcaps.training.tracker import open_tracker

__all__ = ["TaskResult", "one_epoch", "run_to_the_end"]


@dataclass(frozen=True)
class TaskResult:
    """A finished run of any task.

    Attributes:
        folder: of the run.
        held_out: what the weights that were kept answered on the held-out data (None on the other
            processes of a distributed run).
    """

    folder: Path
    held_out: HeldOut | None


def run_to_the_end(run: Run, path: Path | None = None) -> TaskResult:
    """A new run, or one continued from `path`: all steps that are left, and what a run leaves."""
    try:
        return locked_to_the_end(run, path)
    except RuntimeError as error:
        if is_lost_reader(error):
            raise RunStopped(
                f"a process that read images for the run {run.folder.path} was killed, as where "
                f"memory runs out; {what_is_saved(run)}: go on with: {run.how_to_resume}",
                exit_code=1,
            ) from error
        if run.sampler.world == 1 or not is_lost_connection(error):
            raise
        raise RunStopped(left_alone(run), exit_code=1) from error
    finally:
        run.release()


def locked_to_the_end(run: Run, path: Path | None) -> TaskResult:
    """What `run_to_the_end` does while nobody else may write in the folder."""
    if path is None:
        run.begin()
    else:
        run.resume(RunFolder(run_of(path)), path)
        if run.is_main:  # it may have more epochs now
            write_json(run.folder.config, config_to_dict(run.config))
    try:
        all_epochs(run)
        result = finish_on_main(run)
        run.accelerator.wait_for_everyone()
        return result
    except KeyboardInterrupt as error:  # a second Ctrl-C, or one after the last step
        raise RunStopped(
            f"interrupted; {what_is_saved(run)}: go on with: {run.how_to_resume}", exit_code=130
        ) from error
    except InputError as error:  # a damaged image, found when its turn came
        raise InputError(
            f"{error}; the run has stopped, {what_is_saved(run)}: when that is done, go on with: "
            f"{run.how_to_resume}"
        ) from error
    except BrokenPipeError:  # of our output, not of the folder
        raise
    except (OSError, SafetensorError) as error:
        what, where = f"the run has stopped ({error})", "it"
        if isinstance(error, SafetensorError) or is_within(error.filename, run.folder.path):
            what, where = f"the folder {run.folder.path} cannot be written ({error})", "the disk"
        raise RunStopped(
            f"{what}; {what_is_saved(run)}: see to {where}, then go on with: {run.how_to_resume}",
            exit_code=1,
        ) from error


def what_is_saved(run: Run) -> str:
    """What a run that ends early has left."""
    if run.folder.has_checkpoints:
        return "its last checkpoint is whole"
    return "nothing is saved yet"


def is_within(path: Any, folder: Path) -> bool:
    """Whether this, if it is a path at all, lies in the folder."""
    return isinstance(path, str | Path) and Path(path).resolve().is_relative_to(folder.resolve())


def left_alone(run: Run) -> str:
    """What a person is told where the other processes do not answer any more."""
    if not hasattr(run, "folder"):
        return "another process has ended, or cannot be reached, before the run had a folder"
    return (
        f"another process of the run {run.folder.path} has ended, or cannot be reached; "
        f"{what_is_saved(run)}: go on with: {run.how_to_resume}"
    )


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether torch says of a collective operation that the others do not answer."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def all_epochs(run: Run) -> None:
    """Every step that is left, with its progress, metrics and checkpoints."""
    run.prepare()
    for callback in run.callbacks:
        callback.on_begin(run)
    tracker = open_tracker(run.config.tensorboard and run.is_main, run.folder.path)
    alarm = Alarm(run.epochs)
    with TrainingProgress(run.total_steps, run.step, quiet=not run.is_main) as progress:
        progress.say(run.task.describe(run.model))
        progress.say(
            f"{run.device.type}, {run.precision.name} ({run.precision.reason}), "
            f"{describe_threads(run.config.threads)}, seed {run.config.seed} → {run.folder.path}"
        )
        if run.step:
            progress.say(f"continuing after step {run.step} of {run.total_steps}")
        with StopRequest() as stop:
            while not run.is_over:
                row = one_epoch(run, progress, stop)
                tracker.log({k: v for k, v in row.items() if v is not None}, step=run.step)
                if run.is_main and (
                    warning := alarm.hear(run.task.diagnose(run.model, run.history))
                ):
                    progress.say(f"epoch {row['epoch']}: {warning}")
                for callback in run.callbacks:
                    callback.on_epoch(run, row)
    tracker.finish()


def one_epoch(run: Run, progress: TrainingProgress, stop: StopRequest) -> dict[str, Any]:
    """The steps to the end of the epoch; its row of metrics.

    Raises:
        RunStopped: a person asked to stop; what is done is saved.
    """
    run.wrapped.train()
    run.start_clock()
    per_epoch = run.sampler.steps_per_epoch
    epoch, done = divmod(run.step, per_epoch)
    for left in reversed(range(per_epoch - done)):
        run.do_step()
        progress.step(f"epoch {epoch + 1}/{run.epochs}")
        if warning := run.cores.look():
            progress.say(warning)
        stopping = run.any_process(stop.requested)
        if left and (stopping or run.step % run.config.checkpoint_every == 0):
            run.save()
        if left and stopping:
            raise stopped(run)
    row = run.close_epoch(epoch + 1)
    if run.is_main:  # the others have not validated
        progress.epoch(epoch_line(run, row))
    if run.any_process(stop.requested) and run.step < run.total_steps:
        raise stopped(run)
    return row


def epoch_line(run: Run, row: Mapping[str, Any]) -> str:
    """What is said of an epoch, from its row of metrics.csv."""
    epochs, examples = run.epochs, run.task.examples
    parts = [
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}",
        f"loss {row['loss']:.4f}",
        *run.task.describe_epoch(row),
        f"{row['seconds']:.1f} s",
        f"{row[f'{examples}_per_second']:.0f} {examples}/s",
    ]
    return "   ".join(parts)


def stopped(run: Run) -> RunStopped:
    """What a person who stopped a run is told."""
    return RunStopped(
        f"stopped after step {run.step} of {run.total_steps}, and saved; go on with: "
        f"{run.how_to_resume}",
        exit_code=130,
    )


def finish_on_main(run: Run) -> TaskResult:
    """The first process measures and draws; the others only know the folder."""
    if not run.is_main:
        return TaskResult(run.folder.path, None)
    run.folder.write_metrics(run.history)
    weights = run.take_kept_weights()
    held_out = finish(run.folder, run.task, run.model, run.history, run.config, weights)
    for line in held_out.lines:
        say(line)
    for callback in run.callbacks:
        callback.on_end(run, held_out)
    return TaskResult(run.folder.path, held_out)
