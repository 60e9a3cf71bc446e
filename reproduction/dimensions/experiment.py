"""What each dimension of a class capsule stands for, in drawings and measured.

The paper (Sabour, Frosst, Hinton 2017, Fig 4) changes one of the sixteen numbers of a class capsule
from −0.25 to 0.25 in steps of 0.05 and draws what the decoder makes of it: some dimensions change
the thickness of the stroke, others slant, width, size, position, or a part of the digit.

Here every dimension of every class is changed so, for several held-out images, and stroke width,
slant, size and position are measured on each drawing. The *effect* of a dimension on a measure is
the difference of the measure between 0.25 and −0.25, in units of its standard deviation over the
unchanged drawings of the class; the *correlation* is that of the change with the measure along one
image. Both are means over the images.

The strongest of sixteen is strong by choice: a pose that holds a property anywhere moves it along
most directions. So each pose is also changed along sixteen random directions that stand on each
other, as far, several times: dimensions are special where the strongest of them has a larger effect
than the strongest of as many random directions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from reproduction.dimensions.report import report, slim
from reproduction.dimensions.shape_measures import MEASURES, measure_shapes
from reproduction.dimensions.tweaks import TWEAKS, effects_of, random_directions, tweaked
from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import Scale, ScaleName, paper_training, published_training
from reproduction.harness.workbench import Workbench
from torchcaps.models import CapsNet
from torchcaps.seeding import mix_seed
from torchcaps.training.config import TrainConfig

__all__ = ["EXPERIMENT"]

IMAGES = 20  # of each class, at most
DRAWS = 5  # of sixteen random directions


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train, change every dimension for some images of every class, and measure."""
    trained = workbench.train(cell)
    model, test = trained.model, workbench.data.test
    assert isinstance(model, CapsNet)
    right = trained.held_out.predictions == test.labels
    effects, correlations, examples, by_chance = [], [], [], []
    for k in range(test.num_classes):
        images, labels = test.batch(((test.labels == k) & right).nonzero().flatten()[:IMAGES])
        if len(images) < 2:  # no spread
            effects.append(torch.zeros(model.classes.weight.shape[2], len(MEASURES)))
            correlations.append(effects[-1])
            examples.append(torch.zeros(len(MEASURES), len(TWEAKS), *test.image_size))
            by_chance.append(torch.zeros(DRAWS, len(MEASURES)))
            continue
        with torch.no_grad():
            pose = model(images.to(model.classes.weight.device), labels).pose
        drawings = tweaked(model, pose, labels)
        effect, correlation = effects_of(measured(drawings))
        effects.append(effect)
        correlations.append(correlation)
        examples.append(drawings[0, effect.abs().argmax(dim=0)].mean(dim=2))
        by_chance.append(strongest_by_chance(model, pose, labels, cell.seed))
    kept = {
        "effects": effects, "correlations": correlations, "examples": examples,
        "strongest_by_chance": by_chance,
    }  # fmt: skip
    arrays = {name: torch.stack(parts).float().numpy() for name, parts in kept.items()}
    row: Row = {"test_error": 1 - trained.held_out.accuracy}
    strongest = np.abs(arrays["effects"]).max(axis=1).mean(axis=0)  # [M]
    chance = arrays["strongest_by_chance"].mean(axis=(0, 1))  # [M]
    for name, own, other in zip(MEASURES, strongest, chance):
        row |= {f"strongest effect on {name}": float(own), f"{name} by chance": float(other)}
    return Outcome(row, arrays)


def measured(drawings: Tensor) -> Tensor:
    """The measures of drawings `[N, D, 11, C, H, W]`, `[N, D, 11, M]`."""
    return measure_shapes(drawings.flatten(0, 2)).view(*drawings.shape[:3], -1)


def strongest_by_chance(model: CapsNet, pose: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Of each draw of random directions the size of the strongest effect, `[DRAWS, M]`."""
    found = []
    for draw in range(DRAWS):
        directions = random_directions(pose.shape[-1], mix_seed("directions", seed, draw))
        effect, _ = effects_of(measured(tweaked(model, pose, labels, directions)))
        found.append(effect.abs().amax(dim=0))
    return torch.stack(found)


def differs(scale: Scale) -> Sequence[str]:
    """From the paper's figure."""
    lines = [
        "The paper's rows are chosen by eye; here the strongest effect on each measure is shown.",
        f"{scale.config.epochs} epochs; the paper's are not stated. Reconstruction counts as in "
        "the authors' code, 20 times more beside the margin loss than in the paper.",
    ]
    if scale.config.model == "capsnet_small":
        lines.append("The network is smaller: 64 convolution channels, 8 types of capsules.")
    return lines


def training(**options: object) -> TrainConfig:
    """With drawings that become sharp in few epochs."""
    return published_training(validation=0.0, loss_scale="authors", **options)


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(0.9, 1, training(data="mnist5k", epochs=8), images=1500, held_out=500),
    "cpu": Scale(35, 5, training(data="mnist", epochs=20), images=12_000),
    "paper": Scale(150, 5, paper_training(loss_scale="authors")),
}
EXPERIMENT = Experiment(
    name="dimensions",
    about=__doc__,
    scales=SCALES,
    cells=lambda scale: [Cell("r3", seed) for seed in range(scale.seeds)],
    compute=compute,
    report=report,
    differs=differs,
    slim=slim,
)
