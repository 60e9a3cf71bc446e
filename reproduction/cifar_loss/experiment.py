"""Training loss on CIFAR-10 with one routing iteration and with three.

The paper (Sabour, Frosst, Hinton 2017, Fig A.2) shows training curves on CIFAR-10: with three
routing iterations the training loss falls lower than with one. It reads them as routing being able
to optimise the loss faster and to a lower value.
"""

from collections.abc import Sequence

import numpy as np

from reproduction.cifar_loss.report import report
from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import RATES, Scale, ScaleName, paper_training, published_training
from reproduction.harness.tuning import tuned_cells, tuning_differs
from reproduction.harness.workbench import CIFAR10, Workbench
from torchcaps.training.config import TrainConfig

__all__ = ["EXPERIMENT"]


def cells(scale: Scale) -> Sequence[Cell]:
    """Trials for both, then both for each seed."""
    return tuned_cells({f"r{r}": {"iterations": r} for r in scale.iterations}, scale)


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train, and keep the loss of every epoch."""
    trained = workbench.train(cell)
    losses = [row["classification_loss"] for row in trained.history]
    row: Row = {
        "iterations": cell.options["iterations"],
        "last_epoch_loss": losses[-1],
        "training_accuracy": trained.history[-1]["train_accuracy"],
        "test_error": 1 - trained.held_out.accuracy,
        "images": len(trained.held_out.labels),
        **trained.budget,
    }
    wrong = trained.held_out.predictions != trained.held_out.labels
    return Outcome(row, {"loss": np.array(losses), "wrong": wrong.numpy()})


def differs(scale: Scale) -> Sequence[str]:
    """From the paper's training."""
    config = scale.config
    lines = [
        "The paper trains on 24×24 crops, with 64 types of primary capsules and a class for none "
        "of the above; here on whole images, without the two.",
        "No reconstruction, as in the authors' code.",
        tuning_differs(scale),
    ]
    if config.data != CIFAR10:
        lines.append(f"Trained on {config.data} in place of CIFAR-10.")
    if config.model == "capsnet_small":
        lines.append(
            "The network is smaller (64 convolution channels, 8 types of capsules), and is trained "
            "for few epochs on a part of the training images."
        )
    return lines


def training(**options: object) -> TrainConfig:
    """Without reconstruction, on all the images."""
    return published_training(validation=0.0, reconstruct=False, **options)


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        0.8,
        2,
        training(data="mnist5k", epochs=4),
        images=1000,
        held_out=400,
        iterations=(1, 3),
        rates=RATES[:2],
    ),
    "cpu": Scale(
        65, 5, training(data=CIFAR10, epochs=8), images=12_000, iterations=(1, 3), rates=RATES
    ),
    "paper": Scale(
        240, 5, paper_training(data=CIFAR10, reconstruct=False), iterations=(1, 3), rates=RATES
    ),
}
EXPERIMENT = Experiment(
    name="cifar-loss",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
)
