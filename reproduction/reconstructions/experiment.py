"""What the decoder draws from the pose of one class, for right and for wrong answers.

The paper (Sabour, Frosst, Hinton 2017, Fig 3) shows digits of the MNIST test set and what CapsNet
with three routing iterations draws from the sixteen numbers of their class capsule: the details of
the digit are kept, noise is smoothed away. For one mistake it shows the drawing of the predicted
and that of the true class, which shows why they were confused.

Here also the error of the drawing is measured, beside that of drawing the mean image of the class,
and with both weights of the reconstruction loss: the paper's, and that of the authors' code, in
which it counts 20 times more beside the margin loss.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from reproduction.harness.cell import Arrays, Cell, Outcome, Row
from reproduction.harness.experiment import Experiment, Finding, Report, Results
from reproduction.harness.markdown import plus_minus, table
from reproduction.harness.scale import Scale, ScaleName, paper_training
from reproduction.harness.statistics import summarise
from reproduction.harness.workbench import Workbench
from torchcaps.data import ImageData
from torchcaps.functional import reconstruction_loss
from torchcaps.models import CapsNet
from torchcaps.training.config import TrainConfig
from torchcaps.training.pictures import draw_reconstructions
from torchcaps.training.pictures.style import WRONG
from torchcaps.training.pictures.tiles import draw_tiles

__all__ = ["EXPERIMENT", "drawing_error", "mean_image_error"]

MISTAKES = 10  # shown, at most
LOSSES = ("paper", "authors")
IMAGES = ("images", "as_predicted", "as_labelled")  # among the arrays of a cell


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
    row: Row = {
        "test_error": 1 - trained.held_out.accuracy,
        "drawing_error": drawing_error(model, test),
        "mean_image_error": mean_image_error(workbench.data.train, test),
    }
    arrays = {
        "images": images,
        "labels": labels,
        "predictions": predictions[shown],
        "as_predicted": drawn(model, images, predictions[shown]),
        "as_labelled": drawn(model, images, labels),
    }
    return Outcome(row, {name: tensor.numpy() for name, tensor in arrays.items()})


@torch.no_grad()
def drawn(model: CapsNet, images: Tensor, classes: Tensor) -> Tensor:
    """What the decoder makes of the poses of these classes, `[B, C, H, W]`."""
    device = model.classes.weight.device
    drawing = model(images.to(device), classes.to(device)).reconstruction
    return drawing.float().cpu()  # type: ignore[no-any-return]


def drawing_error(model: CapsNet, data: ImageData) -> float:
    """The sum of squared pixel errors of the drawings of the true class, mean over the images."""
    total = 0.0
    for indices in torch.split(torch.arange(len(data)), 250):
        images, labels = data.batch(indices)
        total += len(indices) * reconstruction_loss(drawn(model, images, labels), images).item()
    return total / len(data)


def mean_image_error(train: ImageData, test: ImageData) -> float:
    """The same error of drawing every image as the mean training image of its class."""
    total = 0.0
    for label in sorted(set(test.labels.tolist())):
        learnt, _ = train.batch((train.labels == label).nonzero().flatten())
        images, _ = test.batch((test.labels == label).nonzero().flatten())
        mean = learnt.mean(dim=0, keepdim=True).expand_as(images)
        total += len(images) * reconstruction_loss(mean, images).item()
    return total / len(test)


def report(results: Results) -> Report:
    """Drawings of both trainings, and their errors."""
    figures, lines, findings = [], [], []
    pictures = {name: draw(results, results.of(name)[0]) for name in LOSSES}
    for name in LOSSES:
        rows = results.of(name)
        ours, mean, error = (
            summarise([row[column] for row in rows])
            for column in ("drawing_error", "mean_image_error", "test_error")
        )
        lines.append([name, plus_minus(ours, 1, 1), f"{mean.mean:.1f}", plus_minus(error)])
        whose = "the paper" if name == "paper" else "the authors’ code"
        errors = f"{plus_minus(ours, 1, 1)}, of the mean image of the class {mean.mean:.1f}"
        figures.append(f"weights of {whose}: squared error of a drawing {errors}")
        findings.append(
            Finding(
                f"A class capsule holds the details of its digit (weights of {whose})",
                "shown in a figure",
                f"squared error of a drawing {errors}",
                "details are kept" if ours.mean < mean.mean else "no better than the mean image",
            )
        )
    header = ["weights of the loss", "error of a drawing", "of the mean image", "test error, %"]
    sharpest = pictures["authors"][:1]
    parts = [
        *sharpest,
        table(header, lines),
        "Sums of squared pixel errors of a held-out image, mean over all of them. The drawings "
        "above are of the weights of the authors’ code.",
    ]
    for name, shown in pictures.items():
        others = [picture for picture in shown if picture not in sharpest]
        parts += [f"## Drawings, weights of the loss: {name}", *others] if others else []
    return Report(figures, "\n\n".join(parts), findings)


def draw(results: Results, row: Row) -> list[str]:
    """The pictures of a training, as Markdown."""
    kept = {name: torch.from_numpy(array) for name, array in slim(results.arrays(row)).items()}
    for name in IMAGES:
        kept[name] = kept[name] / 255
    right = kept["labels"] == kept["predictions"]
    names = [str(k) for k in range(int(max(kept["labels"].max(), kept["predictions"].max())) + 1)]
    name = row["cell"]
    lines = []
    if right.any():
        own = {key: value[right] for key, value in kept.items()}
        draw_reconstructions(
            own["images"], own["as_labelled"], own["labels"], own["predictions"], names,
            path=results.folder / f"right_{name}.png",
        )  # fmt: skip
        lines.append(f"![Held-out images and their reconstructions](right_{name}.png)")
    if not right.all():
        own = {key: value[~right] for key, value in kept.items()}
        draw_tiles(
            [own["images"], own["as_predicted"], own["as_labelled"]],
            own["labels"], own["predictions"], [""] * len(own["labels"]), names,
            title="Mistakes: the image, drawn as the predicted class, drawn as the true class",
            key={"true class → predicted class": WRONG},
            most=10, largest=1.3, path=results.folder / f"wrong_{name}.png",
        )  # fmt: skip
        lines.append(f"![Mistakes, drawn as the predicted and the true class](wrong_{name}.png)")
    return lines


def slim(arrays: Arrays) -> Arrays:
    """The images and drawings in 256 shades, as a picture has them."""
    return {
        name: (255 * array).round().astype(np.uint8)
        if np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in arrays.items()
    }


def differs(scale: Scale) -> Sequence[str]:
    """From the paper's figure."""
    lines = [f"{scale.config.epochs} epochs; the paper's are not stated."]
    if scale.config.model == "capsnet_small":
        lines.append("The network is smaller: 64 convolution channels, 8 types of capsules.")
    return lines


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        0.8, 1, TrainConfig(data="mnist5k", epochs=5, validation=0.0), images=1500, held_out=500
    ),
    "cpu": Scale(9, 1, TrainConfig(data="mnist", epochs=20, validation=0.0), images=12_000),
    "paper": Scale(60, 1, paper_training()),
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
