"""What is measured on a labelled set, with its uncertainty."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.models import Classifier

__all__ = ["Evaluation", "evaluate", "wilson_interval"]


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
    batch_size: int = 256,
    autocast: AbstractContextManager[object] | None = None,
    watch: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter,
) -> Evaluation:
    """Run a model over a set, in order, in evaluation mode (which is then put back).

    Args:
        model: on the device to use.
        data: labelled images of the model's shape.
        batch_size: images at once; has no effect on the result but rounding.
        autocast: a context for the forward pass.
        watch: goes through the batches, for a progress bar.
    """
    device = next(model.parameters()).device
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
