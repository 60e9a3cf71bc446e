"""One training of an experiment, through the library's own training loop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reproduction.harness.budget import budget_of
from reproduction.harness.cell import Row
from reproduction.harness.progress import ExperimentProgress
from torchcaps.data import TrainTest
from torchcaps.models import Classifier
from torchcaps.training.build import build_model
from torchcaps.training.config import TrainConfig
from torchcaps.training.epochs import one_epoch
from torchcaps.training.finish import finish
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.interrupt import StopRequest
from torchcaps.training.metrics import Evaluation
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder
from torchcaps.training.settings import apply_settings

__all__ = ["AfterEpoch", "Change", "Trained", "to_the_last_step", "train_or_resume"]

Change = Callable[[Classifier], Classifier]  # the model that is trained in place of the config's
# Looks at the model; is told how many looks came before: none is the one before any step.
AfterEpoch = Callable[[Classifier, int], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: the weights of the last epoch, what they answered, what it took."""

    model: Classifier
    held_out: Evaluation
    history: Sequence[Mapping[str, Any]]
    steps: int
    budget: Row

    @property
    def seconds_per_step(self) -> float:
        """In the quickest epoch: what else the machine has to do only ever adds to it."""
        quickest = min(float(row["seconds"]) for row in self.history)
        return quickest * len(self.history) / self.steps


def train_or_resume(
    config: TrainConfig,
    data: TrainTest,
    progress: ExperimentProgress,
    *,
    change: Change | None = None,
    after_epoch: AfterEpoch | None = None,
    look_every: int | None = None,
) -> Trained:
    """Train as `config` says, or go on with what lies in its folder `out`.

    Args:
        config, data: as for any run.
        progress: what is told of steps.
        change: gives the model to train from the config's.
        after_epoch: looks at the model before any step, and after each epoch.
        look_every: steps after which it looks, in place of epochs.

    Raises:
        InputError: an option or the data do not fit, or the run there is damaged.
        RunStopped: interrupted, or a loss that is not finite.
    """
    with torch.random.fork_rng():
        apply_settings(config)
        task = ImageClassification.from_config(config, data)
        model = build_model(config, task.training)
        if change is not None:
            model = change(model)

        def look(run: Run) -> None:
            every = look_every or run.sampler.steps_per_epoch
            if after_epoch is not None and run.step % every == 0:
                after_epoch(model, run.step // every)

        run = Run(config, task, model, after_step=look)
        to_the_last_step(run, progress, before_first_step=look)
        with progress.measuring():
            weights = run.take_kept_weights()
            held_out = finish(run.folder, task, model, run.history, config, weights).answers
        budget = budget_of(run)
    return Trained(model.eval(), held_out, run.history, run.total_steps, budget)


def to_the_last_step(
    run: Run, progress: ExperimentProgress, before_first_step: Callable[[Run], None] | None = None
) -> None:
    """All steps of a run, or what is left of them in its folder `out`."""
    folder = RunFolder(Path(str(run.config.out)))
    try:
        if folder.has_results and not folder.has_checkpoints:
            # Of a finished cell, whose record was removed so that it is computed again.
            folder.clear()
        if folder.config.is_file():
            run.resume(folder, folder.path)
        else:
            run.begin()
        progress.training(run.total_steps - run.step)
        run.prepare()
        if run.step == 0 and before_first_step is not None:
            before_first_step(run)
        with StopRequest() as stop:
            while run.step < run.total_steps:
                one_epoch(run, progress, stop)
        run.folder.write_metrics(run.history)
    finally:
        run.release()
