"""What is measured on a labelled set, with its uncertainty."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.models import Classifier
from torchcaps.models.images_at_once import images_at_once

__all__ = [
    "Evaluation",
    "agreement_z",
    "class_figures",
    "describe_classes",
    "evaluate",
    "list_classes",
    "one_line",
    "wilson_interval",
]


@dataclass(frozen=True)
class Evaluation:
    """What a model answered on every image of a set.

    Attributes:
        labels: `[N]`, the true classes.
        activation: `[N, J]`, as the model gave it.
        loss: the model's whole loss, averaged over the images.
        classification_loss: its first term.
    """

    labels: Tensor
    activation: Tensor
    loss: float
    classification_loss: float

    @property
    def predictions(self) -> Tensor:
        """`[N]`, the class of the largest activation."""
        return self.activation.argmax(dim=1)

    @property
    def correct(self) -> int:
        """Number of right answers."""
        return int((self.predictions == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """Fraction of right answers."""
        return self.correct / len(self.labels)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy (Wilson)."""
        return wilson_interval(self.correct, len(self.labels))

    @property
    def confusion(self) -> Tensor:
        """`[J, J]` counts: rows are true classes, columns predictions."""
        classes = self.activation.shape[1]
        pairs = self.labels * classes + self.predictions
        return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)

    @property
    def recall(self) -> list[float | None]:
        """Of each class, the fraction of its images that are answered right; None without any."""
        return fractions(self.confusion.diagonal(), self.confusion.sum(dim=1))

    @property
    def precision(self) -> list[float | None]:
        """Of each class, the fraction of the answers with it that are right; None without any."""
        return fractions(self.confusion.diagonal(), self.confusion.sum(dim=0))

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have images: 1/J by guessing, however unequal."""
        present = [recall for recall in self.recall if recall is not None]
        return sum(present) / len(present)

    @property
    def majority(self) -> tuple[int, float]:
        """(largest class, its share): the accuracy of always answering with that class."""
        counts = self.confusion.sum(dim=1)
        return int(counts.argmax()), int(counts.max()) / len(self.labels)

    def errors_by_class(self) -> list[tuple[int, int]]:
        """(wrong answers, images) of each class."""
        confusion = self.confusion
        totals = confusion.sum(dim=1)
        wrong = totals - confusion.diagonal()
        return list(zip(wrong.tolist(), totals.tolist()))

    def worst_mistakes(self, most: int) -> Sequence[int]:
        """Indices of the wrong answers given with the largest activation, at most `most`."""
        wrong = (self.predictions != self.labels).nonzero().squeeze(1)
        sureness = self.activation[wrong].amax(dim=1)
        indices: list[int] = wrong[sureness.argsort(descending=True, stable=True)][:most].tolist()
        return indices


def fractions(part: Tensor, whole: Tensor) -> list[float | None]:
    """part / whole of each class; None where the whole is 0."""
    return [p / w if w else None for p, w in zip(part.tolist(), whole.tolist())]


def class_figures(measured: Evaluation, class_names: Sequence[str]) -> dict[str, Any]:
    """What the accuracy alone hides where classes are of unequal size, as JSON values.

    Returns:
        `balanced_accuracy`, `majority_class` and `majority_rate` (the accuracy of always answering
        with the largest class of the set), and `classes`: by name, `images`, `predicted` (answers
        with this class), `recall` and `precision` (None where there is nothing to count).
    """
    confusion = measured.confusion
    counts = zip(confusion.sum(dim=1).tolist(), confusion.sum(dim=0).tolist())
    rates = zip(measured.recall, measured.precision)
    largest, rate = measured.majority
    return {
        "balanced_accuracy": measured.balanced_accuracy,
        "majority_class": class_names[largest],
        "majority_rate": rate,
        "classes": {
            name: {"images": images, "predicted": predicted, "recall": recall, "precision": exact}
            for name, (images, predicted), (recall, exact) in zip(class_names, counts, rates)
        },
    }


def describe_classes(measured: Evaluation, class_names: Sequence[str]) -> str:
    """The same in a line: balanced accuracy, recall by class (the lowest of many), majority."""
    largest, rate = measured.majority
    recalls = [(r, name) for r, name in zip(measured.recall, class_names) if r is not None]
    shown, what = recalls, "recall"
    if len(recalls) > 5:
        shown, what = sorted(recalls, key=lambda pair: pair[0])[:3], "lowest recall"
    words = ", ".join(f"{one_line(name)} {recall:.2%}" for recall, name in shown)
    return (
        f"balanced accuracy: {measured.balanced_accuracy:.2%} ({what}: {words}); "
        f"always answering {one_line(class_names[largest])}: {rate:.2%}"
    )


def list_classes(measured: Evaluation, class_names: Sequence[str], most: int = 20) -> str:
    """Recall and precision of each class in a line; of more than `most`, of the worst."""
    rows = [
        (recall, f"{one_line(name)} {recall:.2%}, {'none' if exact is None else f'{exact:.2%}'}")
        for name, recall, exact in zip(class_names, measured.recall, measured.precision)
        if recall is not None
    ]
    if len(rows) > most:
        rows = sorted(rows, key=lambda row: row[0])[:most]
    return "; ".join(words for _, words in rows)


def one_line(name: str, most: int = 40) -> str:
    """A class name that may be anything, as part of a line."""
    words = "".join(letter if letter.isprintable() else " " for letter in name[: 4 * most])
    words = " ".join(words.split())
    return words if len(words) <= most else words[: most - 1] + "…"


def agreement_z(confusion: Tensor) -> float:
    """How many standard deviations more answers are right than of a guesser with the same habits.

    The guesser gives the same answers in random order. Of its right answers C,

        E[C] = Σ_k n_k m_k / N,   Var[C] = Σ_kl n_k m_l (δ_kl − m_k/N − n_l/N + E[C]/N)² / (N − 1)

    with n_k images and m_k answers of class k. It is fair to unequal classes, where accuracy is
    not, and 0 where all images or all answers are of one class: from those nothing can be seen.

    Args:
        confusion: `[J, J]` counts, rows true, columns predicted.

    Reference: Hoeffding (1951), Theorem 2; half an answer is taken off for continuity.

    Example:
        >>> round(agreement_z(torch.tensor([[40, 10], [10, 40]])), 1)
        5.9
        >>> agreement_z(torch.tensor([[50, 0], [50, 0]]))
        0.0
    """
    counts = confusion.double()
    total = float(counts.sum())
    images, answers = counts.sum(dim=1), counts.sum(dim=0)
    expected = float(images @ answers) / total if total else 0.0
    if total < 2:
        return 0.0
    same = torch.eye(len(counts), dtype=torch.float64)
    deviations = same - answers[:, None] / total - images / total + expected / total
    variance = float((torch.outer(images, answers) * deviations**2).sum()) / (total - 1)
    surplus = float(counts.trace()) - expected
    if variance < 1e-9:
        return 0.0
    return math.copysign(max(0.0, abs(surplus) - 0.5), surplus) / math.sqrt(variance)


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a proportion; z = 1.96 for 95 %.

    Reference: Wilson (1927).

    Example:
        >>> low, high = wilson_interval(975, 1000)
        >>> round(low, 4), round(high, 4)
        (0.9634, 0.983)
    """
    if trials == 0:
        return (0.0, 1.0)
    p = successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return (max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))


