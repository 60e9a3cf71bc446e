"""What the decoder draws from the pose of one class, for right and for wrong answers.

The paper (Sabour, Frosst, Hinton 2017, Fig 3) shows digits of the MNIST test set and what CapsNet
with three routing iterations draws from the sixteen numbers of their class capsule: the details of
the digit are kept, noise is smoothed away. For one mistake it shows the drawing of the predicted
and that of the true class, which shows why they were confused.

Here also the error of the drawing is measured, beside that of drawing the mean image of the class,
and with both weights of the reconstruction loss: the paper's, and that of the authors' code, in
which it counts 20 times more beside the margin loss. A class capsule has sixteen numbers: beside it
stands what sixteen numbers do without any network, the first principal components of the training
images of the class.
"""

from collections.abc import Sequence

import torch

from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.drawing_error import (
    drawing_errors,
    drawn,
    mean_image_errors,
    principal_errors,
)
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import Scale, ScaleName, paper_training, published_training
from reproduction.harness.workbench import Workbench
from reproduction.reconstructions.report import LOSSES, report, slim
from torchcaps.models import CapsNet

__all__ = ["EXPERIMENT"]

MISTAKES = 10  # shown, at most
COMPONENTS = 16  # as many numbers as a class capsule has


def cells(scale: Scale) -> Sequence[Cell]:
    """Both weights of the loss for each seed."""
    return [
        Cell(name, seed, {"loss_scale": name}) for seed in range(scale.seeds) for name in LOSSES
    ]


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train, and draw some held-out digits: one of each class, and mistakes."""
    trained = workbench.train(cell)
    model, test = trained.model, workbench.data.test
    assert isinstance(model, CapsNet)
    predictions = trained.held_out.predictions
    wrong = torch.tensor(trained.held_out.worst_mistakes(MISTAKES), dtype=torch.int64)
    right = (predictions == test.labels).nonzero().flatten()
    firsts = [right[test.labels[right] == k][:1] for k in range(test.num_classes)]
    shown = torch.cat([*firsts, wrong])
    images, labels = test.batch(shown)
    errors = {
        "drawing_error": drawing_errors(model, test),
        "mean_image_error": mean_image_errors(workbench.data.train, test),
        "principal_error": principal_errors(workbench.data.train, test, COMPONENTS),
    }
    row: Row = {
        "test_error": 1 - trained.held_out.accuracy,
        **{name: tensor.mean().item() for name, tensor in errors.items()},
        **trained.budget,
    }
    arrays = {"drawing_error": errors["drawing_error"].half()}
    if cell.seed == 0:  # of others they are the same, or not shown
        arrays |= {name: tensor.half() for name, tensor in errors.items()} | {
            "images": images,
            "labels": labels,
            "predictions": predictions[shown],
            "as_predicted": drawn(model, images, predictions[shown]),
            "as_labelled": drawn(model, images, labels),
        }
    return Outcome(row, {name: tensor.numpy() for name, tensor in arrays.items()})


def differs(scale: Scale) -> Sequence[str]:
    """From the paper's figure."""
    lines = [f"{scale.config.epochs} epochs; the paper's are not stated."]
    if scale.config.model == "capsnet_small":
        lines.append("The network is smaller: 64 convolution channels, 8 types of capsules.")
    return lines


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        0.8,
        1,
        published_training(data="mnist5k", epochs=5, validation=0.0),
        images=1500,
        held_out=500,
    ),
    "cpu": Scale(45, 5, published_training(data="mnist", epochs=20, validation=0.0), images=12_000),
    "paper": Scale(300, 5, paper_training()),
}
EXPERIMENT = Experiment(
    name="reconstructions",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
    slim=slim,
)
