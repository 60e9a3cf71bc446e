"""One training of an experiment, through the library's own training loop."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from torchcaps.data import TrainTest
from torchcaps.experiments.progress import ExperimentProgress
from torchcaps.models import Classifier
from torchcaps.training.config import TrainConfig
from torchcaps.training.finish import finish
from torchcaps.training.interrupt import StopRequest
from torchcaps.training.loop import one_epoch
from torchcaps.training.metrics import Evaluation
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder

__all__ = ["AfterEpoch", "Change", "Trained", "train_or_go_on"]

Change = Callable[[Classifier], Classifier]  # the model that is trained in place of the config's
AfterEpoch = Callable[[Classifier, int], None]  # looks at the model after an epoch; 0: before any


@dataclass(frozen=True)
class Trained:
    """A finished training: the weights of the last epoch, and what they answered."""

    model: Classifier
    held_out: Evaluation
    history: Sequence[Mapping[str, Any]]
    steps: int

    @property
    def seconds_per_step(self) -> float:
        """On average over the whole training."""
        return float(sum(row["seconds"] for row in self.history)) / self.steps


class ChangedRun(Run):
    """A run that may train another model than its config names, and look at it after each epoch."""

    def __init__(
        self,
        config: TrainConfig,
        data: TrainTest,
        change: Change | None,
        after_epoch: AfterEpoch | None,
    ) -> None:
        super().__init__(config, data)
        self._after_epoch = after_epoch
        if change is not None:
            self.model = change(self.model)
            self.model.to(self.device, memory_format=self.precision.memory_format)  # type: ignore[call-overload]
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)

    def look(self, epoch: int) -> None:
        """Let the experiment look at the model; the clock of the epoch stands still."""
        if self._after_epoch is not None:
            before = time.perf_counter()
            self._after_epoch(self.model, epoch)
            self.began += time.perf_counter() - before

    def close_epoch(self, epoch: int) -> dict[str, Any]:
        """Look before the checkpoint: after a kill in between, the epoch is done again."""
        self.look(epoch)
        return super().close_epoch(epoch)


def train_or_go_on(
    config: TrainConfig,
    data: TrainTest,
    progress: ExperimentProgress,
    *,
    change: Change | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """Train as `config` says, or go on with what lies in its folder `out`.

    Raises:
        InputError: an option or the data do not fit, or the run there is damaged.
        RunStopped: interrupted, or a loss that is not finite.
    """
    folder = RunFolder(Path(str(config.out)))
    with torch.random.fork_rng():
        run = ChangedRun(config, data, change, after_epoch)
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
        with progress.measuring():
            held_out = finish(run.folder, run.model, data.test, run.history, config).held_out
    assert held_out is not None
    return Trained(run.model.eval(), held_out, run.history, run.total_steps)
