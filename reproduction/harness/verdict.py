"""What is said of a difference of two networks, by one rule for all experiments.

A difference is *lower* or *higher* where zero is excluded, at p < 0.05 after Holm's correction over
all comparisons of the report. Where it is not, but a difference as large as the published one or
larger is excluded (one-sided, by the same measure; what spread is published counts), the published
effect is *excluded*. All else is *not decided*, and so is everything that was trained with fewer
than five seeds. Whether a published difference lies in the interval is said beside the verdict: to
have its sign is not to have its size. A claim about several differences at once is *borne out* or
*contradicted* by a rule that its report prints.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import special

from reproduction.harness.crossed import Estimate

__all__ = [
    "LEAST_SEEDS",
    "RULES",
    "Difference",
    "Judgement",
    "holm",
    "judge",
    "judge_groups",
    "too_few",
    "verdict",
]

LEAST_SEEDS = 5
SIGNIFICANT = 0.05
RULES = " ".join((__doc__ or "").split("\n\n", 1)[1].split())


class Difference(NamedTuple):
    """A number of one network less that of another.

    Attributes:
        first, second: what the networks are called.
        estimate: of the difference.
        published: the same as published; None where it is not.
        published_error: the standard error of that, as far as it is published.
    """

    first: str
    second: str
    estimate: Estimate
    published: float | None = None
    published_error: float = 0.0


class Judgement(NamedTuple):
    """A difference, its p values corrected for all that stand beside it, and the verdict.

    Attributes:
        p: of zero; None where one seed gives none.
        p_published: of one as large as the published difference, where there is one.
    """

    difference: Difference
    p: float | None
    p_published: float | None
    verdict: str


def judge(differences: Sequence[Difference]) -> list[Judgement]:
    """The verdicts on all comparisons of a report, in their order.

    Zero and the published differences are two families: of each, in at most one report of twenty
    anything is said to be excluded that is true.
    """
    zero = holm([one.estimate.p() if known(one) else None for one in differences])
    published = holm([p_as_large(one) for one in differences])
    return [
        Judgement(one, p, p_published, verdict(one.estimate, p, p_published))
        for one, p, p_published in zip(differences, zero, published)
    ]


def judge_groups(groups: Sequence[Sequence[Difference]]) -> list[list[Judgement]]:
    """The verdicts on the comparisons of a report that stand in several tables.

    Example:
        >>> sure, likely = (Difference("a", "b", Estimate(0.1, e, 4, 5)) for e in (0.01, 0.03))
        >>> [one] = judge([likely])
        >>> [[_], [beside]] = judge_groups([[sure], [likely]])
        >>> one.verdict, round(beside.p / one.p, 6)
        ('higher', 1.0)
    """
    judged = iter(judge([one for group in groups for one in group]))
    return [[next(judged) for _ in group] for group in groups]


def p_as_large(one: Difference) -> float | None:
    """How likely a difference is that falls so far short, were the published one the truth.

    None where nothing is published, where one seed gives no error, and where the answers of two
    networks never differ: some images with none wrong do not exclude a rare one.

    Example:
        >>> short = Difference("a", "b", Estimate(0.001, 0.01, 4, 5), published=0.05)
        >>> beyond = Difference("a", "b", Estimate(0.30, 0.01, 4, 5), published=0.05)
        >>> round(p_as_large(short), 4), round(p_as_large(beyond), 4)
        (0.004, 1.0)
    """
    if not one.published or not known(one) or one.estimate.error == 0:
        return None
    error = math.hypot(one.estimate.error, one.published_error)
    further = math.copysign(1, one.published) * (one.estimate.mean - one.published)
    return float(special.stdtr(one.estimate.degrees, further / error))


def known(one: Difference) -> bool:
    """Whether there is an error to judge it by."""
    return one.estimate.seeds > 1


def verdict(estimate: Estimate, p: float | None, p_published: float | None) -> str:
    """ "lower", "higher", "excluded" or "not decided", with the number of seeds where it is that.

    Example:
        >>> verdict(Estimate(-0.02, 0.001, 4, 5), 0.001, None)
        'lower'
        >>> verdict(Estimate(-0.02, 0.001, 2, 3), 0.001, None)
        'not decided (3 seeds)'
    """
    if estimate.seeds < LEAST_SEEDS or p is None:
        return too_few(estimate.seeds)
    if p < SIGNIFICANT:
        return "lower" if estimate.mean < 0 else "higher"
    if p_published is not None and p_published < SIGNIFICANT:
        return "excluded"
    return "not decided"


def too_few(seeds: int) -> str:
    """The verdict on what was trained with so few seeds."""
    return f"not decided ({seeds} seed{'s' if seeds > 1 else ''})"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number, so that all of them hold together.

    The k-th smallest of n is multiplied by n − k + 1, and none is below a smaller one. statsmodels
    has it, but neither NumPy nor SciPy, and it is too little to depend on a package for.

    Args:
        p_values: None where there is none, which counts for nothing.

    Reference: Holm (1979).

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, k) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        corrected[k] = least
    return corrected