@torch.no_grad()
def evaluate(
    model: Classifier,
    data: ImageData,
    *,
    batch_size: int | None = None,
    autocast: AbstractContextManager[object] | None = None,
    watch: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter,
) -> Evaluation:
    """Run a model over a set, in order, in evaluation mode (which is then put back).

    Args:
        model: on the device to use.
        data: labelled images of the model's shape.
        batch_size: images at once; has no effect on the result but rounding. Default:
            `images_at_once`.
        autocast: a context for the forward pass.
        watch: goes through the batches, for a progress bar.
    """
    device = next(model.parameters()).device
    if batch_size is None:
        batch_size = images_at_once(data.image_size)
    was_training = model.training
    model.eval()
    activations, losses, classification = [], 0.0, 0.0
    try:
        for indices in watch(torch.split(torch.arange(len(data)), batch_size)):
            images, labels = (part.to(device) for part in data.batch(indices))
            with autocast or nullcontext():
                output = model(images, labels)
            loss = model.loss(output, images, labels)
            losses += loss.total.item() * len(indices)
            classification += loss.classification.item() * len(indices)
            activations.append(output.activation.float().cpu())
    finally:
        model.train(was_training)
    return Evaluation(
        data.labels, torch.cat(activations), losses / len(data), classification / len(data)
    )
