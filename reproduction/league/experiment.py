"""Every routing on the same network, the same images and the same training: which errs least?

Papers compare a new routing with dynamic routing or EM, each on a network, data and a training of
its own; a table of all of them side by side has not been published. Here every routing takes the
place of dynamic routing in this package's default network, and nothing else changes but the loss,
which is the one that its activations are made for, and the learning rate, which is tuned for each
with the same number of trials on images kept aside. Two controls show what routing adds at all:
uniform coupling (dynamic routing with r = 1), and a convolutional network with the same stem and
about as many parameters.
"""

import dataclasses
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import Scale, ScaleName
from reproduction.harness.training import to_the_last_step
from reproduction.harness.workbench import Workbench
from reproduction.league.entrants import CNN, ENTRANTS, LEFT_OUT, UNIFORM, trial_name
from reproduction.league.report import report
from reproduction.league.stem_cnn import StemCNN
from reproduction.league.step_cost import step_cost
from torchcaps.data import ImageData, TrainTest, affine_images, stratified_split
from torchcaps.errors import RunStopped
from torchcaps.models import Classifier, ImageCapsNet
from torchcaps.models.summary import count_parameters
from torchcaps.seeding import mix_seed
from torchcaps.training.build import build_model
from torchcaps.training.config import TrainConfig
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.metrics import evaluate
from torchcaps.training.run import Run, apply_settings

__all__ = ["EXPERIMENT"]

TRIAL_SEED = 1000  # no training that is compared has it
MOST_ASIDE, SHARE_ASIDE = 1000, 1 / 3  # of the training images: for the trials alone
DIVERGED = 1  # the exit code of a training whose loss is not finite


def cells(scale: Scale) -> Sequence[Cell]:
    """A trial of every rate for every network, then every network for each seed."""
    compared = scale.compared or tuple(ENTRANTS)
    return [
        *(trial for name in compared for trial in trials(name, scale)),
        *(
            Cell(name, seed, ENTRANTS[name].options)
            for seed in range(scale.seeds)
            for name in compared
        ),
    ]


def trials(name: str, scale: Scale) -> list[Cell]:
    """The trials of a network, one a learning rate."""
    return [
        Cell(trial_name(name, rate), TRIAL_SEED, {**ENTRANTS[name].options, "learning_rate": rate})
        for rate in scale.rates
    ]


@lru_cache(maxsize=1)
def split(workbench: Workbench) -> TrainTest:
    """The images to learn from and those kept aside: the same for every cell."""
    train = workbench.data.train
    return TrainTest(*stratified_split(train, min(SHARE_ASIDE, MOST_ASIDE / len(train))))


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """A trial on the images kept aside, or a training at the best rate and what it answers."""
    config = workbench.config_of(cell)
    if "learning_rate" in cell.options:
        return trial(config, cell, workbench)
    config = dataclasses.replace(config, learning_rate=best_rate(cell, workbench))
    model, training_accuracy = trained(config, cell, workbench)
    test = workbench.data.test
    answers = evaluate(model, test)
    arrays: dict[str, Any] = {"wrong": (answers.predictions != answers.labels).numpy()}
    affine_error = None
    if test.channels == 1:
        transformed = evaluate(model, transformed_images(workbench))
        affine_error = 1 - transformed.accuracy
        arrays["affine_wrong"] = (transformed.predictions != transformed.labels).numpy()
    seconds, peak = step_cost(model, split(workbench).train, config.batch_size)
    row: Row = {
        "learning_rate": config.learning_rate,
        "test_error": 1 - answers.accuracy,
        "affine_error": affine_error,
        "images": len(test),
        "training_accuracy": training_accuracy,
        "parameters": count_parameters(model),
        "step_seconds": seconds,
        "step_bytes": peak,
    }
    return Outcome(row, arrays)


@lru_cache(maxsize=1)
def transformed_images(workbench: Workbench) -> ImageData:
    """The held-out images, transformed: the same for every cell."""
    test = workbench.data.test
    return affine_images(test, size=max(test.image_size))


