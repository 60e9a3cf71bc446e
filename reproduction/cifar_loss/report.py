"""The report of `cifar-loss`: the last epoch, and which of the two ends lower."""

import numpy as np

from reproduction.cifar_loss.figures import Curves, draw_curves
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, plus_minus, table
from reproduction.harness.statistics import Summary, summarise

__all__ = ["lower_with_three", "report"]


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
