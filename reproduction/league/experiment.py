"""Every routing on the same network, the same images and the same training: which errs least?

Papers compare a new routing with dynamic routing or EM, each on a network, data and a training of
its own; a table of all of them side by side has not been published. Here every routing takes the
place of dynamic routing in this package's default network. What changes with it are its own
parameters, the loss, which is the one that its activations are made for, and the learning rate,
which is tuned for each with the same number of trials on images kept aside. Two controls show what
routing adds at all: uniform coupling (dynamic routing with r = 1), and a convolutional network with
the same stem and about as many parameters.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from reproduction.harness.budget import budget_of
from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import RATES, Scale, ScaleName, default_training
from reproduction.harness.stem_cnn import cnn_beside
from reproduction.harness.training import to_the_last_step
from reproduction.harness.tuning import tuned_cells, tuning_differs
from reproduction.harness.workbench import Workbench
from reproduction.league.entrants import CNN, ENTRANTS, LEFT_OUT, UNIFORM
from reproduction.league.report import report
from reproduction.league.step_cost import step_cost
from torchcaps.data import ImageData, affine_images
from torchcaps.models import Classifier
from torchcaps.training.build import build_model
from torchcaps.training.config import TrainConfig
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.metrics import evaluate
from torchcaps.training.run import Run
from torchcaps.training.settings import apply_settings

__all__ = ["EXPERIMENT"]


def cells(scale: Scale) -> Sequence[Cell]:
    """A trial of every rate for every network, then every network for each seed."""
    compared = scale.compared or tuple(ENTRANTS)
    return tuned_cells({name: ENTRANTS[name].options for name in compared}, scale)


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """A training, what it answers, and what it costs; of a trial the errors alone."""
    config = workbench.config_of(cell)
    model, run = trained(config, cell, workbench)
    test = workbench.data.test
    answers = evaluate(model, test)
    row: Row = {
        "test_error": 1 - answers.accuracy,
        "images": len(test),
        "training_accuracy": run.history[-1]["train_accuracy"],
    }
    if cell.trial_of is not None:
        return Outcome(row)
    arrays: dict[str, Any] = {"wrong": (answers.predictions != answers.labels).numpy()}
    row["affine_error"] = None
    if test.channels == 1:
        transformed = evaluate(model, transformed_images(workbench))
        row["affine_error"] = 1 - transformed.accuracy
        arrays["affine_wrong"] = (transformed.predictions != transformed.labels).numpy()
    seconds, peak = step_cost(model, workbench.data.train, config.batch_size)
    return Outcome(row | {**budget_of(run), "step_seconds": seconds, "step_bytes": peak}, arrays)


@lru_cache(maxsize=1)
def transformed_images(workbench: Workbench) -> ImageData:
    """The held-out images, transformed: the same for every cell."""
    test = workbench.data.test
    return affine_images(test, size=max(test.image_size))


def trained(config: TrainConfig, cell: Cell, workbench: Workbench) -> tuple[Classifier, Run]:
    """A network after its last step, in evaluation mode, and its run."""
    with torch.random.fork_rng():
        apply_settings(config)
        task = ImageClassification.from_config(config, workbench.data)
        model = build_model(config, workbench.data.train)
        if cell.network == CNN:
            model = cnn_beside(model, config.seed)
        run = Run(config, task, model)
        to_the_last_step(run, workbench.progress)
    return model.eval(), run


def differs(scale: Scale) -> Sequence[str]:
    """From what the routings were published with."""
    reasons = "; ".join(f"`{name}`: {reason}" for name, reason in LEFT_OUT.items())
    return [
        "None of the routings was published with this network, these images, or so short a "
        "training: what is compared is what each adds here, not what its paper reached.",
        "No network draws its image: a decoder would be the same for all of them.",
        tuning_differs(scale),
        "Every routing has its own loss (margin loss for lengths, cross entropy of the log-odds "
        "for probabilities, likelihood for a distribution) and its default options; what two "
        "routings differ by is what their losses differ by, too.",
        f"Not compared: {reasons}; cluster routing is a layer of its own.",
        "Transformed images are the held-out ones, turned, sheared and stretched by the published "
        "ranges of affNIST on an area of their own size; nothing is trained on them. Images in "
        "colour are not transformed.",
    ]


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        1.5, 1, default_training(data="mnist5k", epochs=2, batch_size=32), images=600, held_out=400,
        rates=RATES[:2], compared=(CNN, UNIFORM, "em"),
    ),
    "cpu": Scale(90, 5, default_training(data="mnist", epochs=8), images=3000, rates=RATES),
    "paper": Scale(
        400, 5, default_training(data="mnist", epochs=30), rates=RATES,
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
