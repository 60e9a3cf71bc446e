"""What is trained, as one object: its data, its losses, and what is measured of a model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor, nn

from torchcaps.models.summary import count_parameters
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.config import TrainConfig
from torchcaps.training.diagnosis import Diagnosis
from torchcaps.training.precision import Precision

__all__ = ["HeldOut", "StepResult", "Task"]

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")


class StepResult(NamedTuple):
    """What a model makes of the batch of a step.

    Attributes:
        loss: to be minimised, a scalar: the mean over the batch.
        measures: what else is followed, under the names of `Task.measures`: a scalar is a mean over
            the batch, `[b]` holds a number for each example.
    """

    loss: Tensor
    measures: Mapping[str, Tensor]

    def detach(self) -> "StepResult":
        """The numbers, without what led to them."""
        measures = {name: measure.detach() for name, measure in self.measures.items()}
        return StepResult(self.loss.detach(), measures)


@dataclass(frozen=True)
class HeldOut:
    """What a trained model answers on data that it was not trained on.

    Attributes:
        result: JSON values, for result.json.
        lines: what is printed at the end of the run.
        metadata: what is saved with the model, in its config.json and its card.
        answers: anything else that whoever trains wants back.
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    answers: Any = None


class Task(ABC, Generic[Model, Batch]):
    """What a run trains a model for; `train_task` trains it.

    The loop has the rest: steps, learning rate, checkpoints, exact resume, several processes. For
    an exact resume everything random must be a function of the step and the sampler's seed.
    `ImageClassification` is the task of `torchcaps train`.

    Attributes:
        name: begins the name of a run's folder where the config names none.
        examples_per_epoch: how many examples there are to train on.
        examples: what they are, in words: the column `images_per_second` is named by it.
        score: the column of `validate` that tells the better of two epochs: the higher the better;
            None where there is none, as without data kept aside. An epoch in which it is None or
            NaN is never the best, and no progress.
        measures: names of what `losses` measures besides the loss, columns of metrics.csv: none of
            them "loss", or another that the loop fills itself.
    """

    name: str
    examples_per_epoch: int
    examples: str = "examples"
    measures: Sequence[str] = ()
    score: str | None = None

    @abstractmethod
    def describe_data(self) -> dict[str, Any]:
        """What identifies the data, as JSON values: a run goes on only with the data it began with.

        At least `name` and `train`, the number of examples; what else tells other data apart, such
        as a hash over all of them.
        """

    def has_digest(self, sha256: str) -> bool:
        """Whether the data are those of this hash, though `describe_data` now gives another.

        It is asked where a run began with all the same but for `sha256`.
        """
        return False

    @abstractmethod
    def batch(self, step: int, sampler: BatchSampler) -> Batch:
        """This process's share of the batch of a step: tensors, or tuples and dicts of them.

        `sampler.indices(step)` are the examples to take. The loop moves the tensors to the device.
        """

    @abstractmethod
    def losses(self, model: Model, batch: Batch, precision: Precision) -> StepResult:
        """The loss of a batch, on the model's device, and what is measured of it.

        A model may run in bf16 where the hardware has it: within `with precision.autocast():`.
        """

    def repeats(self, model: Model) -> bool:
        """Whether `losses` does the same operations at every step, however the numbers differ.

        If so, a step on one GPU is captured and replayed as a CUDA graph, by which small networks
        train several times as fast; the Python code of model and losses then runs in the first
        steps alone. Runs with callbacks are never captured: they may change what is trained.
        """
        return False

    def after_update(self, batch: Batch, result: StepResult) -> None:
        """After each step. The next one overwrites `result`, and whatever else `losses` computed:
        what is to outlast it must be copied."""

    def validate(self, model: Model, precision: Precision) -> Mapping[str, float | None]:
        """What is measured after each epoch on data kept aside: further columns of metrics.csv.

        Numbers, or None for what is not measured in this epoch.
        The model is in evaluation mode, and gradients are off; so it is in `measure_held_out` and
        `draw`.
        """
        return {}

    def diagnose(self, model: Model, history: Sequence[Mapping[str, Any]]) -> Diagnosis | None:
        """What is wrong with the run after an epoch: said once, where it lasts (see `Alarm`)."""
        return None

    def measure_held_out(self, model: Model, config: TrainConfig) -> HeldOut:
        """Look at the held-out data, once, after the last step."""
        return HeldOut()

    def conclude(self, held_out: HeldOut, history: Sequence[Mapping[str, Any]]) -> HeldOut:
        """What `measure_held_out` gave, with what the whole run adds to it."""
        return held_out

    def draw(
        self,
        folder: Path,
        model: Model,
        held_out: HeldOut,
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        """Leave pictures in the folder of a finished run; `history` is its rows of metrics.csv."""

    def describe(self, model: Model) -> str:
        """What is trained on what, in a line, before the first step."""
        data = self.describe_data()
        return (
            f"{type(model).__name__} ({count_parameters(model):,} parameters) on {data['name']}: "
            f"{data['train']} training {self.examples}"
        )

    def describe_epoch(self, row: Mapping[str, Any]) -> Sequence[str]:
        """What the line of an epoch says besides loss and time, from its row of metrics.csv."""
        return [f"{name} {row[name]:.4g}" for name in self.measures]
