"""The report of `routing-logits`: how each quantity falls from iteration to iteration."""

from typing import Any

import numpy as np
import numpy.typing as npt

from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import number, table
from reproduction.harness.verdict import LEAST_SEEDS, too_few
from reproduction.routing_logits.changes import IMAGES, ITERATIONS, QUANTITIES
from reproduction.routing_logits.figures import PUBLISHED, Kind, Means, draw_changes

__all__ = ["ADDED", "REPLACED", "finding", "log_linear", "report", "sentence"]

ADDED, REPLACED = "r3", "r3-replaced"
KINDS = {ADDED: "logits add up", REPLACED: "logits are replaced"}  # by the name of the cells


def report(results: Results) -> Report:
    """How each quantity falls, early and late, for logits that add up and for such that do not."""
    kinds, tables, figures, findings = [], [], [], []
    for cell, words in KINDS.items():
        kept = [results.arrays(row) for row in results.of(cell)]
        means = {
            name: np.array([arrays[name] for arrays in kept], np.float64).mean(0)
            for name in QUANTITIES
        }
        early, late = ({name: m[epoch] for name, m in means.items()} for epoch in (1, -1))
        epochs = len(means["logit"]) - 1
        kinds.append(Kind(words, early, late))
        figures += [f"{words}: {sentence(name, late[name])}" for name in QUANTITIES]
        findings.append(finding(late["logit"], words, len(kept)))
        tables += [f"{words[0].upper()}{words[1:]}:", change_table(early, late, epochs)]
    draw_changes(kinds, epochs, path=results.folder / "changes.png")
    published = ", ".join(f"{value:g} at iteration {t}" for t, value in PUBLISHED.items())
    said = (
        f"Trainings: {len(results.of(ADDED))} of each kind{apart(results)}; means over them, "
        f"{IMAGES} training images and all pairs (i, j). Published, for the change of b after 500 "
        f"epochs: about {published}."
    )
    linear = (
        "A fall is called linear on a logarithmic scale here where a straight line through the "
        "logarithms from iteration 2 on explains 95 % of their variance, and falls."
    )
    picture = (
        "![Mean change by each routing iteration, after the first and the last epoch](changes.png)"
    )
    return Report(figures, "\n\n".join([picture, said, *tables, linear]), findings)


def apart(results: Results) -> str:
    """Whether one kind is of another commit or machine than the other."""
    added, replaced = (
        {(row.get("commit"), row.get("cpu")) for row in results.of(cell)} for cell in KINDS
    )
    if added & replaced:
        return ""
    return ", one by another version of this code and on another processor than the other"


def change_table(early: Means, late: Means, epochs: int) -> str:
    """A line an iteration, each quantity after the first and the last epoch."""
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
    return table(header, lines)


def finding(values: npt.NDArray[np.floating[Any]], words: str, seeds: int) -> Finding:
    """The published figure is of the change of b."""
    as_published = "as published" if log_linear(values[1:]) else "it does not fall so"
    return Finding(
        f"The change of a routing logit falls about linearly on a logarithmic scale ({words})",
        ", ".join(f"{value:g} at iteration {t}" for t, value in PUBLISHED.items()),
        ", ".join(f"{number(values[t - 1])} at iteration {t}" for t in PUBLISHED),
        as_published if seeds >= LEAST_SEEDS else too_few(seeds),
    )


def sentence(name: str, values: npt.NDArray[np.floating[Any]]) -> str:
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


def log_linear(values: npt.NDArray[np.floating[Any]]) -> bool:
    """Whether the logarithms fall on a straight line, with R² of at least 0.95."""
    if not (values > 0).all():
        return False
    steps, logs = np.arange(len(values)), np.log10(values)
    slope, start = np.polyfit(steps, logs, 1)
    left = logs - (start + slope * steps)
    return bool(slope < 0 and left.var() <= 0.05 * logs.var())
