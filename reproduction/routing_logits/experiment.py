"""How much the routing logits still change, iteration by iteration, early and late in training.

The paper (Sabour, Frosst, Hinton 2017, Fig A.1) shows the average change of a routing logit b_ij by
each routing iteration, on MNIST: after 500 epochs about 0.007 at the second iteration and 1e-5 at
the fifth, falling almost linearly on a logarithmic scale.

By Procedure 1 an iteration changes b_ij by the agreement û_ij · v_j. As v_j settles, that tends to
a constant, not to zero; what tends to zero is the change of v_j, and with it the difference between
two successive changes of b_ij. So three quantities are measured here, over all pairs (i, j): the
change of b_ij, the change of that change, and the change of c_ij. The network is trained with r = 3
and traced for ten iterations. Beside it stands one whose logits are replaced in every iteration,
b_ij = û_ij · v_j, as some read the procedure: there the change of b_ij does tend to zero.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from reproduction.harness.cell import Cell, Outcome
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import Scale, ScaleName, paper_training, published_training
from reproduction.harness.workbench import Workbench
from reproduction.routing_logits.changes import QUANTITIES, logit_changes
from reproduction.routing_logits.report import ADDED, REPLACED, report
from torchcaps.models import CapsNet, Classifier
from torchcaps.storage import write_json
from torchcaps.training.config import TrainConfig

__all__ = ["EXPERIMENT"]


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train, and trace routing before the first epoch and after each."""
    folder = workbench.folder.run_of(cell) / "changes"

    def after_epoch(model: Classifier, epoch: int) -> None:
        assert isinstance(model, CapsNet)
        folder.mkdir(exist_ok=True)
        write_json(folder / f"{epoch:04d}.json", logit_changes(model, workbench.data.train))

    trained = workbench.train(cell, after_epoch=after_epoch)
    epochs = [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))]
    arrays = {name: np.array([epoch[name] for epoch in epochs]) for name in QUANTITIES}
    last = {
        f"{name}_{t}": value
        for name, quantity in QUANTITIES.items()
        for t, value in enumerate(epochs[-1][name], start=quantity.first)
    }
    return Outcome({"test_error": 1 - trained.held_out.accuracy, **last}, arrays)


def differs(scale: Scale) -> Sequence[str]:
    """From the paper's figure."""
    config = scale.config
    lines = [
        "The paper does not say how its change is computed; with Procedure 1 as printed it is the "
        "first of the three quantities here.",
        f"{config.epochs} epochs, the paper's figure 500; batches of {config.batch_size}.",
    ]
    if config.model == "capsnet_small":
        lines.append("The network is smaller: 64 convolution channels, 8 types of capsules.")
    return lines


def cells(scale: Scale) -> Sequence[Cell]:
    """Both kinds of logits for each seed."""
    replaced: dict[str, Any] = {"routing": {"name": "dynamic", "accumulate": False}}
    kinds: dict[str, dict[str, Any]] = {ADDED: {}, REPLACED: replaced}
    return [
        Cell(name, seed, options) for seed in range(scale.seeds) for name, options in kinds.items()
    ]


def training(**options: object) -> TrainConfig:
    """With three iterations, on all the images."""
    return published_training(validation=0.0, iterations=3, **options)


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(0.8, 1, training(data="mnist5k", epochs=6), images=2000, held_out=500),
    "cpu": Scale(24, 3, training(data="mnist", epochs=20), images=12_000),
    "paper": Scale(120, 1, paper_training(epochs=500, iterations=3)),
}
EXPERIMENT = Experiment(
    name="routing-logits",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
)
