"""One training of an experiment, through the library's own training loop."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reproduction.harness.progress import ExperimentProgress
from torchcaps.data import TrainTest
from torchcaps.models import Classifier
from torchcaps.training.config import TrainConfig
from torchcaps.training.finish import finish
from torchcaps.training.interrupt import StopRequest
from torchcaps.training.loop import one_epoch
from torchcaps.training.metrics import Evaluation
from torchcaps.training.optimizer import adam
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder

__all__ = [
    "AfterEpoch",
    "Change",
    "ChangedRun",
    "Trained",
    "to_the_last_step",
    "train_or_go_on",
]

Change = Callable[[Classifier], Classifier]  # the model that is trained in place of the config's
# Looks at the model; is told how many looks came before: none is the one before any step.
AfterEpoch = Callable[[Classifier, int], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: the weights of the last epoch, and what they answered."""

    model: Classifier
    held_out: Evaluation
    history: Sequence[Mapping[str, Any]]
    steps: int

    @property
    def seconds_per_step(self) -> float:
        """In the quickest epoch: what else the machine has to do only ever adds to it."""
        quickest = min(float(row["seconds"]) for row in self.history)
        return quickest * len(self.history) / self.steps


class ChangedRun(Run):
    """A run that may train another model than its config names, and look at it now and then.

    Args:
        config, data: as for any run.
        change: gives the model to train from the config's.
        after_epoch: looks at the model before any step, and after each epoch.
        look_every: steps after which it looks, in place of epochs.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TrainTest,
        change: Change | None,
        after_epoch: AfterEpoch | None,
        look_every: int | None = None,
    ) -> None:
        super().__init__(config, data)
        self._after_epoch = after_epoch
        self._look_every = look_every
        if change is not None:
            self.model = change(self.model)
            self.model.to(self.device, memory_format=self.precision.memory_format)  # type: ignore[call-overload]
            self.optimizer = adam(self.model, config.learning_rate)

    def look(self, number: int) -> None:
        """Let the experiment look at the model; the clock of the epoch stands still."""
        if self._after_epoch is not None:
            before = time.perf_counter()
            self._after_epoch(self.model, number)
            self.began += time.perf_counter() - before

    def do_step(self) -> None:
        """Look before a checkpoint: after a kill in between, the step is done again."""
        super().do_step()
        if self._look_every is not None and self.step % self._look_every == 0:
            self.look(self.step // self._look_every)

    def close_epoch(self, epoch: int) -> dict[str, Any]:
        """Look before the checkpoint: after a kill in between, the epoch is done again."""
        if self._look_every is None:
            self.look(epoch)
        return super().close_epoch(epoch)


def train_or_go_on(
    config: TrainConfig,
    data: TrainTest,
    progress: ExperimentProgress,
    *,
    change: Change | None = None,
    after_epoch: AfterEpoch | None = None,
    look_every: int | None = None,
) -> Trained:
    """Train as `config` says, or go on with what lies in its folder `out`.

    Raises:
        InputError: an option or the data do not fit, or the run there is damaged.
        RunStopped: interrupted, or a loss that is not finite.
    """
    with torch.random.fork_rng():
        run = ChangedRun(config, data, change, after_epoch, look_every)
        to_the_last_step(run, progress)
        with progress.measuring():
            held_out = finish(run.folder, run.model, data.test, run.history, config).held_out
    assert held_out is not None
    return Trained(run.model.eval(), held_out, run.history, run.total_steps)


def to_the_last_step(run: ChangedRun, progress: ExperimentProgress) -> None:
    """All steps of a run, or what is left of them in its folder `out`."""
    folder = RunFolder(Path(str(run.config.out)))
    if folder.config.is_file():
        run.go_on(folder, folder.path)
    else:
        run.begin()
    progress.training(run.total_steps - run.step)
    run.prepare()
    if run.step == 0:
        run.look(0)
    with StopRequest() as stop:
        while run.step < run.total_steps:
            one_epoch(run, progress, stop)
    run.folder.write_metrics(run.history)
