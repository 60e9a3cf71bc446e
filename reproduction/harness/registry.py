"""Experiments by name."""

import difflib
from collections.abc import Sequence

from reproduction.affine import experiment as affine
from reproduction.agreement import experiment as agreement
from reproduction.cifar_loss import experiment as cifar_loss
from reproduction.dimensions import experiment as dimensions
from reproduction.efficiency import experiment as efficiency
from reproduction.harness.experiment import Experiment
from reproduction.harness.progress import duration
from reproduction.harness.report_file import epochs_of
from reproduction.harness.scale import Scale
from reproduction.iterations import experiment as iterations
from reproduction.league import experiment as league
from reproduction.mistakes import experiment as mistakes
from reproduction.multimnist import experiment as multimnist
from reproduction.reconstructions import experiment as reconstructions
from reproduction.routing_logits import experiment as routing_logits
from reproduction.table1 import experiment as table1
from torchcaps.errors import InputError

__all__ = ["EXPERIMENTS", "cost", "find_experiment", "listing"]

ALL: Sequence[Experiment] = [
    module.EXPERIMENT
    for module in (
        agreement, iterations, routing_logits, cifar_loss, table1, reconstructions, dimensions,
        mistakes, multimnist, affine, league, efficiency,
    )
]  # fmt: skip
EXPERIMENTS = {experiment.name: experiment for experiment in ALL}


def find_experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        InputError: there is none; answered with the nearest.
    """
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name.lower(), EXPERIMENTS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"no experiment is called {name!r}: {hint}known are {', '.join(EXPERIMENTS)}"
        )
    return EXPERIMENTS[name]


def listing() -> str:
    """All experiments with what they show and what they cost at each scale."""
    lines = []
    for experiment in EXPERIMENTS.values():
        lines.append(f"{experiment.name}: {experiment.shows}")
        lines += [
            f"  {name:<6} {cost(experiment, scale)}" for name, scale in experiment.scales.items()
        ]
    return "\n".join(lines)


def cost(experiment: Experiment, scale: Scale) -> str:
    """Trainings, images and time of a scale, in words."""
    time = f"about {duration(60 * scale.minutes)}"
    if scale.training is None:
        return f"nothing to train, {time}"
    config, cells = scale.training, experiment.cells(scale)
    trials = sum(cell.trial_of is not None for cell in cells)
    tried = f", {trials} of them trials of learning rates," if trials else ""
    images = "the training" if scale.images is None else f"{scale.images:,}"
    if trials and scale.images is not None:
        images = f"at most {images}"
    return (
        f"{len(cells)} training{'s' if len(cells) > 1 else ''}{tried} of "
        f"{epochs_of(cells, config)} epochs over {images} images of {config.data}, {time}"
    )
