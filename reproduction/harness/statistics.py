"""Spread over seeds, intervals, and the paired test of two classifiers."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reproduction.harness.cell import Row

__all__ = ["Summary", "difference", "discordant", "mcnemar", "summarise", "t_quantile"]


@dataclass(frozen=True)
class Summary:
    """Mean and spread of a few values.

    Attributes:
        deviation: standard deviation (n − 1); None of a single value.
        low, high: Student's t-interval of the mean; infinite of a single value.
    """

    mean: float
    deviation: float | None
    low: float
    high: float
    count: int


def summarise(values: Sequence[float], level: float = 0.95) -> Summary:
    """Mean, standard deviation and t-interval: mean ± t · s / √n.

    Args:
        values: one a seed, at least one.
        level: of the interval.

    Example:
        >>> spread = summarise([1.0, 2.0, 3.0])
        >>> spread.mean, spread.deviation, round(spread.low, 3), round(spread.high, 3)
        (2.0, 1.0, -0.484, 4.484)
    """
    mean, count = statistics.fmean(values), len(values)
    if count == 1:
        return Summary(mean, None, -math.inf, math.inf, 1)
    deviation = statistics.stdev(values)
    reach = t_quantile(0.5 + level / 2, count - 1) * deviation / math.sqrt(count)
    return Summary(mean, deviation, mean - reach, mean + reach, count)


def difference(
    rows: Sequence[Row], others: Sequence[Row], name: str, level: float = 0.95
) -> Summary:
    """A column of `rows` less the same of `others`, over the seeds that both have."""
    there = {row["seed"]: row[name] for row in others}
    pairs = [row[name] - there[row["seed"]] for row in rows if row["seed"] in there]
    return summarise(pairs, level)


def t_quantile(probability: float, degrees: int) -> float:
    """Student's t: the value that is exceeded with 1 − probability.

    Args:
        probability: in (0.5, 1).
        degrees: of freedom, at least 1.

    Example:
        >>> round(t_quantile(0.975, 4), 3)
        2.776
    """
    low, high = 0.0, 1.0
    while _t_within(high, degrees) < 2 * probability - 1:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if _t_within(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return high


def _t_within(t: float, degrees: int) -> float:
    """The probability of [−t, t]: a finite sum for a whole number of degrees.

    Reference: Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(2 + odd, degrees + 1, 2):  # nothing for one degree
        total += term
        term *= math.cos(angle) ** 2 * (k - 1) / k
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def discordant(
    first_wrong: npt.NDArray[np.bool_], second_wrong: npt.NDArray[np.bool_]
) -> tuple[int, int]:
    """(images that only the first got wrong, images that only the second did)."""
    if first_wrong.shape != second_wrong.shape:
        raise ValueError("paired predictions must be of the same images")
    return int((first_wrong & ~second_wrong).sum()), int((second_wrong & ~first_wrong).sum())


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact McNemar test: how likely so unequal a split is if both err equally often.

    p = 2 · P(X ≤ min(b, c)), X binomial of b + c tosses, at most 1.

    Reference: McNemar (1947); the exact form is the sign test.

    Example:
        >>> mcnemar(1, 5)  # 2 · (1 + 6) / 64
        0.21875
    """
    tosses = only_first + only_second
    tail, ways = 0, 1
    for k in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (tosses - k) // (k + 1)
    return min(1.0, float(2 * tail / 2**tosses))
