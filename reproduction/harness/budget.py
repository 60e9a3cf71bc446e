"""What a training was given: images, parameters, operations and time, for a fair comparison."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch.utils.flop_counter import FlopCounterMode

from reproduction.harness.cell import Row
from reproduction.harness.markdown import table
from reproduction.harness.scale import Scale
from torchcaps.models.summary import count_parameters
from torchcaps.routing.base import Routing
from torchcaps.training.run import Run

__all__ = ["budget_of", "budget_part"]

COUNTED = "reference"


def budget_of(run: Run) -> Row:
    """The budget of a finished training, as columns of its row.

    Returns:
        `images_seen`; `parameters`; `multiply_adds` of the loss and the gradients of one step, by
        torch's count of products of matrices and convolutions, and `counted_backend`, of which
        every routing is taken for it; `training_seconds` on the clock.
    """
    return {
        "images_seen": run.total_steps * run.config.batch_size,
        "parameters": count_parameters(run.model),
        "multiply_adds": multiply_adds(run),
        "counted_backend": COUNTED,
        "training_seconds": round(sum(row["seconds"] for row in run.history), 1),
    }


def multiply_adds(run: Run) -> int:
    """Of a step; neither the model nor any random generator is changed.

    All routings by their reference: fused kernels count what torch cannot see of other routings.
    """
    model = copy.deepcopy(run.model).train()
    for module in model.modules():
        if isinstance(module, Routing):
            module.backend = COUNTED
    batch = send_to_device(run.task.batch(0, run.sampler), run.device)
    with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
        run.task.losses(model, batch, run.precision).loss.backward()
    return int(counter.get_total_flops()) // 2


def budget_part(rows: Mapping[str, Sequence[Row]], scale: Scale) -> list[str]:
    """The budgets of some networks as a table, with what its columns mean.

    Args:
        rows: those of a network by what it is called; those of an older version lack columns.
        scale: that of the rows.
    """
    names = ("images_seen", "parameters", "multiply_adds")
    body = []
    for label, own in rows.items():
        counts = ["–" if (n := first(own, name)) is None else f"{n:,}" for name in names]
        times = [row["training_seconds"] for row in own if row.get("training_seconds") is not None]
        rate = first(own, "learning_rate")
        body.append(
            [
                label,
                "–" if rate is None else f"{rate:g}",
                *counts,
                f"{sum(times) / len(times):,.0f}" if times else "–",
            ]
        )
    header = [
        "", "learning rate", "images seen", "parameters", "multiply-adds a step",
        "seconds of training",
    ]  # fmt: skip
    return [
        "## Budgets",
        table(header, body),
        f"Of one training. A step is the loss and the gradients of {scale.config.batch_size} "
        "images; its multiply-adds are those of products of matrices and convolutions, by torch's "
        f"count{how_counted(rows)}. Seconds are on the clock, mean over the seeds: what else the "
        "machine does adds to them. A dash: not recorded.",
    ]


def how_counted(rows: Mapping[str, Sequence[Row]]) -> str:
    """Of which code the operations are; rows of an older version do not say it."""
    of_all = [row for own in rows.values() for row in own if row.get("multiply_adds") is not None]
    if not of_all:
        return ""
    if all(row.get("counted_backend") == COUNTED for row in of_all):
        return ", of routings as their reference computes them"
    return (
        ", but those of a fused kernel by its own formula, which has more in it: of networks that "
        "differ in the routing they cannot be compared"
    )


def first(rows: Sequence[Row], name: str) -> Any:
    """A column that is the same for every seed, from the first row that has it."""
    return next((row[name] for row in rows if row.get(name) is not None), None)
