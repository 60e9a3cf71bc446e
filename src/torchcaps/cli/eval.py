"""`torchcaps eval`."""

import json
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from torchcaps.cli.streams import can_print, one_line, told_apart
from torchcaps.cpu_threads import set_threads
from torchcaps.errors import InputError
from torchcaps.training.config import MOST_THREADS, read_train_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchcaps.data import TrainTest
    from torchcaps.models import Classifier
    from torchcaps.training.metrics import Evaluation

__all__ = ["Eval"]


@dataclass
class Eval:
    """Measure a trained model on labelled images: accuracy with its interval, errors by class."""

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, or of a saved model; digits (comes with the package); or owner/name of a
    repository on the Hugging Face Hub."""
    data: str | None = None
    """As for `train`; default: what the run was trained on."""
    data_dir: Path | None = None
    """Folder that holds the files of mnist or fashion-mnist."""
    split: Literal["test", "train", "all"] = "test"
    """Which part of the data: the held-out images, those for training, or both. Of data without a
    test part a fifth counts as held out."""
    batch_size: int | None = None
    """Images at once, which changes speed and memory alone; default: 256, fewer of large ones."""
    threads: int | None = None
    """CPU threads; default: what torch takes, or as many as the container has cores."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Measure and print."""
        import torch

        from torchcaps.cli.checkpoint import load_checkpoint
        from torchcaps.data.load import brings_test_part
        from torchcaps.models.images_at_once import check_answers
        from torchcaps.training.metrics import describe_classes, evaluate
        from torchcaps.training.progress import watched

        if self.batch_size is not None:
            check_range("batch-size", self.batch_size)
        if self.threads is not None:
            check_range("threads", self.threads, MOST_THREADS)
        set_threads(self.threads)
        model = load_checkpoint(self.checkpoint)
        name, parts = self._load_data(model)
        if torch.cuda.is_available():
            model.to("cuda")
        watch = partial(watched, description="measuring")
        batch_size = self.batch_size and min(self.batch_size, *map(len, parts))
        chosen = {"test": [parts.test], "train": [parts.train], "all": parts}[self.split]
        measured = together(
            [evaluate(model, part, batch_size=batch_size, watch=watch) for part in chosen]
        )
        check_answers(measured.activation, model)
        where = {"data": name, "split": self.split}
        if parts.test.multi_label:
            result, text = of_several_labels(measured, model.class_names, where)
        else:
            result = summary(measured, model.class_names) | where
            text = as_text(result, describe_classes(measured, told_apart(model.class_names)))
        if self.data is not None and self.split == "test" and not brings_test_part(name):
            left_out = len(parts.train)
            result["left_out"] = left_out
            text += (
                f"\n{one_line(name)} has no test part, so that a fifth of each class was measured, "
                f"and {left_out} images were not: --split all measures all (where the model "
                "learned from this folder, those, too)"
            )
        print(json.dumps(result, indent=2, ensure_ascii=not can_print("é…")) if self.json else text)

    def _load_data(self, model: "Classifier") -> "tuple[str, TrainTest]":
        from torchcaps.cli.checkpoint import run_of_model
        from torchcaps.data.load import check_data_dir, load_data
        from torchcaps.training.build import IN_MEMORY, has_digest
        from torchcaps.training.run_folder import data_may_have_moved

        name, data_dir, began_with, in_memory = self.data, self.data_dir, None, None
        if name is not None:
            check_data_dir(name, data_dir)
        else:
            run = run_of_model(self.checkpoint)
            if run is None:
                raise InputError(
                    f"{self.checkpoint} does not say what it was trained on: name it with --data"
                )
            trained = run.found_again(read_train_config(run.config))
            name, data_dir = trained.data, data_dir or trained.data_dir
            check_data_dir(name, self.data_dir)
            in_memory = IN_MEMORY[trained.in_memory]
            began_with = run.read_data_facts()["sha256"]
        told = nullcontext() if self.data else data_may_have_moved(name, self.checkpoint)
        with told:
            parts = load_data(
                name,
                data_dir,
                image_size=model.image_size,
                channels=_channels(name, model.channels),
                in_memory=in_memory,
            )
        if began_with is not None and not has_digest(parts, began_with):
            raise InputError(
                f"{name} does not hold the images that {self.checkpoint} was trained and judged "
                "on: name what to measure it on with --data"
            )
        data = parts.test
        if data.channels != model.channels:
            raise InputError(
                f"{name} has images of {data.channels} channels, the model takes {model.channels}: "
                "name data like those it was trained on"
            )
        if data.class_names != model.class_names:
            there, here = _listed(data.class_names), _listed(model.class_names)
            alike = one_line(there) == one_line(here)
            first = _first_other(data.class_names, model.class_names) if alike else ""
            raise InputError(
                f"{name} has the classes {there}, the model {here}{first}: name data with the "
                "model's classes"
            )
        if data.multi_label and not learned_several(model):
            raise InputError(
                f"{name} has images of several classes at once, and the model finds one class an "
                "image: name data with one class an image"
            )
        return name, parts


