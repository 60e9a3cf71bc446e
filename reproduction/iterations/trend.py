"""What each doubling of r does to error and losses: the slope of one line through all r.

A comparison with r = 3 uses two numbers of iterations; a line uses all of them, and is one question
where these are many. It is the straight line in log2 r, by least squares, of each seed and image.
The slopes of errors count seeds and images, those of losses the seeds alone. A line says in which
direction all goes, not that it goes straight there. A training at chance has learned nothing, and
bends a line alone: where there is one, the line is drawn without it, too, through what is left of
its seed.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reproduction.harness.cell import Row
from reproduction.harness.crossed import Estimate, crossed_mean, over_seeds
from reproduction.harness.experiment import Results
from reproduction.harness.markdown import interval, p_value, table
from reproduction.harness.verdict import Difference, Judgement
from reproduction.iterations.verdicts import having_learned

__all__ = ["slope", "trend_part", "trend_sentence", "trends"]

WORDS = {"lower": "falls", "higher": "rises"}
SAMPLES = {"wrong": "test error", "unused_wrong": "error on unused images"}
LOSSES = {"test_loss": "test loss", "loss_gap": "test loss less training loss"}
LEARNED = ", without trainings at chance"  # ends what a line is called
Values = npt.NDArray[np.float64]


def slope(values: Mapping[int, Values]) -> Values:
    """How much the values rise with log2 r, by least squares.

    Args:
        values: by r, at least two of them; arrays of one shape.

    Example:
        >>> slope({1: np.array([5.0]), 2: np.array([4.0]), 8: np.array([2.0])})
        array([-1.])
    """
    x = np.log2(np.array(list(values), dtype=float))
    weights = (x - x.mean()) / np.square(x - x.mean()).sum()
    y = np.stack(list(values.values()))
    return np.tensordot(weights, y - y[0], axes=1)  # exactly 0 where all are alike


def trends(
    results: Results, rows: Mapping[int, Sequence[Row]], samples: Sequence[str]
) -> dict[str, Difference]:
    """The slopes of errors on samples of images, and of losses; by what they are of."""
    by_seed: dict[int, dict[int, Row]] = {}
    for r, of_r in rows.items():
        for row in of_r:
            by_seed.setdefault(row["seed"], {})[r] = row
    whole = [of_seed for of_seed in by_seed.values() if len(of_seed) == len(rows)]
    learned = [{r: row for r, row in of_seed.items() if having_learned([row])} for of_seed in whole]
    found = lines(results, whole, samples)
    if learned != whole:
        of_learned = lines(results, learned, samples)
        found |= {f"{label}{LEARNED}": estimate for label, estimate in of_learned.items()}
    return {label: Difference(label, "", estimate) for label, estimate in found.items()}


def lines(
    results: Results, seeds: Sequence[Mapping[int, Row]], samples: Sequence[str]
) -> dict[str, Estimate]:
    """The slopes through the trainings of some seeds, by r; of seeds with two of them or more."""
    seeds = [by_r for by_r in seeds if len(by_r) > 1]
    if not seeds:
        return {}

    def slopes(values: Callable[[Row], Values]) -> Values:
        return np.stack([slope({r: values(row) for r, row in by_r.items()}) for by_r in seeds])

    found = {}
    for name in samples:
        of_images = slopes(lambda row, name=name: results.arrays(row)[name].astype(float))  # type: ignore[misc]
        found[SAMPLES[name]] = crossed_mean(of_images)
    for column, label in LOSSES.items():
        found[label] = over_seeds(list(slopes(lambda row, column=column: np.array(row[column]))))  # type: ignore[misc]
    return found


def trend_sentence(judged: Mapping[str, Judgement], at_chance: str = "") -> list[str]:
    """What a doubling of r does to the test error, a line each; none where no line was drawn.

    Args:
        judged: the trends.
        at_chance: what is to be said of trainings that have learned nothing.
    """
    label = SAMPLES["wrong"]
    said_of = {label: (label, at_chance), label + LEARNED: (f"{label}{LEARNED},", "")}
    return [
        f"with each doubling of r the {called} changes by {change(judged[name])}{more}"
        for name, (called, more) in said_of.items()
        if name in judged
    ]


def change(judgement: Judgement) -> str:
    """By how many points, how sure that is, and what is said of it."""
    estimate = judgement.difference.estimate
    known = ""
    if estimate.seeds > 1:
        known = f" (95 % interval {interval(estimate)}; p {p_value(judgement.p)})"
    return f"{100 * estimate.mean:+.2f} points{known}: {said(judgement)}"


def trend_part(judged: Mapping[str, Judgement]) -> str:
    """The table of slopes."""
    if not judged:
        return ""
    body = []
    for label, one in judged.items():
        estimate = one.difference.estimate
        is_loss = label.removesuffix(LEARNED) in LOSSES.values()
        scale, digits = (1.0, 4) if is_loss else (100.0, 2)
        rise = f"{scale * estimate.mean:+.{digits}f}"
        reach = interval(estimate, digits, scale)
        body.append([label, rise, reach, p_value(one.p), said(one)])
    header = ["", "change with each doubling of r", "95 % interval", "p", "verdict"]
    about = (__doc__ or "").split("\n\n", 1)[1].strip()
    return f"## All r at once\n\n{table(header, body)}\n\nErrors in percentage points. {about}"


def said(judgement: Judgement) -> str:
    """The verdict in the words of a slope."""
    return WORDS.get(judgement.verdict, judgement.verdict)
