"""The report of `cifar-loss`: the last epoch, and which of the two ends lower."""

import numpy as np

from reproduction.cifar_loss.figures import Curves, draw_curves
from reproduction.harness.budget import budget_part
from reproduction.harness.crossed import over_seeds
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, plus_minus, table
from reproduction.harness.statistics import summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import RULES, Difference, Judgement, judge

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
    labels = {f"r{r}": f"r = {r}" for r in rows}
    header = ["r", "margin loss, last epoch", "training error, %", "test error, %"]
    body = "\n\n".join(
        [
            "![Margin loss of every epoch, for one and for three iterations](loss.png)",
            "Means over an epoch, while it is trained, on shifted images; mean ± standard "
            "deviation over the seeds.",
            table(header, lines),
            RULES,
            *budget_part({labels[f"r{r}"]: own for r, own in rows.items()}, results.scale),
            *trial_part(results, labels),
        ]
    )
    judged = lower_with_three(curves)
    spread = judged.difference.estimate
    known = "" if spread.seeds == 1 else f" (95 % interval {interval(spread, 4, 1)})"
    said = f"training loss of r = 1 less that of r = 3 in the last epoch: {spread.mean:+.4f}"
    finding = Finding(
        "Training loss on CIFAR-10 of r = 1 less that of r = 3",
        "above zero, in a figure",
        f"{spread.mean:+.4f}{known}",
        judged.verdict,
    )
    return Report([f"{said}{known}: {judged.verdict}"], body, [finding])


def lower_with_three(curves: Curves) -> Judgement:
    """Whether r = 3 ends lower than r = 1.

    The loss is on the training images, which are those that the claim is about: other seeds are all
    that could have been drawn in their place.
    """
    last = (curves[1][:, -1] - curves[3][:, -1]).tolist()
    (judged,) = judge([Difference("r = 1", "r = 3", over_seeds(last))])
    return judged
