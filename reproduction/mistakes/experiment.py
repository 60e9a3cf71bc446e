"""What each mistake of public implementations costs, beside the right network.

Public code of capsule networks was found to take the softmax over the input capsules in place of
the outputs, to reshape primary capsules without a permutation, to average the routing logits over
the batch, to squash over the classes, to draw W from N(0, 1), to softmax the lengths before the
margin loss or to leave out its squares, and to add 0.0005 of the *mean* squared error of the
reconstruction. Accuracy, as it is reported, reveals little of this: networks with the softmax over
the wrong axis are reported with 99.7 % on MNIST. With averaged logits the answer to an image
depends on the other images of its batch; with lengths softmaxed over the batch, an image alone in
its batch is always of class 0.

Here each mistake is made by itself, in networks that are trained and measured like the right one
beside them; the wrong axis also together with W from N(0, 1), since the two are found together.
"""

from collections.abc import Sequence

from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.drawing_error import drawing_errors, mean_image_errors
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import RATES, Scale, ScaleName, paper_training, published_training
from reproduction.harness.training import Change
from reproduction.harness.tuning import tuned_cells, tuning_differs
from reproduction.harness.workbench import Workbench, choice
from reproduction.mistakes.measurements import (
    answers,
    batch_facts,
    coupling_facts,
    share,
    shuffled,
    softmaxed_over_batch,
)
from reproduction.mistakes.report import report
from reproduction.mistakes.variants import RIGHT, VARIANTS
from torchcaps.models import CapsNet, Classifier

__all__ = ["EXPERIMENT"]

FEW = 2000  # held-out images that are looked at one by one too


def cells(scale: Scale) -> Sequence[Cell]:
    """Trials for every variant, then every variant for each seed."""
    return tuned_cells({name: {} for name in VARIANTS}, scale)


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train one variant, and measure."""
    trained = workbench.train(cell, change=change_of(cell))
    assert isinstance(trained.model, CapsNet)
    test, batch = workbench.data.test, workbench.scale.config.batch_size
    few = choice(test, FEW)
    order = shuffled(test, 0)
    lengths = answers(trained.model, test, order, batch)
    wrong = lengths.argmax(dim=1) != test.labels
    if cell.trial_of is not None:
        return Outcome({"test_error": share(wrong), "images": len(test)})
    batches = batch_facts(trained.model, few, batch)
    row: Row = {
        "test_error": share(wrong),
        "images": len(test),
        "training_accuracy": trained.history[-1]["train_accuracy"],
        **trained.budget,
        **batches.row,
        **coupling_facts(trained.model, few, batch),
        "drawing_error": drawing_errors(trained.model, test).mean().item(),
        "mean_image_error": mean_image_errors(workbench.data.train, test).mean().item(),
        "seconds_per_step": trained.seconds_per_step,
    }
    if cell.name == RIGHT:  # a mistake that is made after training
        row |= {
            name: share(softmaxed_over_batch(lengths[order], size) != test.labels[order])
            for name, size in (("softmax_over_batch", batch), ("softmax_over_batch_alone", 1))
        }
    return Outcome(row, {"wrong": wrong.numpy(), **batches.arrays})


def change_of(cell: Cell) -> Change | None:
    """What makes the right network a wrong one."""
    make = VARIANTS[cell.network].make
    if make is None:
        return None

    def change(model: Classifier) -> Classifier:
        assert isinstance(model, CapsNet)
        return make(model, cell.seed)

    return change


def differs(scale: Scale) -> Sequence[str]:
    """From the networks in which the mistakes were found."""
    config = scale.config
    lines = [
        "The mistakes are made again in this package's network, one at a time, with its training; "
        "no code of others runs. Where they were found there are often several at once, in "
        "networks and trainings of other kinds.",
        f"Evaluated in mixed batches of {config.batch_size} unless it says otherwise.",
        tuning_differs(scale),
    ]
    if config.model == "capsnet_small":
        lines.append(
            "The network is smaller (64 convolution channels, 8 types of capsules), and is trained "
            "for few epochs on a part of the training images."
        )
    return lines


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        1.8,
        1,
        published_training(data="mnist5k", epochs=2, batch_size=32, validation=0.0),
        images=500,
        held_out=200,
        rates=RATES[:2],
    ),
    "cpu": Scale(
        80,
        5,
        published_training(data="mnist", epochs=3, validation=0.0),
        images=12_000,
        rates=RATES,
    ),
    "paper": Scale(
        2400,
        5,
        paper_training(),
        rates=RATES,
        wanted="what each mistake costs the paper's network once it is trained to the end",
    ),
}
EXPERIMENT = Experiment(
    name="mistakes",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
)
