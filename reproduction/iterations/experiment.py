"""Accuracy against the number of routing iterations, with error bars.

The paper (Sabour, Frosst, Hinton 2017) routes with r = 3 iterations. Its appendix A says that more
iterations increase the capacity of the network and tend to overfit to the training set, and shows
the training loss on CIFAR-10 for r = 1 and r = 3; articles repeat it as "more iterations tend to
overfit; use 3". No curve of the error against r with error bars comes with it. Table 1 has the
errors of r = 1 and r = 3 on MNIST: 0.29 ± 0.011 % and 0.25 ± 0.005 % with reconstruction, 0.34 ±
0.032 % and 0.35 ± 0.036 % without, three trainings each.

Here the same network is trained with each r, and once more with random coupling that is never
routed; uniform coupling is r = 1. For one seed, all of them begin with the same weights and see the
same images in the same order.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.experiment import Experiment
from reproduction.harness.fixed_coupling import with_fixed_coupling
from reproduction.harness.routing_facts import look_at_routing
from reproduction.harness.scale import RATES, Scale, ScaleName, paper_training, published_training
from reproduction.harness.tuning import tuned_cells, tuning_differs
from reproduction.harness.workbench import Workbench
from reproduction.iterations.report import RANDOM, report, slim
from torchcaps.models import CapsNet
from torchcaps.training.metrics import evaluate

__all__ = ["EXPERIMENT"]

ALL = (1, 2, 3, 4, 5, 7, 10)
SIX = (1, 2, 3, 5, 7, 10)


def cells(scale: Scale) -> Sequence[Cell]:
    """Seed by seed, so that an experiment that is stopped early can be compared as it stands."""
    kinds: dict[str, dict[str, object]] = {f"r{r}": {"iterations": r} for r in scale.iterations}
    return tuned_cells({**kinds, RANDOM: {}}, scale)


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train with one r, or with random coupling, and measure."""
    # The paper's network for CIFAR-10 has no decoder.
    grey = workbench.data.train.channels == 1
    cell = dataclasses.replace(cell, options={**cell.options, "reconstruct": grey})
    change = with_fixed_coupling(cell.seed) if cell.network == RANDOM else None
    trained = workbench.train(cell, change=change)
    model, held_out = trained.model, trained.held_out
    if cell.trial_of is not None:
        return Outcome({"test_error": 1 - held_out.accuracy, "images": len(held_out.labels)})
    assert isinstance(model, CapsNet)
    training = evaluate(model, workbench.data.train)
    unused = evaluate(model, workbench.unused) if workbench.scale.unused else None
    facts = look_at_routing(model, workbench.data.test, workbench.scale.iterations)
    errors = (facts.predictions != workbench.data.test.labels).double().mean(dim=1).tolist()
    row: Row = {
        "iterations": cell.options.get("iterations"),
        "test_error": 1 - held_out.accuracy,
        "test_loss": held_out.classification_loss,
        "training_error": 1 - training.accuracy,
        "training_loss": training.classification_loss,
        **({} if unused is None else {"unused_error": 1 - unused.accuracy}),
        "loss_gap": held_out.classification_loss - training.classification_loss,
        "last_epoch_loss": trained.history[-1]["classification_loss"],
        "entropy": facts.entropy,
        "to_prediction": facts.to_prediction,
        "to_prediction_by_length": facts.to_prediction_by_length,
        "seconds_per_step": trained.seconds_per_step,
        **trained.budget,
        "images": len(held_out.labels),
        "one_class_error": 1 - int(held_out.labels.bincount().max()) / len(held_out.labels),
        **{f"test_error_with_{r}": e for r, e in zip(workbench.scale.iterations, errors)},
    }
    arrays = {
        "labels": held_out.labels.numpy().astype(np.int16),
        "predictions": held_out.predictions.numpy().astype(np.int16),
        "predictions_with": facts.predictions.numpy().astype(np.int16),
    }
    if unused is not None:
        arrays["unused_wrong"] = (unused.predictions != unused.labels).numpy()
    return Outcome(row, arrays)


def differs(scale: Scale) -> Sequence[str]:
    """From the paper's training."""
    config = scale.config
    lines = [
        "The losses of the table are margin losses (Eq 4) of the last weights, on training images "
        "without shifts and on held-out images.",
        "The held-out images are looked at with other numbers of iterations too, after training; "
        "nothing was chosen by them.",
        "Images in colour are trained without reconstruction, as in the authors' code.",
        tuning_differs(scale),
    ]
    if config.model == "capsnet_small":
        lines.append(
            "`capsnet_small` has 64 convolution channels and 8 types of primary capsules, the "
            "paper's network 256 and 32."
        )
    if config.epochs is not None and config.epochs < 10:
        part = " on a part of the training images" if scale.images else ""
        lines.append(
            f"Few epochs{part}: what such a training shows of overfitting need not hold of a long "
            "one."
        )
    if scale.unused:
        lines.append(
            "Few images, seen often and without shifts, so that a network can overfit; it is "
            "judged on the training images that nobody used, too."
        )
    return lines


SMALL = published_training(data="mnist5k", epochs=2, batch_size=32, validation=0.0)
SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(1.2, 2, SMALL, images=800, held_out=400, iterations=(1, 3, 10), rates=RATES[:2]),
    "cpu": Scale(
        55,
        5,
        published_training(data="mnist", epochs=3, validation=0.0),
        images=12_000,
        iterations=ALL,
        rates=RATES,
    ),
    "few": Scale(
        250,
        10,
        published_training(data="mnist", epochs=100, max_shift=0, validation=0.0),
        images=3000,  # of which trials of learning rates take 1,000
        unused=True,
        iterations=SIX,
        rates=RATES,
    ),
    "full": Scale(
        105,
        5,
        published_training(data="mnist", epochs=6, validation=0.0),
        iterations=SIX,
        rates=RATES,
        trial_epochs=4,
        aside=5000,
        learn_aside=True,
    ),
    "paper": Scale(
        950,
        5,
        paper_training(),
        iterations=ALL,
        rates=RATES,
    ),
}
EXPERIMENT = Experiment(
    name="iterations",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
    slim=slim,
)
