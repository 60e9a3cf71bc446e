"""Training loss on CIFAR-10 with one routing iteration and with three.

The paper (Sabour, Frosst, Hinton 2017, Fig A.2) shows training curves on CIFAR-10: with three
routing iterations the training loss falls lower than with one. It reads them as routing being able
to optimise the loss faster and to a lower value.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from reproduction.harness.cell import Cell, Outcome, Row
from reproduction.harness.charts import headline
from reproduction.harness.experiment import Experiment, Finding, Report, Results
from reproduction.harness.markdown import interval, plus_minus, table
from reproduction.harness.scale import Scale, ScaleName, paper_training
from reproduction.harness.statistics import Summary, summarise
from reproduction.harness.workbench import CIFAR10, Workbench
from torchcaps.training.config import TrainConfig
from torchcaps.training.pictures.style import BLUE, WIDTH, WRONG, Path, figure

__all__ = ["EXPERIMENT", "lower_with_three"]

STYLES = {1: (WRONG, "s"), 3: (BLUE, "o")}
Curves = Mapping[int, npt.NDArray[np.float64]]  # r → margin loss [seeds, epochs]


def cells(scale: Scale) -> Sequence[Cell]:
    """Both for each seed."""
    return [
        Cell(f"r{r}", seed, {"iterations": r})
        for seed in range(scale.seeds)
        for r in scale.iterations
    ]


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """Train, and keep the loss of every epoch."""
    trained = workbench.train(cell)
    losses = [row["classification_loss"] for row in trained.history]
    row: Row = {
        "iterations": cell.options["iterations"],
        "last_epoch_loss": losses[-1],
        "training_accuracy": trained.history[-1]["train_accuracy"],
        "test_error": 1 - trained.held_out.accuracy,
    }
    return Outcome(row, {"loss": np.array(losses)})


def report(results: Results) -> Report:
    """The curves, and the last epoch."""
    rows = {r: results.of(f"r{r}") for r in results.scale.iterations}
    curves = {r: np.array([results.arrays(row)["loss"] for row in own]) for r, own in rows.items()}
    draw_curves(curves, path=results.folder / "loss.png")
    lines = [
        [
            r,
            plus_minus(summarise([row["last_epoch_loss"] for row in own]), 4, 1),
            plus_minus(summarise([1 - row["training_accuracy"] for row in own])),
            plus_minus(summarise([row["test_error"] for row in own])),
        ]
        for r, own in rows.items()
    ]
    header = ["r", "margin loss, last epoch", "training error, %", "test error, %"]
    body = "\n\n".join(
        [
            "![Margin loss of every epoch, for one and for three iterations](loss.png)",
            "Means over an epoch, while it is trained, on shifted images; mean ± standard "
            "deviation over the seeds.",
            table(header, lines),
        ]
    )
    spread, answer = lower_with_three(curves)
    known = "" if spread.deviation is None else f" (95 % interval {interval(spread, 4, 1)})"
    said = f"training loss of r = 1 above that of r = 3 in the last epoch by {spread.mean:+.4f}"
    finding = Finding(
        "With r = 3 the training loss on CIFAR-10 falls lower than with r = 1",
        "shown in a figure",
        f"r = 1 above r = 3 by {spread.mean:+.4f}{known}",
        answer,
    )
    return Report([f"{said}{known}: {answer}"], body, [finding])


def lower_with_three(curves: Curves) -> tuple[Summary, str]:
    """Whether r = 3 ends lower than r = 1: the interval of the difference leaves out zero."""
    spread = summarise((curves[1][:, -1] - curves[3][:, -1]).tolist())
    if spread.deviation is None:
        return spread, "not decided, one seed has no spread"
    if spread.low > 0:
        return spread, "as published"
    return spread, "the reverse of what is published" if spread.high < 0 else "not decided"


def draw_curves(curves: Curves, *, path: Path) -> None:
    """Draw every training faintly and their mean.

    Args:
        curves: by r, [seeds, epochs].
        path: the PNG file to write.
    """
    with figure(0.75 * WIDTH, 3.4, path=path) as page:
        page.set_layout_engine("constrained")
        axes = page.subplots()
        for r, losses in curves.items():
            colour, marker = STYLES[r]
            epochs = np.arange(1, losses.shape[1] + 1)
            axes.plot(epochs, losses.T, color=colour, linewidth=0.7, alpha=0.5)
            look = marker if len(epochs) <= 40 else None
            label = f"r = {r}, mean of {len(losses)}"
            axes.plot(epochs, losses.mean(0), color=colour, marker=look, label=label)
        axes.set(xlabel="epoch", ylabel="margin loss while training")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True)
        axes.legend(loc="upper right")
        headline(page, "Training loss with one and with three routing iterations")


def differs(scale: Scale) -> Sequence[str]:
    """From the paper's training."""
    config = scale.config
    lines = [
        "The paper trains on 24×24 crops, with 64 types of primary capsules and a class for none "
        "of the above; here on whole images, without the two.",
        "No reconstruction, as in the authors' code.",
    ]
    if config.data != CIFAR10:
        lines.append(f"Trained on {config.data} in place of CIFAR-10.")
    if config.model == "capsnet_small":
        lines.append(
            "The network is smaller (64 convolution channels, 8 types of capsules), and is trained "
            "for few epochs on a part of the training images."
        )
    return lines


def training(**options: object) -> TrainConfig:
    """Without reconstruction, on all the images."""
    return TrainConfig(validation=0.0, reconstruct=False, **options)  # type: ignore[arg-type]


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        0.5, 2, training(data="mnist5k", epochs=4), images=1000, held_out=400, iterations=(1, 3)
    ),
    "cpu": Scale(25, 3, training(data=CIFAR10, epochs=8), images=12_000, iterations=(1, 3)),
    "paper": Scale(90, 3, paper_training(data=CIFAR10, reconstruct=False), iterations=(1, 3)),
}
EXPERIMENT = Experiment(
    name="cifar-loss",
    about=__doc__,
    scales=SCALES,
    cells=cells,
    compute=compute,
    report=report,
    differs=differs,
)
