"""The task of `torchcaps train`: images and their classes."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchcaps.data import (
    Augmentation,
    ImageData,
    TrainTest,
    augmentation_for,
)
from torchcaps.data.border import ground_brightness
from torchcaps.data.image_files import ImageFiles
from torchcaps.data.repeated import repeated_images
from torchcaps.data.split import check_parts, split_off_validation
from torchcaps.models import Classifier
from torchcaps.models.summary import count_parameters
from torchcaps.training import pictures
from torchcaps.training.balance import BalancedClasses
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.build import describe_data, has_digest
from torchcaps.training.captured_update import does_the_same_at_every_step, has_no_other_code
from torchcaps.training.config import TrainConfig
from torchcaps.training.diagnosis import (
    HAS_LEARNED,
    Diagnosis,
    diagnose,
    is_learning,
    named,
)
from torchcaps.training.metrics import (
    Evaluation,
    class_figures,
    describe_classes,
    evaluate,
    list_classes,
    one_line,
)
from torchcaps.training.precision import Precision
from torchcaps.training.progress import watched
from torchcaps.training.read_ahead import ReadAhead
from torchcaps.training.small_sets import fit_to_size
from torchcaps.training.task import HeldOut, StepResult, Task
from torchcaps.training.threshold import choose_threshold

__all__ = ["ImageClassification"]

ImageBatch = tuple[Tensor, Tensor]  # images [b, C, H, W] and labels [b]


class ImageClassification(Task[Classifier, ImageBatch]):
    """Tell the classes of images, by a model's own loss.

    Args:
        data: what to train on, and what to be judged on once.
        model_name: what the model is called in messages.
        validation: fraction of the training images that is kept aside to follow progress, the same
            ones in every run, whatever its seed; 0 for none.
        max_shift: training images are shifted by up to so many pixels, and black moves in.
        augmentation: how training images are varied, in place of such shifts.
        balance: every class comes equally often.
        workers: processes that read training images which stay in their files; None: one a core,
            up to 4.

    Raises:
        InputError: a class is too small to be split, shifts push whole images out of sight, or the
            two parts of the data do not fit each other.
    """

    examples = "images"
    measures = ("classification_loss", "reconstruction_loss", "train_accuracy")

    def __init__(
        self,
        data: TrainTest,
        model_name: str,
        *,
        validation: float = 0.0,
        max_shift: int = 0,
        augmentation: Augmentation | None = None,
        balance: bool = False,
        workers: int | None = None,
    ) -> None:
        check_parts(data)
        self.data = data
        self.model_name = model_name
        self.training, self.validation = split_off_validation(data.train, validation)
        if augmentation is None:
            augmentation = augmentation_for(data.train, "digits", max_shift=max_shift)
        self.augmentation = augmentation
        self.balanced = BalancedClasses(self.training.labels) if balance else None
        self.workers = workers
        self._read_ahead: tuple[BatchSampler, ReadAhead] | None = None
        self.remarks: list[str] = []  # said before the first step
        if isinstance(self.training, ImageFiles):
            self.remarks.append("images are read from their files as they are needed")
        repeated = repeated_images(data)
        if count := repeated.held_out:
            are = "is among the training images" if count == 1 else "are training images"
            self.remarks.append(
                f"{count} of {len(data.test)} held-out images {are}, too: what is measured on "
                "them says nothing of new images"
            )
        if pairs := repeated.in_two_classes:
            self.remarks.append(contradictory(data.train, pairs))
        self.score = None if self.validation is None else "validation_accuracy"
        self.name = f"{data.train.name}-{model_name}"
        self.examples_per_epoch = len(self.training)
        self._validated: Evaluation | None = None  # after the last epoch
        self._answered: tuple[Tensor, Tensor] | None = None  # labels and activations of a step
        self._trained: deque[tuple[Tensor, Tensor]] = deque(maxlen=4)  # those of the last few

    @classmethod
    def from_config(cls, config: TrainConfig, data: TrainTest) -> "ImageClassification":
        """As the options of `torchcaps train` say."""
        augmentation = augmentation_for(
            data.train,
            config.augment,
            max_shift=config.max_shift,
            flip={"auto": None, "yes": True, "no": False}[config.flip],
            max_rotation=config.max_rotation,
            jitter=config.jitter,
        )
        task = cls(
            data,
            config.model,
            validation=config.validation,
            augmentation=augmentation,
            balance=config.balance,
            workers=config.workers,
        )
        if unseen := classes_unseen(task.training):
            task.remarks.append(unseen)
        return task

    def check_model(self, model: Classifier) -> None:
        """Raise unless the model has a loss for such labels; all have that of one class."""

    def fitted(self, config: TrainConfig) -> TrainConfig:
        """The config for as many training images as there are."""
        config, said = fit_to_size(config, self.examples_per_epoch)
        self.remarks += said
        return config

    def describe_data(self) -> dict[str, Any]:
        """Counts, shape, classes and a hash over all of it."""
        return describe_data(self.data)

    def has_digest(self, sha256: str) -> bool:
        """Whether the data are those of this hash, in memory or in their files."""
        return has_digest(self.data, sha256)

    def batch(self, step: int, sampler: BatchSampler) -> ImageBatch:
        """Images `[b, C, H, W]`, varied, and labels `[b]`."""
        if isinstance(self.training, ImageFiles):
            images, chosen = self._ahead(sampler).batch(step)
            labels = self.training.labels[chosen]
        else:
            images, labels = self.training.batch(self.examples_of(step, sampler))
        images = self.augmentation(
            images,
            seed=sampler.seed,
            step=step,
            batch_size=sampler.batch_size,
            first=sampler.share.start,
        )
        return images, labels

    def examples_of(self, step: int, sampler: BatchSampler) -> Tensor:
        """Positions of this process's training images of a step, `[b]`."""
        chosen = sampler.indices(step)
        if self.balanced is not None:
            chosen = self.balanced(chosen, sampler.seed, step // sampler.steps_per_epoch)
        return chosen

    def _ahead(self, sampler: BatchSampler) -> ReadAhead:
        """What reads the training images from their files, for the run with this sampler."""
        if self._read_ahead is None or self._read_ahead[0] != sampler:
            assert isinstance(self.training, ImageFiles)
            examples = partial(self.examples_of, sampler=sampler)
            self._read_ahead = sampler, ReadAhead(self.training, examples, self.workers)
        return self._read_ahead[1]

    def losses(self, model: Classifier, batch: ImageBatch, precision: Precision) -> StepResult:
        """The model's losses, and which of the images it answers correctly."""
        images, labels = batch
        images = images.to(memory_format=precision.memory_format)
        with precision.autocast():
            output = model(images, labels)
        losses = model.loss(output, images, labels)
        measured = (
            losses.classification,
            losses.reconstruction,
            self.answered_right(output.activation, labels),
        )
        # Where steps are captured and replayed, each writes these very tensors.
        self._answered = labels, output.activation.detach()
        return StepResult(losses.total, dict(zip(self.measures, measured)))

    def repeats(self, model: Classifier) -> bool:
        """Every network of the package does; one with parts of one's own might not, and a task with
        losses of one's own."""
        return has_no_other_code(self) and does_the_same_at_every_step(model)

    def after_update(self, batch: ImageBatch, result: StepResult) -> None:
        """Keep the last answers, by which a run without validation images is diagnosed."""
        if self.validation is None and self._answered is not None:  # not by losses of one's own
            labels, activation = self._answered
            self._trained.append((labels.clone(), activation.clone()))

    def answered_right(self, activation: Tensor, labels: Tensor) -> Tensor:
        """Of activations `[b, J]`: which images are answered correctly, `[b]`."""
        return activation.argmax(dim=1) == labels

    def stop_reading(self) -> None:
        """End the processes that read training images: the last step is done."""
        self._read_ahead = None

    def validate(self, model: Classifier, precision: Precision) -> Mapping[str, float | None]:
        """Loss and accuracy on the images kept aside; None where there are none."""
        if self.validation is None:
            return {"validation_loss": None, "validation_accuracy": None}
        measured = evaluate(model, self.validation, autocast=precision.autocast())
        self._validated = measured
        return {"validation_loss": measured.loss, "validation_accuracy": measured.accuracy}

    def diagnose(self, model: Classifier, history: Sequence[Mapping[str, Any]]) -> Diagnosis | None:
        """By the validation images, or without any by the last ones that were trained on."""
        measured, images = self._validated, "validation images"
        if measured is None and self._trained:
            labels, activations = (torch.cat(parts).cpu() for parts in zip(*self._trained))
            measured, images = Evaluation(labels, activations.float(), 0, 0), "training images"
        if measured is None:
            return None
        found = self.fault_in(measured, images, history)
        return None if found is None or self.may_pass(found, history) else found

    def fault_in(
        self, measured: Evaluation, images: str, history: Sequence[Mapping[str, Any]]
    ) -> Diagnosis | None:
        """What is wrong with a network that answered so."""
        names, counts = self.training.class_names, class_counts(self.training)
        return diagnose(measured, names, images=images, training=counts, history=history)

    def may_pass(self, found: Diagnosis, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether what is wrong after an epoch may be over by itself."""
        # In evaluation mode a network may lag behind what it has begun to learn.
        lags = is_learning(history, class_counts(self.training))
        lasts = found.cause in ("memorised", "overfitted")
        return (lags and not lasts) or found.cause == "few_images"

    def conclude(self, held_out: HeldOut, history: Sequence[Mapping[str, Any]]) -> HeldOut:
        """With what is wrong with the run, in result.json, the last lines and the model's card."""
        found = self.fault_in(held_out.answers, "held-out images", history)
        if found is None:
            return replace(held_out, result={**held_out.result, "diagnosis": None})
        return replace(
            held_out,
            result={**held_out.result, "diagnosis": asdict(found)},
            lines=[*held_out.lines, str(found)],
            metadata={**held_out.metadata, "diagnosis": str(found)},
        )

    def measure_held_out(self, model: Classifier, config: TrainConfig) -> HeldOut:
        """The accuracy on the held-out images; `answers` is the `Evaluation`."""
        self.stop_reading()
        test = self.data.test
        watch = partial(watched, description="measuring on the held-out images")
        held_out = evaluate(model, test, watch=watch)  # in float32, as `torchcaps eval` does
        low, high = held_out.interval
        figures = class_figures(held_out, test.class_names)
        return HeldOut(
            result={
                "held_out_accuracy": held_out.accuracy,
                "interval_95": [low, high],
                "held_out_images": len(test),
                "held_out_loss": held_out.loss,
                **figures,
            },
            lines=[
                f"held-out accuracy: {held_out.accuracy:.2%} of {len(test)} "
                f"images (95 % interval {low:.2%} to {high:.2%})",
                describe_classes(held_out, test.class_names),
            ],
            metadata={
                "data": test.name,
                "held_out_accuracy": f"{held_out.accuracy:.4f} ({len(test)} images, 95 % interval "
                f"{low:.4f} to {high:.4f})",
                "by_class": describe_classes(held_out, test.class_names),
                "recall_and_precision": list_classes(held_out, test.class_names),
                "seed": config.seed,
                **self.ground(),
                "threshold": choose_threshold(model, self.validation or self.training),
            },
            answers=held_out,
        )

    def ground(self) -> dict[str, float]:
        """For `predict`: how bright the ground was on which it learned, if that was one."""
        brightness = ground_brightness(self.training)
        return {} if brightness is None else {"border_brightness": round(brightness, 4)}

    def draw(
        self,
        folder: Path,
        model: Classifier,
        held_out: HeldOut,
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        """Learning curves, confusion, the most confident mistakes, and reconstructions."""
        test, answers = self.data.test, held_out.answers
        pictures.draw_learning_curves(
            history,
            path=folder / "learning_curves.png",
            references=accuracies_without_learning(class_counts(self.training)),
            validation_images=None if self.validation is None else len(self.validation),
        )
        pictures.draw_confusion(answers.confusion, test.class_names, path=folder / "confusion.png")
        wrong = held_out.result.get("diagnosis")
        warning = ""
        if wrong and wrong["cause"] not in HAS_LEARNED:
            warning = f"The network has not learned: {wrong['finding']}."
        draw_worst_mistakes(test, answers, path=folder / "mistakes.png", warning=warning)
        draw_some_reconstructions(model, test, answers, path=folder / "reconstructions.png")

    def describe(self, model: Classifier) -> str:
        """The network, the shape of the images, how many there are, and how they are varied."""
        train = self.data.train
        height, width = train.image_size
        counts = (
            f"{self.model_name} ({count_parameters(model):,} parameters) on {train.name} "
            f"({train.channels}×{height}×{width}, {train.num_classes} classes): "
            f"{len(self.training)} training images, {len(train) - len(self.training)} for "
            f"validation, {len(self.data.test)} held out"
        )
        return "\n".join(
            [counts, f"training images are varied: {self.augmentation}", *self.remarks]
        )

    def describe_epoch(self, row: Mapping[str, Any]) -> Sequence[str]:
        """The accuracies; of few validation images, or unequal classes, what makes them honest."""
        told = [f"train {row['train_accuracy']:.2%}"]
        if (measured := self._validated) is not None:
            few = f" ({measured.correct} of {n})" if (n := len(measured.labels)) < 1000 else ""
            told.append(f"validation {row['validation_accuracy']:.2%}{few}")
            if "largest class" in accuracies_without_learning(class_counts(self.training)):
                told.append(f"balanced {measured.balanced_accuracy:.2%}")
        return told


def contradictory(data: ImageData, pairs: Sequence[tuple[int, int]]) -> str:
    """What to say of training images that are there twice, with different labels.

    Args:
        data: to learn from.
        pairs: positions of both, the first two of each picture.
    """
    count, files = len(pairs), data if isinstance(data, ImageFiles) else data.in_files
    one, other = (str(position) for position in pairs[0])
    if isinstance(files, ImageFiles):
        paths = (files.files[position].relative_to(files.root) for position in pairs[0])
        one, other = (one_line(path.as_posix(), most=200) for path in paths)
    else:
        other += " (counted from 0)"
    images = "1 training image is" if count == 1 else f"{count} training images are"
    what = "there with different labels" if data.multi_label else "in two classes"
    first = "" if count == 1 else "the first "
    first += "" if isinstance(files, ImageFiles) else "numbers "
    return f"{images} {what}, {first}{one} and {other}: a network cannot learn both"


def classes_unseen(data: ImageData) -> str:
    """What to say of classes that no image shows, which cannot be learned; nothing without any."""
    counts = data.labels.sum(dim=0) if data.multi_label else class_counts(data)
    unseen = [data.class_names[k] for k in (counts == 0).nonzero()[:, 0].tolist()]
    if not unseen:
        return ""
    return f"no training image shows {named(unseen)}: what nothing shows cannot be learned"


def class_counts(data: ImageData) -> Tensor:
    """`[J]`, the images of each class."""
    return torch.bincount(data.labels.cpu(), minlength=data.num_classes)


def accuracies_without_learning(counts: Tensor) -> dict[str, float]:
    """Of guessing, and where classes are unequal of always answering with the largest."""
    guessing, largest = 1 / int((counts > 0).sum()), float(counts.max() / counts.sum())
    levels = {"guessing": guessing}
    return levels | ({"largest class": largest} if largest > 1.2 * guessing else {})


def draw_worst_mistakes(test: ImageData, held_out: Evaluation, *, path: Path, warning: str) -> None:
    """The wrong answers of the largest activation."""
    worst = torch.tensor(held_out.worst_mistakes(most=24), dtype=torch.int64)
    pictures.draw_mistakes(
        test.batch(worst)[0],
        held_out.labels[worst],
        held_out.predictions[worst],
        held_out.activation[worst].amax(dim=1),
        test.class_names,
        total=len(test) - held_out.correct,
        path=path,
        warning=warning,
    )


def draw_some_reconstructions(
    model: Classifier, test: ImageData, held_out: Evaluation, *, path: Path
) -> None:
    """Two images of each of up to ten classes, where the model draws."""
    present = sorted(set(test.labels.tolist()))  # a class may have no image here
    shown = torch.cat([(test.labels == k).nonzero()[:2, 0] for k in present[:10]])
    images, labels = test.batch(shown)
    device = next(model.parameters()).device
    reconstruction = model(images.to(device)).reconstruction
    if reconstruction is not None:
        pictures.draw_reconstructions(
            images,
            reconstruction.float().cpu(),
            labels,
            held_out.predictions[shown],
            test.class_names,
            path=path,
        )
