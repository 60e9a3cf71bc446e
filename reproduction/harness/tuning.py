"""Learning rates tuned for each network: as many trials for each, on images kept aside.

At a scale with `rates`, a part of the training images is kept aside from every training of the
experiment. A trial trains a network at one rate and is judged on them, with the code that later
trains the network for the comparison; the held-out images are not within its reach.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.experiment import Experiment, Results
from reproduction.harness.markdown import percent, table
from reproduction.harness.scale import Scale
from reproduction.harness.workbench import Workbench
from torchcaps.errors import RunStopped

__all__ = [
    "DIVERGED",
    "TRIAL_SEED",
    "outcome_of",
    "trial_name",
    "trial_part",
    "tuned_cells",
    "tuning_differs",
]

TRIAL_SEED = 1000  # no training that is compared has it
DIVERGED = 1  # the exit code of a training whose loss is not finite


def trial_name(network: str, rate: float) -> str:
    """The name of the cell in which a learning rate is tried."""
    return f"{network}-rate{rate:g}"


def trials(network: str, options: Mapping[str, Any], scale: Scale) -> list[Cell]:
    """The trials of a network, one a learning rate; none where rates are not tuned."""
    if scale.trial_epochs is not None:
        options = {**options, "epochs": scale.trial_epochs}
    return [
        Cell(trial_name(network, rate), TRIAL_SEED, {**options, "learning_rate": rate}, network)
        for rate in scale.rates
    ]


def tuned_cells(networks: Mapping[str, Mapping[str, Any]], scale: Scale) -> list[Cell]:
    """A trial of every rate for every network, then every network for each seed.

    Args:
        networks: the options of their trainings, by the name of their cells.
        scale: where it has no rates, there are no trials, and options hold as they are.
    """
    return [
        *(one for name, options in networks.items() for one in trials(name, options, scale)),
        *(
            Cell(name, seed, options)
            for seed in range(scale.seeds)
            for name, options in networks.items()
        ),
    ]


def outcome_of(experiment: Experiment, cell: Cell, workbench: Workbench) -> Outcome:
    """Compute a cell: a trial on the images kept aside, or a training at the best rate."""
    if cell.trial_of is not None:
        return trial_outcome(experiment, cell, workbench)
    if not workbench.scale.rates:
        return experiment.compute(cell, workbench)
    rate = best_rate(experiment, cell, workbench)
    options = {**cell.options, "learning_rate": rate}
    outcome = experiment.compute(dataclasses.replace(cell, options=options), workbench)
    return dataclasses.replace(outcome, row={"learning_rate": rate, **outcome.row})


def trial_outcome(experiment: Experiment, cell: Cell, workbench: Workbench) -> Outcome:
    """One learning rate for one network; the error is 1 where its loss ceases to be finite."""
    row: Row = {"learning_rate": cell.options["learning_rate"], "aside_error": 1.0}
    try:
        found = experiment.compute(cell, workbench.for_trials).row
    except RunStopped as error:
        if error.exit_code != DIVERGED:
            raise
        return Outcome(row)
    kept = ("training_accuracy", "images", "images_seen")
    also = {name: found[name] for name in kept if name in found}
    return Outcome(row | {"aside_error": found[experiment.tuned_by]} | also)


def best_rate(experiment: Experiment, cell: Cell, workbench: Workbench) -> float:
    """The rate with the lowest error on the images kept aside; of equal ones the smallest.

    A trial that another process has in hand is waited for.
    """
    tried = trials(cell.name, cell.options, workbench.scale)
    rows = [finished(experiment, one, workbench) for one in tried]
    best = min(rows, key=lambda row: (row["aside_error"], row["learning_rate"]))
    return float(best["learning_rate"])


def finished(experiment: Experiment, cell: Cell, workbench: Workbench) -> Row:
    """The row of a trial, computed here where no other process does."""
    while (row := workbench.folder.row(cell)) is None:
        with workbench.folder.claimed(cell) as mine:
            if mine:
                workbench.folder.keep(cell, trial_outcome(experiment, cell, workbench))
            else:
                time.sleep(1)
    return row


def trial_part(results: Results, labels: Mapping[str, str]) -> list[str]:
    """The error of every trial as a part of a report; nothing where rates are not tuned.

    Args:
        results: of the experiment.
        labels: what each network is called, by the name of its cells.
    """
    rates = results.scale.rates
    if not rates:
        return []
    body, edges, close = [], [], []
    for name, label in labels.items():
        tried = [row for rate in rates for row in results.of(trial_name(name, rate))]
        chosen = results.of(name)[0]["learning_rate"]
        body.append([label, *(percent(row["aside_error"]) for row in tried), f"{chosen:g}"])
        if chosen in (min(rates), max(rates)):
            edges.append(label)
        if hangs_on_an_image(tried):
            close.append(label)
    return [
        "## The trials",
        table(["", *(f"{rate:g}" for rate in rates), "chosen"], body),
        "Errors on training images kept aside, %; the network is trained at the rate with the "
        "lowest.",
        *([at_an_edge(edges)] if edges else []),
        *([f"The two best differ by an image or none: {'; '.join(close)}."] if close else []),
    ]


def hangs_on_an_image(tried: Sequence[Row]) -> bool:
    """Whether one image more wrong, of those kept aside, could have made another rate the best."""
    wrong = sorted(row["aside_error"] * row["images"] for row in tried if row.get("images"))
    return len(wrong) > 1 and wrong[1] - wrong[0] < 1.5


def at_an_edge(labels: Sequence[str]) -> str:
    """What is said of networks whose best rate has no worse one on both sides."""
    return (
        "Best at the lowest or the highest of the rates tried, so that a better one may lie beyond "
        f"it: {'; '.join(labels)}."
    )


def tuning_differs(scale: Scale) -> str:
    """How learning rates were come by, as a line of what differs from an original."""
    if scale.rates:
        after = "then learnt from" if scale.learn_aside else "never trained on"
        length = "" if scale.trial_epochs is None else f"{scale.trial_epochs} epochs and "
        return (
            f"Up to {scale.aside:,} of the training images, at most a third, are kept aside for "
            f"the trials of learning rates and {after}. A trial has {length}one seed, which no "
            "compared training has."
        )
    return (
        "Learning rates were not tuned for each network: what one errs more than another may be "
        "that its rate fits it worse."
    )
