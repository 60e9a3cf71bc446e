"""What is wrong with a network that does not tell its classes apart, and what to try."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchcaps.training.metrics import Evaluation, agreement_z, one_line, wilson_interval

__all__ = [
    "BEYOND_CHANCE",
    "HAS_LEARNED",
    "Alarm",
    "Diagnosis",
    "diagnose",
    "is_learning",
    "named",
    "no_progress",
    "stuck_capsules",
]

History = Sequence[Mapping[str, Any]]  # rows of metrics.csv

BEYOND_CHANCE = 1.96  # standard deviations: a guesser gets so far in one set of 40
NEAR_ONE, NEAR_ZERO = 0.9, 0.05  # lengths of capsules for which squash passes little gradient
CONSTANT = 0.01  # spread of the lengths over the images, as a share of the largest
NEARLY_ALL = 0.98  # of the answers
TOO_WIDE = 0.1  # with an interval that reaches so far above the largest class, a set is too small
STILL = 0.01  # relative change of the loss over three epochs
FAR_BEHIND = 0.1  # held-out images behind the training images, between their intervals
NOT_LEARNING = "NOT LEARNING"
# Causes that do not say that nothing was learned, and how their line begins.
HAS_LEARNED = {
    "overfitted": "OVERFITTED",
    "few_images": "TOO FEW IMAGES",
    "below_majority": "UNEQUAL CLASSES",
    "one_answer": "ONE ANSWER",
}


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a network, as its answers show it.

    Attributes:
        cause: one word for programs: "saturated", "vanished", "constant", "collapsed",
            "memorised", "standstill", "chance", "overfitted", "few_images", "below_majority" or
            "one_answer".
        finding: what is seen.
        advice: what to try.
    """

    cause: str
    finding: str
    advice: str

    @property
    def kind(self) -> str:
        """How its line begins: `NOT_LEARNING`, or one of `HAS_LEARNED`."""
        return HAS_LEARNED.get(self.cause, NOT_LEARNING)

    def __str__(self) -> str:
        return f"{self.kind}: {self.finding}; {self.advice}"


class Alarm:
    """Decides which diagnoses are said while a run goes on: one that lasts, and once.

    Many a network that learns well takes all images for one class in its first epochs, so a
    diagnosis counts when it has stood for three epochs, or a tenth of the run; one of saturated
    capsules, which do not recover, when it has stood for two.

    Args:
        epochs: of the whole run.
    """

    def __init__(self, epochs: int) -> None:
        self._patience = max(3, math.ceil(epochs / 10))
        self._kind = ""  # of the last epoch's diagnosis
        self._lasting = 0  # epochs in a row of this kind
        self._saturated = 0
        self._said = False  # of this kind

    def hear(self, found: Diagnosis | None) -> str | None:
        """Take in the diagnosis of an epoch; what to say of it, if anything."""
        learns_now = False
        if (kind := found.kind if found else "") != self._kind:
            learns_now = self._said and self._kind == NOT_LEARNING
            self._kind, self._lasting, self._said = kind, 0, False
        self._lasting += 1
        self._saturated = self._saturated + 1 if found and found.cause == "saturated" else 0
        if learns_now:
            return "learning now: it tells classes apart"
        if not found or self._said or (self._lasting < self._patience and self._saturated < 2):
            return None
        self._said = True
        return str(found)


def diagnose(
    measured: Evaluation,
    class_names: Sequence[str],
    *,
    images: str,
    training: Tensor,
    history: History = (),
) -> Diagnosis | None:
    """What is wrong with a network that answered so; None where nothing is to be seen.

    A network has learned something when more of its answers are right than of a guesser with the
    same habits (`agreement_z`), by a margin that fits the number of images.

    Args:
        measured: its answers.
        class_names: J names.
        images: what was measured on, for the words: "validation images".
        training: `[J]`, how many training images each class has.
        history: the epochs so far, with `train_accuracy` and `classification_loss`.
    """
    if sum(recall is not None for recall in measured.recall) < 2:
        return None  # nothing can be told apart
    answers = Answers(measured, class_names, images)
    if agreement_z(measured.confusion) > BEYOND_CHANCE:
        return answers.shortfall() or answers.behind_training(history, training)
    if stuck := stuck_capsules(answers.words(), measured.activation):
        return stuck
    if too_few := answers.too_few():
        behind = answers.behind_training(history, training)
        return behind or by_training(answers, too_few, history, training)
    if is_learning(history, training, halfway=True):
        right = history[-1]["train_accuracy"]
        return Diagnosis(
            "memorised",
            f"{right:.2%} of the training images were right during the last epoch, but "
            f"{answers.words()}",
            "look whether the classes mean the same in both, then try more training images, or "
            "fewer --epochs",
        )
    if answers.collapsed:
        advice = answers.advice_if_collapsed(training, history)
        return Diagnosis("collapsed", answers.words(), advice)
    return no_progress(answers.words(), history)


