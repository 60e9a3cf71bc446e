"""Mean, spread and Student's interval over a few seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reproduction.harness.crossed import over_seeds

__all__ = ["Summary", "summarise"]


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

    Of errors it leaves out the test images: `crossed_mean` is for them.

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
    low, high = over_seeds(values).interval(level)
    return Summary(mean, statistics.stdev(values), low, high, count)