def learned_several(model: "Classifier") -> bool:
    """Whether each activation says by itself that its class is there.

    Lengths do, however they were trained. Probabilities do only where training asked for each class
    by itself; where it asked for one class an image, it has written a threshold.
    """
    from torchcaps.models.routed_classifier import RoutedClassifier

    lengths = isinstance(model, RoutedClassifier) and model.classes.routing.class_loss == "margin"
    return model.finds_several and (lengths or "threshold" not in model.metadata)


def together(measured: "Sequence[Evaluation]") -> "Evaluation":
    """The answers to several sets as those to one."""
    import torch

    from torchcaps.training.metrics import Evaluation

    counts = [len(one.labels) for one in measured]
    loss, classification = (
        sum(getattr(one, name) * n for one, n in zip(measured, counts)) / sum(counts)
        for name in ("loss", "classification_loss")
    )
    labels, activation = (
        torch.cat([getattr(one, name) for one in measured]) for name in ("labels", "activation")
    )
    return Evaluation(labels, activation, loss, classification)


def summary(measured: "Evaluation", class_names: tuple[str, ...]) -> dict[str, Any]:
    """What `eval` prints, as JSON values."""
    from torchcaps.training.metrics import class_figures

    low, high = measured.interval
    by_class = measured.errors_by_class()
    return {
        "accuracy": measured.accuracy,
        "interval_95": [low, high],
        "images": len(measured.labels),
        "wrong": len(measured.labels) - measured.correct,
        "loss": measured.loss,
        "classification_loss": measured.classification_loss,
        **class_figures(measured, class_names),
        "errors_by_class": {
            name: {"wrong": wrong, "images": total}
            for name, (wrong, total) in zip(class_names, by_class)
        },
    }


def of_several_labels(
    measured: "Evaluation", class_names: tuple[str, ...], where: dict[str, str]
) -> tuple[dict[str, Any], str]:
    """What `eval` prints of images that show several classes: as JSON values, and as text."""
    from torchcaps.training.multi_label import (
        MultiLabelEvaluation,
        describe_labels,
        label_figures,
    )

    answers = MultiLabelEvaluation(**vars(measured))
    low, high = answers.interval
    count = len(answers.labels)
    result = {
        "accuracy": answers.accuracy,
        "interval_95": [low, high],
        "images": count,
        "wrong": count - answers.correct,
        "loss": answers.loss,
        "classification_loss": answers.classification_loss,
        **label_figures(answers, class_names),
        **where,
    }
    text = (
        f"accuracy: every label is right in {answers.accuracy:.2%} (95 % interval {low:.2%} to "
        f"{high:.2%}) of {count} images, on {one_line(where['data'])} ({where['split']})\n"
        f"{describe_labels(answers, told_apart(class_names))}\n"
        f"loss: {answers.loss:.4f}, of it classification {answers.classification_loss:.4f}"
    )
    return result, text


def as_text(result: dict[str, Any], classes: str) -> str:
    """The same for a person; `classes` is the line about unequal classes."""
    low, high = result["interval_95"]
    lines = [
        f"accuracy: {result['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"{result['wrong']} of {result['images']} images wrong, on {one_line(result['data'])} "
        f"({result['split']})",
        classes,
        f"loss: {result['loss']:.4f}, of it classification {result['classification_loss']:.4f}",
        "error by class:",
    ]
    names = told_apart(result["errors_by_class"])
    width = max(map(len, names))
    for name, counts in zip(names, result["errors_by_class"].values()):
        rate = f"{counts['wrong'] / counts['images']:7.2%}" if counts["images"] else "      –"
        lines.append(f"  {name:<{width}} {rate}  ({counts['wrong']} of {counts['images']})")
    return "\n".join(lines)


def check_range(option: str, value: int, most: int | None = None) -> None:
    """Raise unless an option is 1 or more, and `most` or less."""
    if value < 1:
        raise InputError(f"--{option} must be at least 1, got {value}")
    if most is not None and value > most:
        raise InputError(f"--{option} must be at most {most}, got {value}")


def _channels(data: str, channels: int) -> int | None:
    """What `load_data` can convert to, or look for in an array; other images stay as they are."""
    return channels if channels in (1, 3) or data.lower().endswith(".npz") else None


def _first_other(there: tuple[str, ...], here: tuple[str, ...]) -> str:
    """Of names of which the first are the same, which differ."""
    number = next(k for k, (one, other) in enumerate(zip(there, here), 1) if one != other)
    return f"; class {number} is {there[number - 1]!r} there and {here[number - 1]!r} in the model"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown}, … ({len(names)})" if len(names) > 4 else f"{shown} ({len(names)})"