@dataclass(frozen=True)
class Answers:
    """The answers of a network, in the words of a diagnosis."""

    measured: Evaluation
    class_names: Sequence[str]
    images: str

    @property
    def favourites(self) -> list[int]:
        """The fewest classes that nearly all answers name."""
        counts = self.measured.confusion.sum(dim=0)
        order = counts.argsort(descending=True, stable=True)
        enough = counts[order].cumsum(0) >= NEARLY_ALL * len(self.measured.labels)
        classes: list[int] = order[: int(enough.int().argmax()) + 1].tolist()
        return classes

    @property
    def collapsed(self) -> bool:
        """Whether nearly all answers name one class, or a third of those that there are at most."""
        present = sum(recall is not None for recall in self.measured.recall)
        return len(self.favourites) <= max(1, present // 3)

    @property
    def mostly_right(self) -> bool:
        """Whether at least half is won of what there is to win over always the largest class."""
        return self.measured.accuracy >= (1 + self.measured.majority[1]) / 2

    def words(self) -> str:
        """What the answers are, in a clause."""
        measured, favourites = self.measured, self.favourites
        count = len(measured.labels)
        if self.collapsed:
            share = int(measured.confusion.sum(dim=0)[favourites].sum())
            said = "all" if share == count else f"{share} of"
            which = named([self.class_names[k] for k in favourites])
            return f"{said} {count} {self.images} are taken for {which}"
        largest, rate = measured.majority
        return (
            f"{measured.accuracy:.2%} of {count} {self.images} are right, no better than "
            f"guessing, or than always {named([self.class_names[largest]])} ({rate:.2%})"
        )

    def shortfall(self) -> Diagnosis | None:
        """What is to be said of a network that has learned something."""
        measured, favourites = self.measured, self.favourites
        covered = float(measured.confusion.sum(dim=1)[favourites].sum()) / len(measured.labels)
        if self.collapsed and covered < 0.9:
            return Diagnosis(
                "collapsed", self.words(), "try a tenth of the --learning-rate, or more --epochs"
            )
        largest, rate = measured.majority
        if measured.interval[1] < rate:
            return Diagnosis(
                "below_majority",
                f"the accuracy of {measured.accuracy:.2%} on {len(measured.labels)} {self.images} "
                f"is below that of always {named([self.class_names[largest]])} ({rate:.2%}), "
                "though classes are told apart",
                f"judge by the balanced accuracy ({measured.balanced_accuracy:.2%}) and the "
                "recall of each class",
            )
        return None

    def behind_training(self, history: History, training: Tensor) -> Diagnosis | None:
        """Where the training images are right far more often, whatever luck the few have had."""
        if not history:
            return None
        right, count = history[-1]["train_accuracy"], int(training.sum())
        (low, high), measured = self.measured.interval, self.measured
        if wilson_interval(round(right * count), count)[0] - high < FAR_BEHIND:
            return None
        return Diagnosis(
            "overfitted",
            f"{right:.2%} of {count} training images were right during the last epoch, but "
            f"{measured.accuracy:.2%} of {len(measured.labels)} {self.images} ({low:.0%} to "
            f"{high:.0%})",
            "try more training images, training images varied more (--max-shift, --max-rotation, "
            "--jitter, --flip), or --weight-decay, and look whether both sets show the same",
        )

    def advice_if_collapsed(self, training: Tensor, history: History) -> str:
        """What to try when one class is always the answer."""
        share, largest = float(training.max() / training.sum()), int(training.argmax())
        if share > 0.6:
            return (
                f"{share:.0%} of the training images are {named([self.class_names[largest]])}: "
                "give it more of the other classes, or try a tenth of the --learning-rate"
            )
        if 0 < len(history) < 3:
            return "try more --epochs, then a tenth of the --learning-rate"
        return "try a tenth of the --learning-rate, then ten times"

    def too_few(self) -> str:
        """What a set is too small for, or nothing."""
        measured, (largest, rate) = self.measured, self.measured.majority
        count, name = len(measured.labels), named([self.class_names[largest]])
        of = f"of {count} {self.images}"
        others = count - round(rate * count)
        if others < 5 and measured.accuracy >= rate:
            are = "is" if others == 1 else "are"
            return f"only {others} {of} {are} not {name}"
        low, high = measured.interval
        if not self.collapsed and measured.accuracy > rate and high > rate + TOO_WIDE:
            return (
                f"{measured.accuracy:.2%} {of} are right, and of so few that "
                f"may mean {low:.0%} to {high:.0%}, where always {name} has {rate:.2%}"
            )
        return ""


def stuck_capsules(words: str, lengths: Tensor) -> Diagnosis | None:
    """Capsules whose length says nothing of the image; `words` say what the answers are."""
    low, high = float(lengths.amin()), float(lengths.amax())
    means = lengths.mean(dim=0)
    if float(means.amin()) > NEAR_ONE:
        return Diagnosis(
            "saturated",
            f"{words}, and every class capsule is near 1 for every image (lengths "
            f"{low:.4f} to {high:.4f}), where little gradient passes",
            "try a tenth of the --learning-rate, smaller images (--image-size), or the "
            "default --model",
        )
    probabilities = bool(((lengths.sum(dim=1) - 1).abs() < 0.01).all())
    if high < NEAR_ZERO and not probabilities:
        return Diagnosis(
            "vanished",
            f"{words}, and every class capsule is near 0 for every image (lengths up "
            f"to {high:.2g}), where little gradient passes",
            "try ten times the --learning-rate",
        )
    spread = float(lengths.std(dim=0, correction=0).amax())
    if spread < CONSTANT * float(means.amax()):
        return Diagnosis(
            "constant",
            f"{words}, and the answer is the same for every image (no class changes by "
            f"more than {spread:.2g})",
            "try a tenth of the --learning-rate, then look whether the images differ as the "
            "network sees them",
        )
    return None


def by_training(answers: Answers, too_few: str, history: History, training: Tensor) -> Diagnosis:
    """Where few images leave it open, those trained on may have settled it.

    How many of these were right is a mean over an epoch. The first one begins with random weights:
    after it, answers that are mostly right say more of the network.
    """
    lags = len(history) == 1 and answers.mostly_right
    if not history or lags or is_learning(history, training):
        return Diagnosis("few_images", too_few, "hold out more images")
    right, rate = history[-1]["train_accuracy"], float(training.max() / training.sum())
    largest = named([answers.class_names[int(training.argmax())]])
    return Diagnosis(
        "collapsed" if answers.collapsed else "chance",
        f"{right:.2%} of the training images were right during the last epoch, no better than "
        f"always {largest} ({rate:.2%}), and {too_few}",
        answers.advice_if_collapsed(training, history),
    )


def no_progress(words: str, history: History) -> Diagnosis:
    """Guesses of all classes, in words: by a loss that stands still, or one that still moves."""
    losses = [row["classification_loss"] for row in history[-3:]]
    if len(losses) == 3 and max(losses) - min(losses) <= STILL * max(losses):
        return Diagnosis(
            "standstill",
            f"{words}, and the loss stands still at {losses[-1]:.4f}",
            "try a tenth of the --learning-rate, then ten times",
        )
    return Diagnosis(
        "chance",
        words,
        "try more --epochs and a tenth of the --learning-rate, and look whether the labels belong "
        "to the images",
    )


def is_learning(history: History, training: Tensor, *, halfway: bool = False) -> bool:
    """Whether the last epoch's training accuracy is above that of always the largest class.

    Args:
        history, training: as in `diagnose`.
        halfway: at least by half of what there is to win.
    """
    if not history:
        return False
    count = int(training.sum())
    accuracy, rate = history[-1]["train_accuracy"], float(training.max()) / count
    if halfway:
        return bool(accuracy >= (1 + rate) / 2)
    return wilson_interval(round(accuracy * count), count)[0] > rate


def named(names: Sequence[str]) -> str:
    """Class names in a sentence: in quotes, at most three."""
    quoted = [f"“{one_line(name)}”" for name in names[:3]]
    if len(names) > 3:
        quoted.append(f"{len(names) - 3} more")
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
