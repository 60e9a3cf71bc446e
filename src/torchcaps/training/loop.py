"""The training loop: from a config, or an interrupted run, to a finished run folder."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from torchcaps.data import TrainTest
from torchcaps.errors import InputError, RunStopped
from torchcaps.training.build import load_data_of
from torchcaps.training.checkpoint import run_of
from torchcaps.training.config import TrainConfig, read_train_config
from torchcaps.training.finish import RunResult, finish
from torchcaps.training.interrupt import StopRequest
from torchcaps.training.progress import TrainingProgress, describe_run
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder
from torchcaps.training.tracker import open_tracker

__all__ = ["resume", "train"]


def train(config: TrainConfig, data: TrainTest | None = None) -> RunResult:
    """Train as `config` says, in a new run folder.

    Args:
        config: the options of `torchcaps train`.
        data: labelled images to use instead of those that `config.data` names.

    Returns:
        The run folder and the answers on the held-out images, which are looked at once, after the
        last epoch; the weights are those of the last epoch.

    Raises:
        InputError: an option or a file is wrong.
        RunStopped: interrupted, or a loss that is not finite.
    """
    with torch.random.fork_rng():
        run = Run(config, load_data_of(config) if data is None else data)
        run.begin()
        return to_the_end(run)


def resume(path: Path, data: TrainTest | None = None) -> RunResult:
    """Continue an interrupted run from its last checkpoint.

    On the same device with the same number of threads, the weights at the end are, bit for bit,
    those of a run that was never interrupted.

    Args:
        path: the run folder, or one checkpoint file in its folder `checkpoints`.
        data: the labelled images, where the run was given some.

    Raises:
        InputError: no run there, a damaged checkpoint (the one before it is named), other data.
        RunStopped: as in `train`.
    """
    path = Path(path)
    folder = RunFolder(run_of(path))
    if not folder.config.is_file():
        raise InputError(f"{folder.path} is not the folder of a run: it holds no config.json")
    config = dataclasses.replace(read_train_config(folder.config), out=folder.path)
    with torch.random.fork_rng():
        run = Run(config, load_data_of(config) if data is None else data)
        run.go_on(folder, path)
        return to_the_end(run)


def to_the_end(run: Run) -> RunResult:
    """All steps that are left, then the held-out images, the model and the pictures."""
    go_on = f"torchcaps train --resume {run.folder.path}"
    try:
        all_epochs(run)
        result = finish_on_main(run)
        run.accelerator.wait_for_everyone()
        return result
    except KeyboardInterrupt as error:  # a second Ctrl-C, or one after the last step
        raise RunStopped(
            f"interrupted; go on from the last checkpoint with: {go_on}", exit_code=130
        ) from error
    except BrokenPipeError:  # of our output, not of the folder
        raise
    except (OSError, SafetensorError) as error:
        raise RunStopped(
            f"the folder {run.folder.path} cannot be written ({error}); its last checkpoint is "
            f"whole: see to the disk, then go on with: {go_on}",
            exit_code=1,
        ) from error


def all_epochs(run: Run) -> None:
    """Every step that is left, with its progress, metrics and checkpoints."""
    run.prepare()
    tracker = open_tracker(run.config.tensorboard and run.main, run.folder.path)
    with TrainingProgress(run.total_steps, run.step, quiet=not run.main) as progress:
        progress.say(describe_run(run.config, run.data, run.validation, run.model))
        progress.say(
            f"{run.device.type}, {run.precision.name} ({run.precision.reason}), "
            f"{torch.get_num_threads()} threads, seed {run.config.seed} → {run.folder.path}"
        )
        if run.step:
            progress.say(f"continuing after step {run.step} of {run.total_steps}")
        with StopRequest() as stop:
            while run.step < run.total_steps:
                row = one_epoch(run, progress, stop)
                tracker.log({k: v for k, v in row.items() if v is not None}, step=run.step)
    tracker.finish()


def one_epoch(run: Run, progress: TrainingProgress, stop: StopRequest) -> dict[str, Any]:
    """The steps to the end of the epoch; its row of metrics.

    Raises:
        RunStopped: a person asked to stop; what is done is saved.
    """
    run.wrapped.train()
    run.start_clock()
    per_epoch = run.batches.steps_per_epoch
    epoch, done = divmod(run.step, per_epoch)
    for left in reversed(range(per_epoch - done)):
        run.do_step()
        progress.step(f"epoch {epoch + 1}/{run.config.epochs}")
        stopping = run.anyone(stop.requested)
        if left and (stopping or run.step % run.config.checkpoint_every == 0):
            run.save()
        if left and stopping:
            raise stopped(run)
    row = run.close_epoch(epoch + 1)
    progress.epoch(row, run.config.epochs)
    if run.anyone(stop.requested) and run.step < run.total_steps:
        raise stopped(run)
    return row


def stopped(run: Run) -> RunStopped:
    """What a person who stopped a run is told."""
    return RunStopped(
        f"stopped after step {run.step} of {run.total_steps}, and saved; go on with: "
        f"torchcaps train --resume {run.folder.path}",
        exit_code=130,
    )


def finish_on_main(run: Run) -> RunResult:
    """The first process measures and draws; the others only know the folder."""
    if not run.main:
        return RunResult(run.folder.path, None)
    run.folder.write_metrics(run.history)
    return finish(run.folder, run.model, run.data.test, run.history, run.config)
