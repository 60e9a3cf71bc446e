"""What each doubling of r does to error and losses: the slope of one line through all r.

A comparison with r = 3 uses two numbers of iterations; a line uses all of them, and is one question
where these are many. It is the straight line in log2 r, by least squares, of each seed and image.
The slopes of errors count seeds and images, those of losses the seeds alone; p is corrected for
their number (Holm), and fewer than five seeds decide nothing. A line says in which direction all
goes, not that it goes straight there.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reproduction.harness.cell import Row
from reproduction.harness.comparison import wrong_by_seed
from reproduction.harness.crossed import crossed_mean, over_seeds
from reproduction.harness.experiment import Results
from reproduction.harness.markdown import interval, p_value, table
from reproduction.harness.verdict import Difference, Judgement, judge

__all__ = ["slope", "trend_part", "trend_sentence", "trends"]

WORDS = {"lower": "falls", "higher": "rises"}
SAMPLES = {"wrong": "test error", "unused_wrong": "error on unused images"}
LOSSES = {"test_loss": "test loss", "loss_gap": "test loss less training loss"}
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
) -> dict[str, Judgement]:
    """The slopes of errors on samples of images, and of losses, judged; by what they are of."""
    if len(rows) < 2:
        return {}
    seeds = set.intersection(*({row["seed"] for row in of_r} for of_r in rows.values()))
    if not seeds:
        return {}
    common = {r: [row for row in of_r if row["seed"] in seeds] for r, of_r in rows.items()}
    found = {
        SAMPLES[name]: crossed_mean(
            slope({r: wrong_by_seed(results, of_r, name) for r, of_r in common.items()})
        )
        for name in samples
    }
    for column, label in LOSSES.items():
        by_r = {r: np.array([row[column] for row in of_r]) for r, of_r in common.items()}
        found[label] = over_seeds(list(slope(by_r)))
    judged = judge([Difference(label, "", estimate) for label, estimate in found.items()])
    return dict(zip(found, judged))


def trend_sentence(judged: Mapping[str, Judgement], at_chance: str = "") -> list[str]:
    """What a doubling of r does to the test error, in a line; nothing where no line was drawn.

    Args:
        judged: the trends.
        at_chance: what is to be said of trainings that have learned nothing.
    """
    label = SAMPLES["wrong"]
    if label not in judged:
        return []
    of_error = judged[label]
    estimate = of_error.difference.estimate
    known = ""
    if estimate.seeds > 1:
        known = f" (95 % interval {interval(estimate)}; p {p_value(of_error.p)})"
    return [
        f"with each doubling of r the test error changes by {100 * estimate.mean:+.2f} points"
        f"{known}: {said(of_error)}{at_chance}"
    ]


def trend_part(judged: Mapping[str, Judgement]) -> str:
    """The table of slopes."""
    if not judged:
        return ""
    lines = []
    for label, one in judged.items():
        estimate = one.difference.estimate
        scale, digits = (1.0, 4) if label in LOSSES.values() else (100.0, 2)
        change = f"{scale * estimate.mean:+.{digits}f}"
        reach = interval(estimate, digits, scale)
        lines.append([label, change, reach, p_value(one.p), said(one)])
    header = ["", "change with each doubling of r", "95 % interval", "p", "verdict"]
    about = (__doc__ or "").split("\n\n", 1)[1].strip()
    return f"## All r at once\n\n{table(header, lines)}\n\nErrors in percentage points. {about}"


def said(judgement: Judgement) -> str:
    """The verdict in the words of a slope."""
    return WORDS.get(judgement.verdict, judgement.verdict)
