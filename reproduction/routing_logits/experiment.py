"""How much the routing logits still change, iteration by iteration, early and late in training.

The paper (Sabour, Frosst, Hinton 2017, Fig A.1) shows the average change of a routing logit b_ij by
each routing iteration, on MNIST: after 500 epochs about 0.007 at the second iteration and 1e-5 at
the fifth, falling almost linearly on a logarithmic scale.

By Procedure 1 an iteration changes b_ij by the agreement û_ij · v_j. As v_j settles, that tends to
a constant, not to zero; what tends to zero is the change of v_j, and with it the difference between
two successive changes of b_ij. So three quantities are measured here, over all pairs (i, j): the
change of b_ij, the change of that change, and the change of c_ij. The network is trained with r = 3
and traced for ten iterations.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.ticker import MaxNLocator

from reproduction.harness.cell import Cell, Outcome
from reproduction.harness.charts import headline, legend_above, log_scale
from reproduction.harness.experiment import Experiment, Finding, Report, Results
from reproduction.harness.markdown import number, table
from reproduction.harness.scale import Scale, ScaleName, paper_training
from reproduction.harness.workbench import Workbench
from torchcaps.data import ImageData
from torchcaps.models import CapsNet, Classifier
from torchcaps.routing import dynamic_routing_trace
from torchcaps.storage import write_json
from torchcaps.training.config import TrainConfig
from torchcaps.training.pictures.style import BLUE, INK, WIDTH, WRONG, Path, figure

__all__ = ["EXPERIMENT", "log_linear", "logit_changes"]

ITERATIONS = 10
IMAGES = 200  # of the training part, on which routing is traced
PUBLISHED = {2: 0.007, 5: 1e-5}  # of the change of b
Means = Mapping[str, npt.NDArray[np.float64]]


class Quantity(NamedTuple):
    """What is averaged, and the first iteration that has it."""

    label: str
    first: int


QUANTITIES = {
    "logit": Quantity("change of b", 1),
    "second": Quantity("change of that change", 2),
    "coupling": Quantity("change of c", 1),
}


@torch.no_grad()
def logit_changes(model: CapsNet, data: ImageData) -> dict[str, list[float]]:
    """Mean |change| by each iteration but the last, for every one of `QUANTITIES`.

    Iteration 1 changes b from 0 to û · v^1, and c from 1/J.
    """
    images, _ = data.batch(torch.arange(min(len(data), IMAGES)))
    capsules = model.primary_capsules(images.to(model.classes.weight.device))
    trace = dynamic_routing_trace(model.classes.votes(capsules), ITERATIONS)
    change = trace.logits.diff(dim=0)
    parts = {"logit": change, "second": change.diff(dim=0), "coupling": trace.coupling.diff(dim=0)}
    return {name: part.abs().mean(dim=(1, 2, 3)).tolist() for name, part in parts.items()}


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


def report(results: Results) -> Report:
    """How each quantity falls, early and late."""
    kept = [results.arrays(row) for row in results.rows]
    means = {
        name: np.array([arrays[name] for arrays in kept], np.float64).mean(0) for name in QUANTITIES
    }
    early, late = ({name: m[epoch] for name, m in means.items()} for epoch in (1, -1))
    epochs = len(means["logit"]) - 1
    draw_changes(early, late, epochs, path=results.folder / "changes.png")
    figures = [sentence(name, late[name]) for name in QUANTITIES]
    header = ["iteration"]
    for quantity in QUANTITIES.values():
        header += [f"{quantity.label}, epoch 1", f"epoch {epochs}"]
    lines = [
        [t]
        + [
            number(at[name][t - quantity.first]) if t >= quantity.first else ""
            for name, quantity in QUANTITIES.items()
            for at in (early, late)
        ]
        for t in range(1, ITERATIONS)
    ]
    published = ", ".join(f"{value:g} at iteration {t}" for t, value in PUBLISHED.items())
    parts = [
        "![Mean change by each routing iteration, after the first and the last epoch](changes.png)",
        f"Trainings: {len(kept)}; means over them, {IMAGES} training images and all pairs (i, j). "
        f"Published, for the change of b after 500 epochs: about {published}.",
        table(header, lines),
        "A fall is called linear on a logarithmic scale here where a straight line through the "
        "logarithms from iteration 2 on explains 95 % of their variance, and falls.",
    ]
    return Report(figures, "\n\n".join(parts), [finding(late["logit"])])


def finding(values: npt.NDArray[np.float64]) -> Finding:
    """The published figure is of the change of b."""
    return Finding(
        "The change of a routing logit falls about linearly on a logarithmic scale",
        ", ".join(f"{value:g} at iteration {t}" for t, value in PUBLISHED.items()),
        ", ".join(f"{number(values[t - 1])} at iteration {t}" for t in PUBLISHED),
        "as published" if log_linear(values[1:]) else "it does not fall so",
    )


def sentence(name: str, values: npt.NDArray[np.float64]) -> str:
    """How a quantity goes from iteration 2 to 5 after the last epoch."""
    quantity = QUANTITIES[name]
    second, fifth = values[2 - quantity.first], values[5 - quantity.first]
    fall = log_linear(values[2 - quantity.first :])
    shape = "linear on a logarithmic scale" if fall else "not a linear fall on a logarithmic scale"
    ratio = fifth / second
    published = f" (published: {PUBLISHED[5] / PUBLISHED[2]:.2g})" if name == "logit" else ""
    return (
        f"{quantity.label}: {number(second)} at iteration 2, {number(fifth)} at iteration 5, "
        f"{number(ratio)} times that{published}; {shape}"
    )


def log_linear(values: npt.NDArray[np.float64]) -> bool:
    """Whether the logarithms fall on a straight line, with R² of at least 0.95."""
    if not (values > 0).all():
        return False
    steps, logs = np.arange(len(values)), np.log10(values)
    slope, start = np.polyfit(steps, logs, 1)
    left = logs - (start + slope * steps)
    return bool(slope < 0 and left.var() <= 0.05 * logs.var())


def draw_changes(early: Means, late: Means, epochs: int, *, path: Path) -> None:
    """Draw each quantity by iteration, after the first epoch and after the last.

    Args:
        early, late: by quantity, one value an iteration.
        epochs: which is the last.
        path: the PNG file to write.
    """
    with figure(WIDTH, 3.4, path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(1, len(QUANTITIES), sharey=True, squeeze=False)[0]
        for axes, (name, quantity) in zip(panels, QUANTITIES.items()):
            for values, label, colour, marker in (
                (early[name], "epoch 1", WRONG, "s"),
                (late[name], f"epoch {epochs}", BLUE, "o"),
            ):
                steps = np.arange(quantity.first, quantity.first + len(values))
                axes.plot(steps, values, marker=marker, color=colour, label=label)
            if name == "logit":
                points = list(PUBLISHED), list(PUBLISHED.values())
                axes.plot(*points, "D", color=INK, fillstyle="none", label="published")
            log_scale(axes)
            axes.set(xlabel="iteration", xlim=(0.5, ITERATIONS - 0.5))
            axes.set_title(quantity.label, fontsize=10, pad=34)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(visible=True)
            legend_above(axes)
        headline(page, "Mean change by each routing iteration")


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


def training(**options: object) -> TrainConfig:
    """With three iterations, on all the images."""
    return TrainConfig(validation=0.0, iterations=3, **options)  # type: ignore[arg-type]


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(0.4, 1, training(data="mnist5k", epochs=6), images=2000, held_out=500),
    "cpu": Scale(12, 3, training(data="mnist", epochs=20), images=12_000),
    "paper": Scale(60, 1, paper_training(epochs=500, iterations=3)),
}
EXPERIMENT = Experiment(
    name="routing-logits",
    about=__doc__,
    scales=SCALES,
    cells=lambda scale: [Cell("r3", seed) for seed in range(scale.seeds)],
    compute=compute,
    report=report,
    differs=differs,
)
