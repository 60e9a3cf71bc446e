"""A search for a learning rate: one short training in which it rises from step to step."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchcaps.errors import InputError
from torchcaps.training.config import TrainConfig
from torchcaps.training.read_ahead import is_lost_reader
from torchcaps.training.run import Run
from torchcaps.training.settings import settings_given_back
from torchcaps.training.task import Model, Task

__all__ = ["RateSearch", "find_learning_rate"]

LOWEST, HIGHEST = 1e-5, 1.0
SMOOTHING = 0.9  # of the loss, from step to step
DIVERGED = 2.0  # times the lowest loss, where the search ends


@dataclass(frozen=True)
class RateSearch:
    """What a search for a learning rate saw.

    Attributes:
        rates: of each step.
        losses: after each step, smoothed over about ten.
    """

    rates: Sequence[float]
    losses: Sequence[float]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss was lowest: before it is disturbed."""
        lowest = min(range(len(self.losses)), key=self.losses.__getitem__)
        return float(f"{self.rates[lowest] / 10:.1g}")

    def __str__(self) -> str:
        """A table of a dozen rates, and the suggestion."""
        count = len(self.rates)
        shown = sorted({round(k * (count - 1) / 11) for k in range(12)})
        rows = [f"{self.rates[k]:>12.2g}  {self.losses[k]:.4f}" for k in shown]
        return "\n".join(
            ["learning rate  loss", *rows, f"suggested: --learning-rate {self.suggestion:g}"]
        )


class _RisingRate(Run):
    """A run whose learning rate rises from the lowest to the highest, whatever its schedule."""

    def learning_rate(self, step: int) -> float:
        return float(LOWEST * (HIGHEST / LOWEST) ** (step / max(1, self.total_steps - 1)))


def find_learning_rate(
    config: TrainConfig, task: Task[Model, Any], model: Model, *, steps: int = 200
) -> RateSearch:
    """Train a copy of a model for a few steps with a learning rate that rises from 1e-5 to 1.

    The search ends where the loss has doubled since it was lowest, or is no number. Nothing is
    written, and the model stays as it is; so do torch's random numbers and threads.

    Args:
        config, task, model: as for `train_task`.
        steps: from the lowest rate to the highest, at least 20.

    Raises:
        InputError: fewer than 20 steps.

    Reference: after Smith (2017), Cyclical Learning Rates for Training Neural Networks, §3.3.
    """
    if steps < 20:
        raise InputError(f"steps is {steps}; expected at least 20")
    with settings_given_back(config):
        run = _RisingRate(config, task, copy.deepcopy(model))
        run.total_steps = steps
        run.prepare()
        run.wrapped.train()
        rates: list[float] = []
        losses: list[float] = []
        mean = 0.0
        for step in range(steps):
            rate = run.learning_rate(step)
            try:
                loss = float(run.do_step().loss.detach())
            except RuntimeError as error:
                if not is_lost_reader(error):
                    raise
                raise InputError(
                    "a process that read images was killed, as where memory runs out: search again "
                    "with fewer --workers"
                ) from error
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(smooth) or (losses and smooth > DIVERGED * min(losses)):
                break
            rates.append(rate)
            losses.append(smooth)
        return RateSearch(rates, losses)
