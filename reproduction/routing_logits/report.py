"""The report of `routing-logits`: how each quantity falls from iteration to iteration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reproduction.harness.cell import Row
from reproduction.harness.comparison import on_mnist, plain_table
from reproduction.harness.crossed import over_seeds
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import number, table
from reproduction.harness.verdict import RULES, Difference, Judgement, judge
from reproduction.routing_logits.changes import IMAGES, ITERATIONS, QUANTITIES
from reproduction.routing_logits.figures import PUBLISHED, Kind, Means, draw_changes

__all__ = ["ADDED", "REPLACED", "fall", "finding", "log_linear", "report", "sentence"]

LEAST = 1e-12  # a change of less is rounding
Published = Mapping[int, float]  # by iteration; empty where the images are not those of the paper

ADDED, REPLACED = "r3", "r3-replaced"
KINDS = {ADDED: "logits add up", REPLACED: "logits are replaced"}  # by the name of the cells


def report(results: Results) -> Report:
    """How each quantity falls, early and late, for logits that add up and for such that do not."""
    kinds, tables, figures, findings = [], [], [], []
    published = PUBLISHED if on_mnist(results) else {}
    judged = judge([fall(results.of(cell), words) for cell, words in KINDS.items()])
    for (cell, words), one in zip(KINDS.items(), judged):
        kept = [results.arrays(row) for row in results.of(cell)]
        means = {
            name: np.array([arrays[name] for arrays in kept], np.float64).mean(0)
            for name in QUANTITIES
        }
        early, late = ({name: m[epoch] for name, m in means.items()} for epoch in (1, -1))
        epochs = len(means["logit"]) - 1
        kinds.append(Kind(words, early, late))
        figures += [f"{words}: {sentence(name, late[name], published)}" for name in QUANTITIES]
        findings.append(finding(late["logit"], words, one, published))
        tables += [f"{words[0].upper()}{words[1:]}:", change_table(early, late, epochs)]
    draw_changes(kinds, epochs, published=published, path=results.folder / "changes.png")
    said = (
        f"Trainings: {len(results.of(ADDED))} of each kind{apart(results)}; means over them, "
        f"{IMAGES} training images and all pairs (i, j)."
    )
    if published:
        said += (
            " Published, for the change of b after 500 epochs: about "
            f"{', '.join(f'{value:g} at iteration {t}' for t, value in published.items())}."
        )
    linear = (
        "A fall is called linear on a logarithmic scale here where a straight line through the "
        "logarithms from iteration 2 on explains 95 % of their variance, and falls. It is said of "
        "the means over the seeds; the verdicts are on what follows."
    )
    picture = (
        "![Mean change by each routing iteration, after the first and the last epoch](changes.png)"
    )
    return Report(
        figures,
        "\n\n".join([picture, said, *tables, linear, *fall_part(judged, published)]),
        findings,
    )


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


def fall(rows: Sequence[Row], words: str) -> Difference:
    """By how many powers of ten the change of b differs at iteration 5 from that at iteration 2."""
    second, fifth = PUBLISHED
    powers = [[math.log10(max(row[f"logit_{t}"], LEAST)) for t in (second, fifth)] for row in rows]
    return Difference(
        f"change of b at iteration {fifth}, {words},",
        f"at iteration {second}",
        over_seeds([after - before for before, after in powers]),
    )


def fall_part(judged: Sequence[Judgement], published: Published) -> list[str]:
    """Whether the change of b falls, with the rule."""
    beside = ""
    if published:
        beside = f"Published: {math.log10(published[5] / published[2]):.2f} powers of ten. "
    return [
        plain_table(judged, "powers of ten"),
        f"{beside}Intervals are over the seeds alone; p is "
        f"corrected for both comparisons (Holm). {RULES}",
    ]


def finding(
    values: npt.NDArray[np.floating[Any]], words: str, judged: Judgement, published: Published
) -> Finding:
    """The published figure is of the change of b."""
    second, fifth = PUBLISHED
    return Finding(
        f"The change of a routing logit is lower at iteration {fifth} than at iteration {second} "
        f"({words})",
        ", ".join(f"{value:g} at iteration {t}" for t, value in published.items()) or "–",
        ", ".join(f"{number(values[t - 1])} at iteration {t}" for t in PUBLISHED),
        judged.verdict,
    )


def sentence(name: str, values: npt.NDArray[np.floating[Any]], published: Published) -> str:
    """How a quantity goes from iteration 2 to 5 after the last epoch."""
    quantity = QUANTITIES[name]
    second, fifth = values[2 - quantity.first], values[5 - quantity.first]
    fall = log_linear(values[2 - quantity.first :])
    shape = "linear on a logarithmic scale" if fall else "not a linear fall on a logarithmic scale"
    ratio = fifth / second
    beside = ""
    if name == "logit" and published:
        beside = f" (published: {published[5] / published[2]:.2g})"
    return (
        f"{quantity.label}: {number(second)} at iteration 2, {number(fifth)} at iteration 5, "
        f"{number(ratio)} times that{beside}; {shape}"
    )


def log_linear(values: npt.NDArray[np.floating[Any]]) -> bool:
    """Whether the logarithms fall on a straight line, with R² of at least 0.95."""
    if not (values > 0).all():
        return False
    steps, logs = np.arange(len(values)), np.log10(values)
    slope, start = np.polyfit(steps, logs, 1)
    left = logs - (start + slope * steps)
    return bool(slope < 0 and left.var() <= 0.05 * logs.var())
