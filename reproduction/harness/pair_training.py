"""Training on pairs of digits made on the fly, and what a network answers on pairs."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchcaps.data import MultiMNIST, PairBatch, TrainTest
from torchcaps.losses import margin_loss, reconstruction_loss
from torchcaps.models import CapsNet, Classifier, Losses
from torchcaps.seeding import mix_seed
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.build import describe_data
from torchcaps.training.precision import Precision
from torchcaps.training.task import StepResult, Task

__all__ = ["Answers", "PairTask", "answers_on", "both_found", "draw_digits", "losses_of"]

BATCH = 250
STEPS_AT_ONCE = 8  # whose pairs are made together: on a GPU that takes as long as for one step


class PairTask(Task[Classifier, PairBatch]):
    """Find both digits of a pair.

    Step k sees the pairs number k·B to k·B + B − 1 of the run's seed; an epoch has as many pairs as
    there are digits to make them from.

    Args:
        data: digits to make pairs from; the held-out ones are not looked at.
        seed: of the run.
        max_shift: each digit is shifted by up to so many pixels.
    """

    examples = "images"
    measures = ("classification_loss", "reconstruction_loss", "train_accuracy")

    def __init__(self, data: TrainTest, seed: int, max_shift: int) -> None:
        self.data = data
        self.name = f"{data.train.name}-pairs"
        self.examples_per_epoch = len(data.train)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        digits = dataclasses.replace(
            data.train, images=data.train.images.to(device), labels=data.train.labels.to(device)
        )
        self.pairs = MultiMNIST(digits, mix_seed("pairs", seed), max_shift=max_shift)
        self._made: tuple[tuple[int, int], PairBatch] | None = None  # of some steps

    def describe_data(self) -> dict[str, Any]:
        """Of the digits."""
        return describe_data(self.data)

    def batch(self, step: int, sampler: BatchSampler) -> PairBatch:
        """Pairs that no other step sees."""
        block, place = divmod(step, STEPS_AT_ONCE)
        made = (block, sampler.batch_size)
        if self._made is None or self._made[0] != made:
            pairs = STEPS_AT_ONCE * sampler.batch_size
            self._made = made, self.pairs.batch(block * pairs, pairs)
        first = place * sampler.batch_size + sampler.share.start
        share = slice(first, first + sampler.share_size)
        return PairBatch(*(part[share] for part in self._made[1]))

    def losses(self, model: Classifier, batch: PairBatch, precision: Precision) -> StepResult:
        """The losses of some pairs, and of which both digits are found."""
        images = batch.images.to(memory_format=precision.memory_format)
        losses, activation = losses_of(model, batch._replace(images=images), precision)
        measured = (
            losses.classification,
            losses.reconstruction,
            both_found(activation, batch.labels),
        )
        return StepResult(losses.total, dict(zip(self.measures, measured)))

    def repeats(self, model: Classifier) -> bool:
        """Every network here does."""
        return True


def losses_of(model: Classifier, pairs: PairBatch, precision: Precision) -> tuple[Losses, Tensor]:
    """The losses of some pairs, and the activations `[B, J]`.

    Margin loss (Eq 4) with two classes present. Each of the two digits is drawn from its own class
    capsule, all others masked, and compared with that digit alone; the two errors add up, each with
    the weight that the one digit of an image has elsewhere.
    """
    targets = pairs.targets(model.num_classes)
    if not isinstance(model, CapsNet):
        with precision.autocast():
            output = model(pairs.images)
        return model.loss(output, pairs.images, targets), output.activation
    assert model.decoder is not None
    with precision.autocast():
        pose, activation = model.classes(model.primary_capsules(pairs.images))
        drawings = draw_digits(model, pose, pairs.labels)
    margin = margin_loss(activation, targets)
    error = reconstruction_loss(drawings.flatten(0, 1), pairs.digits.flatten(0, 1))
    drawing = model.loss_scale.reconstruction * 2 * error  # the mean of two, twice
    return Losses(margin + drawing, margin, drawing), activation


def both_found(activation: Tensor, labels: Tensor) -> Tensor:
    """Whether the two most active of the classes `[B, J]` are those of the labels `[B, 2]`."""
    found = activation.topk(2, dim=1).indices.sort(dim=1).values
    return (found == labels.sort(dim=1).values).all(dim=1)


def draw_digits(model: CapsNet, pose: Tensor, classes: Tensor) -> Tensor:
    """What is drawn from each of some capsules alone: pose `[B, J, D]`, `[B, K]` → `[B, K, …]`."""
    assert model.decoder is not None
    batch, count = classes.shape
    drawings: Tensor = model.decoder(pose.repeat_interleave(count, dim=0), classes.flatten())
    return drawings.view(batch, count, *drawings.shape[1:])


@dataclass(frozen=True)
class Answers:
    """What a network answers on pairs `[N]`.

    Attributes:
        wrong: whether the two classes are not those of the pair.
        digits_missed: how many of the two digits were not found.
        drawing_error: of the two digits as drawn, mean sum of squared errors of one; None without
            a decoder.
        read_back: of the drawings of the first digit, and of the most active class that is neither
            there nor answered, the share that the network itself, shown the drawing, takes for
            what was to be drawn; None without a decoder.
        examples: some pairs and their drawings, by name.
    """

    wrong: Tensor
    digits_missed: int
    drawing_error: float | None
    read_back: tuple[float, float] | None
    examples: Mapping[str, Tensor]


@torch.no_grad()
def answers_on(model: Classifier, pairs: MultiMNIST, count: int, examples: int = 8) -> Answers:
    """Let a network answer the first `count` pairs, in float32.

    Args:
        model: in evaluation mode.
        pairs: to be judged on.
        count: how many of them.
        examples: so many of the first that are right, and of the first that are wrong, are kept.
    """
    device = next(model.parameters()).device
    wrong: list[Tensor] = []
    missed, error = 0, 0.0
    recognised = [0, 0]
    kept: list[dict[str, Tensor]] = []
    left = {True: examples, False: examples}
    for batch in batches_of(pairs, count):
        images, digits, labels = (part.to(device) for part in batch)
        if isinstance(model, CapsNet) and model.decoder is not None:
            pose, activation = model.classes(model.primary_capsules(images))
        else:
            pose, activation = None, model(images).activation
        right = both_found(activation, labels)
        wrong.append(~right.cpu())
        told = activation.topk(2, dim=1).indices
        missed += int((labels[:, :, None] != told[:, None]).all(dim=2).sum())
        if pose is None or not isinstance(model, CapsNet):
            continue
        absent = most_active_absent(activation, labels, told)
        classes = torch.cat([labels, told, absent], dim=1)
        drawings = draw_digits(model, pose, classes)
        error += (drawings[:, :2] - digits).square().sum().item()
        for which, place in enumerate((0, 4)):
            read = model.classes(model.primary_capsules(drawings[:, place])).activation
            recognised[which] += int((read.argmax(dim=1) == classes[:, place]).sum())
        for index in range(len(images)):
            if left[bool(right[index])] > 0:
                left[bool(right[index])] -= 1
                values = (images, digits, classes, drawings, right)
                names = ("image", "digits", "classes", "drawings", "right")
                kept.append({n: v[index].cpu() for n, v in zip(names, values)})
    shown = {name: torch.stack([one[name] for one in kept]) for name in (kept[0] if kept else ())}
    if not shown:
        return Answers(torch.cat(wrong), missed, None, None, shown)
    shares = (recognised[0] / count, recognised[1] / count)
    return Answers(torch.cat(wrong), missed, error / (2 * count), shares, shown)


def batches_of(pairs: MultiMNIST, count: int) -> Iterator[PairBatch]:
    """The first pairs, batch by batch."""
    for start in range(0, count, BATCH):
        yield pairs.batch(start, min(BATCH, count - start))


def most_active_absent(activation: Tensor, labels: Tensor, told: Tensor) -> Tensor:
    """The most active of the classes that are neither in the image nor answered, `[B, 1]`."""
    taken = torch.cat([labels, told], dim=1)
    left: Tensor = activation.scatter(1, taken, -torch.inf).argmax(dim=1, keepdim=True)
    return left