def trial(config: TrainConfig, cell: Cell, workbench: Workbench) -> Outcome:
    """One learning rate for one network; the error is 1 where its loss ceases to be finite."""
    row: Row = {"learning_rate": config.learning_rate, "aside_error": 1.0}
    try:
        model, row["training_accuracy"] = trained(config, cell, workbench)
    except RunStopped as error:
        if error.exit_code != DIVERGED:
            raise
        return Outcome(row)
    answers = evaluate(model, split(workbench).test)
    return Outcome(row | {"aside_error": 1 - answers.accuracy, "images": len(answers.labels)})


def best_rate(cell: Cell, workbench: Workbench) -> float:
    """The rate with the lowest error on the images kept aside; of equal ones the smallest.

    A trial that another process has in hand is waited for.
    """
    rows = [finished(one, workbench) for one in trials(cell.name, workbench.scale)]
    best = min(rows, key=lambda row: (row["aside_error"], row["learning_rate"]))
    return float(best["learning_rate"])


def finished(cell: Cell, workbench: Workbench) -> Row:
    """The row of a cell, computed here where no other process does."""
    while (row := workbench.folder.row(cell)) is None:
        with workbench.folder.claimed(cell) as mine:
            if mine:
                workbench.folder.keep(cell, compute(cell, workbench))
            else:
                time.sleep(1)
    return row


def trained(config: TrainConfig, cell: Cell, workbench: Workbench) -> tuple[Classifier, float]:
    """A network after its last step, in evaluation mode, and its accuracy in the last epoch."""
    data = split(workbench)
    with torch.random.fork_rng():
        apply_settings(config)
        task = ImageClassification.from_config(config, data)
        model = build_model(config, data.train)
        if cell.name.startswith(CNN):
            model = cnn_beside(model, config.seed)
        run = Run(config, task, model)
        to_the_last_step(run, workbench.progress)
    return model.eval(), run.history[-1]["train_accuracy"]


def cnn_beside(capsules: Classifier, seed: int) -> StemCNN:
    """The CNN with the same stem."""
    assert isinstance(capsules, ImageCapsNet)
    torch.manual_seed(mix_seed("weights", seed))  # as for every other model
    return StemCNN(
        capsules.image_size,
        capsules.channels,
        capsules.num_classes,
        capsules.class_names,
        mean=capsules.mean,
        std=capsules.std,
    )


def differs(scale: Scale) -> Sequence[str]:
    """From what the routings were published with."""
    reasons = "; ".join(f"`{name}`: {reason}" for name, reason in LEFT_OUT.items())
    return [
        "None of the routings was published with this network, these images, or so short a "
        "training: what is compared is what each adds here, not what its paper reached.",
        "No network draws its image: a decoder would be the same for all of them.",
        f"Up to {MOST_ASIDE:,} of the training images, at most a third, are kept aside for the "
        "trials and never trained on. A trial has one seed, which no compared training has.",
        "Every routing has its own loss (margin loss for lengths, cross entropy of the log-odds "
        "for probabilities, likelihood for a distribution) and its default options.",
        f"Not compared: {reasons}; cluster routing is a layer of its own.",
        "Transformed images are the held-out ones, turned, sheared and stretched by the published "
        "ranges of affNIST on an area of their own size; nothing is trained on them. Images in "
        "colour are not transformed.",
    ]


def training(**options: object) -> TrainConfig:
    """The default training of this package, as it stood when the rows were made."""
    stated: dict[str, Any] = {
        "model": "image_capsnet", "reconstruct": False, "batch_size": 64, "learning_rate": 0.003,
        "schedule": "cosine", "warmup": 0.05, "final_learning_rate": 0.01, "clip": 5.0,
        "max_shift": 2, "validation": 0.0, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig(**{**stated, **options})


RATES = (0.001, 0.003, 0.009)
SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        1.5, 1, training(data="mnist5k", epochs=2, batch_size=32), images=600, held_out=400,
        rates=RATES[:2], compared=(CNN, UNIFORM, "em"),
    ),
    "cpu": Scale(60, 3, training(data="mnist", epochs=8), images=3000, rates=RATES),
    "paper": Scale(
        400, 5, training(data="mnist", epochs=30), rates=RATES,
        wanted="which routings err less than uniform coupling when there are many images",
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    name="league",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
)
