"""Error against the number of parameters and of training images, with and without capsules.

It is said that capsule networks need fewer parameters, and fewer images, than convolutional ones,
because a capsule tells what an entity looks like instead of needing a feature for every look. It
follows from no comparison in Sabour, Frosst, Hinton (2017), whose CNN has four times the parameters
of its CapsNet and one size. Here three networks with the same stem are compared by both, each with
a learning rate of its own at every point: dynamic routing with r = 3, uniform coupling (r = 1), and
a CNN with dense layers in the place of the class capsules. The fewer the images, the more epochs;
the report says how many images a training saw, new ones or the same ones again.
"""

from collections.abc import Sequence

import torch

from reproduction.efficiency.points import CNN, NETWORKS, Point, points
from reproduction.efficiency.report import report
from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import RATES, Scale, ScaleName, default_training
from reproduction.harness.stem_cnn import cnn_beside
from reproduction.harness.training import Change
from reproduction.harness.tuning import tuned_cells, tuning_differs
from reproduction.harness.workbench import Workbench
from torchcaps.data import ImageData, TrainTest
from torchcaps.errors import InputError
from torchcaps.models import Classifier, ImageCapsNet
from torchcaps.seeding import mix_seed

__all__ = ["EXPERIMENT"]


def cells(scale: Scale) -> Sequence[Cell]:
    """Trials for every point, then every point for each seed."""
    assert scale.images is not None
    networks = {}
    for name in scale.compared:
        point = Point.of(name)
        epochs = max(1, round((scale.config.epochs or 1) * scale.images / point.images))
        networks[name] = {**NETWORKS[point.network][1], "epochs": epochs}
    return tuned_cells(networks, scale)


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train one network on some of the images."""
    point = Point.of(cell.network)
    data = TrainTest(drawn(workbench.data.train, point.images, cell.seed), workbench.data.test)
    trained = workbench.train(cell, data=data, change=resized(point, cell.seed))
    held_out = trained.held_out
    row: Row = {
        "test_error": 1 - held_out.accuracy,
        "images": len(held_out.labels),
        "learnt_images": len(data.train),
        "training_accuracy": trained.history[-1]["train_accuracy"],
        **trained.budget,
    }
    return Outcome(row, {"wrong": (held_out.predictions != held_out.labels).numpy()})


def check(workbench: Workbench) -> None:
    """Raise where the point with the most images asks for more than there are."""
    most = max(Point.of(name).images for name in workbench.scale.compared)
    drawn(workbench.data.train, most, 0)


def drawn(train: ImageData, count: int, seed: int) -> ImageData:
    """So many of the images, others for each seed, the same for all networks."""
    if count > len(train):
        raise InputError(
            f"efficiency learns from {count:,} images, and {train.name} has {len(train):,} for it: "
            "take data with more"
        )
    generator = torch.Generator().manual_seed(mix_seed("images", seed))
    return train.subset(torch.randperm(len(train), generator=generator)[:count].sort().values)


def resized(point: Point, seed: int) -> Change:
    """Trains a network of another width, or the CNN beside it."""

    def change(model: Classifier) -> Classifier:
        assert isinstance(model, ImageCapsNet)
        torch.manual_seed(mix_seed("weights", seed))  # as for every other model
        capsules = ImageCapsNet(**{**model.config, **point.widths})
        return cnn_beside(capsules, seed) if point.network == CNN else capsules

    return change


def differs(scale: Scale) -> Sequence[str]:
    """What is not as it might be."""
    epochs = scale.config.epochs or 1
    return [
        "The claim is made in words; the networks, the images and the training are ours.",
        "A width multiplies the channels of the stem and the types of primary capsules; the 160 "
        "dense units of the CNN, and the 10 × 16 of the class capsules, stay.",
        f"Epochs times training images are about {epochs * (scale.images or 0):,} at every point, "
        "so that few are seen often. A batch that is not full is left out of every epoch: how many "
        "images a training saw stands beside the errors. No network draws its image.",
        "The images that are learnt from are others for each seed, and the same for all networks; "
        f"they are drawn from one pool, {scale.images or 0:,} less those kept aside, so that the "
        "more are learnt from, the more are the same for two seeds. Where that is all of the pool, "
        "all seeds learn from the same images, and intervals leave out what others would change.",
        tuning_differs(scale),
    ]


IMAGES = (100, 300, 1000, 3000, 10_000)
WIDTHS = (1 / 16, 1 / 4, 1, 2)
SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        0.8,
        1,
        default_training(data="mnist5k", epochs=2, batch_size=32),
        images=300,
        held_out=200,
        rates=RATES[:2],
        compared=points((40,), (0.25,)),
    ),
    "few": Scale(
        45,
        5,
        default_training(data="mnist", epochs=4),
        images=4000,  # of which the trials take 1,000
        rates=RATES,
        compared=points(IMAGES[:4], WIDTHS[:3]),
    ),
    "cpu": Scale(
        180,
        5,
        default_training(data="mnist", epochs=4),
        images=11_100,  # of which the trials take 1,000, and some more by rounding
        rates=RATES,
        compared=points(IMAGES, WIDTHS),
    ),
    "paper": Scale(
        240,
        5,
        default_training(data="mnist", epochs=20),
        images=60_000,
        rates=RATES,
        compared=points((*IMAGES, 54_000), (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2)),
        aside=5000,
        wanted="whether capsules need fewer parameters, or fewer images, than a CNN",
    ),
}
EXPERIMENT = Experiment(
    name="efficiency",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
    check=check,
)
