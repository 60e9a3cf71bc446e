"""Images that show any number of classes at once: labels [N, K] of 0 and 1."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from torchcaps.data import TrainTest
from torchcaps.errors import InputError
from torchcaps.models import Classifier
from torchcaps.models.routed_classifier import RoutedClassifier
from torchcaps.training import pictures
from torchcaps.training.config import TrainConfig
from torchcaps.training.diagnosis import HAS_LEARNED, Diagnosis
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.label_diagnosis import PRESENT, diagnose_labels
from torchcaps.training.metrics import Evaluation, evaluate, fractions, one_line
from torchcaps.training.precision import Precision
from torchcaps.training.progress import watched
from torchcaps.training.task import HeldOut

__all__ = ["MultiLabelClassification", "MultiLabelEvaluation", "describe_labels", "label_figures"]


class MultiLabelEvaluation(Evaluation):
    """What a model answered on every image of a set; `labels` are `[N, K]`, 0 or 1.

    `accuracy` is the fraction of images of which every label is right.
    """

    @property
    def predictions(self) -> Tensor:
        """`[N, K]` bool, the classes whose activation is above a half."""
        return self.activation > PRESENT

    @property
    def correct(self) -> int:
        """Number of images of which every label is right."""
        return int((self.predictions == self.labels.bool()).all(dim=1).sum())

    @property
    def recall(self) -> list[float | None]:
        """Of each class, the fraction of its images that are found; None without any."""
        return fractions(self._found, self.labels.sum(dim=0))

    @property
    def precision(self) -> list[float | None]:
        """Of each class, the fraction of the answers with it that are right; None without any."""
        return fractions(self._found, self.predictions.sum(dim=0))

    @property
    def f1(self) -> list[float | None]:
        """Of each class, 2·found / (images + answers); None without either."""
        return fractions(2 * self._found, self.labels.sum(dim=0) + self.predictions.sum(dim=0))

    @property
    def macro_f1(self) -> float:
        """The mean of `f1` over the classes that have one."""
        present = [value for value in self.f1 if value is not None]
        return sum(present) / len(present) if present else 0.0

    @property
    def _found(self) -> Tensor:
        return (self.predictions & self.labels.bool()).sum(dim=0)


class MultiLabelClassification(ImageClassification):
    """Tell which classes are in an image, each by the length of its own capsule.

    The margin loss asks for every class by itself, so it takes any number of classes an image; for
    probabilities there is the binary cross entropy of each class. What needs one class an image is
    left out: the confusion matrix, the pictures of mistakes, the page of the explorer.
    """

    @classmethod
    def from_config(cls, config: TrainConfig, data: TrainTest) -> "ImageClassification":
        if config.balance:
            raise InputError(
                f"--balance shows every class equally often, but images of {data.train.name} have "
                "several classes at once: leave it out"
            )
        return super().from_config(config, data)

    def check_model(self, model: Classifier) -> None:
        """Raise unless its loss is one for any number of classes an image."""
        if not model.finds_several:
            by = ""
            if isinstance(model, RoutedClassifier):
                by = f" with {model.classes.routing.name} routing"
            raise InputError(
                f"{type(model).__name__}{by} finds one class an image, but those of "
                f"{self.data.train.name} have several at once: take --model image_capsnet "
                "--routing dynamic, its default"
            )

    def answered_right(self, activation: Tensor, labels: Tensor) -> Tensor:
        right: Tensor = ((activation > PRESENT) == labels.bool()).all(dim=1)
        return right

    def validate(self, model: Classifier, precision: Precision) -> Mapping[str, float | None]:
        if self.validation is None:
            return super().validate(model, precision)
        measured = evaluate(model, self.validation, autocast=precision.autocast())
        answers = MultiLabelEvaluation(**vars(measured))
        self._validated = answers
        return {"validation_loss": answers.loss, "validation_accuracy": answers.accuracy}

    def fault_in(
        self, measured: Evaluation, images: str, history: Sequence[Mapping[str, Any]]
    ) -> Diagnosis | None:
        names = self.training.class_names
        return diagnose_labels(measured, names, images=images, history=history)

    def may_pass(self, found: Diagnosis, history: Sequence[Mapping[str, Any]]) -> bool:
        return found.cause in HAS_LEARNED

    def measure_held_out(self, model: Classifier, config: TrainConfig) -> HeldOut:
        """Fractions of images and of classes that were found; `answers` is the evaluation."""
        self.stop_reading()
        test = self.data.test
        watch = partial(watched, description="measuring on the held-out images")
        answers = MultiLabelEvaluation(**vars(evaluate(model, test, watch=watch)))
        low, high = answers.interval
        said = describe_labels(answers, test.class_names)
        return HeldOut(
            result={
                "held_out_accuracy": answers.accuracy,
                "interval_95": [low, high],
                "held_out_images": len(test),
                "held_out_loss": answers.loss,
                **label_figures(answers, test.class_names),
            },
            lines=[
                f"held-out accuracy: every label is right in {answers.accuracy:.2%} of {len(test)} "
                f"images (95 % interval {low:.2%} to {high:.2%})",
                said,
            ],
            metadata={
                "data": test.name,
                "held_out_accuracy": f"{answers.accuracy:.4f} ({len(test)} images, all labels "
                "correct)",
                "by_class": said,
                "seed": config.seed,
                **self.ground(),
            },
            answers=answers,
        )

    def draw(
        self,
        folder: Path,
        model: Classifier,
        held_out: HeldOut,
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        """Learning curves."""
        pictures.draw_learning_curves(history, path=folder / "learning_curves.png")

    def describe_epoch(self, row: Mapping[str, Any]) -> Sequence[str]:
        """Fractions of images of which every label is right."""
        validation = row["validation_accuracy"]
        told = [] if validation is None else [f"validation {validation:.2%}"]
        return [f"all labels right: train {row['train_accuracy']:.2%}", *told]


def label_figures(measured: MultiLabelEvaluation, class_names: Sequence[str]) -> dict[str, Any]:
    """What is measured of each class, as JSON values.

    Returns:
        `macro_f1`, and `classes`: by name, `images`, `predicted`, `recall`, `precision` and `f1`
        (None where there is nothing to count).
    """
    counts = zip(measured.labels.sum(dim=0).tolist(), measured.predictions.sum(dim=0).tolist())
    rates = zip(measured.recall, measured.precision, measured.f1)
    return {
        "macro_f1": measured.macro_f1,
        "classes": {
            name: {"images": n, "predicted": m, "recall": recall, "precision": exact, "f1": f1}
            for name, (n, m), (recall, exact, f1) in zip(class_names, counts, rates)
        },
    }


def describe_labels(measured: MultiLabelEvaluation, class_names: Sequence[str]) -> str:
    """The same in a line: mean F1, and recall and precision by class (the worst of many)."""
    known = [(f1, k) for k, f1 in enumerate(measured.f1) if f1 is not None]
    shown, what = known, "recall and precision"
    if len(known) > 5:
        shown, what = sorted(known)[:3], "lowest recall and precision"

    def rate(value: float | None) -> str:
        return "–" if value is None else f"{value:.2%}"

    recall, precision = measured.recall, measured.precision
    words = ", ".join(
        f"{one_line(class_names[k])} {rate(recall[k])} and {rate(precision[k])}" for _, k in shown
    )
    return f"mean F1 of the classes: {measured.macro_f1:.2%} ({what}: {words})"
