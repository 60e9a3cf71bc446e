"""Intervals over seeds and images: formulas against other ways to them, coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from reproduction.harness.crossed import (
    Estimate,
    crossed_difference,
    crossed_mean,
    over_seeds,
    squares,
)

SEEDS, IMAGES, TIMES = 5, 300, 1500


def share_covered(estimates, truth=0.0):
    """How many of the 95 % intervals hold it."""
    return np.mean([one.low <= truth <= one.high for one in estimates])


def over_images(values):
    """The interval that knows no seeds: of the images' means."""
    own = values.mean(axis=0)
    return Estimate(own.mean(), own.std(ddof=1) / math.sqrt(len(own)), len(own) - 1, len(values))


def drawn(of_seed, of_image, left):
    """Values about zero with random effects of these sizes in the mean, and what is left."""
    draw = np.random.default_rng(20)
    for _ in range(TIMES):
        a, b, e = (draw.normal(size=n) for n in ((SEEDS, 1), (1, IMAGES), (SEEDS, IMAGES)))
        yield of_seed * math.sqrt(SEEDS) * a + math.sqrt(IMAGES) * of_image * b + left * e


def test_it_covers_where_both_seeds_and_images_vary():
    """And intervals over seeds alone, or over images alone, do not."""
    made = list(drawn(1.0, 1.0, 10.0))
    assert share_covered(map(crossed_mean, made)) == pytest.approx(0.95, abs=0.015)
    assert share_covered(over_seeds(own.mean(axis=1)) for own in made) < 0.91
    assert share_covered(map(over_images, made)) < 0.88


@pytest.mark.parametrize(
    ("effects", "least", "most"),
    [
        ((1.0, 0.0, 1.0), 0.935, 0.97),
        ((0.0, 1.0, 1.0), 0.935, 0.97),
        ((0.3, 1.0, 3.0), 0.935, 0.97),
        ((0.0, 0.0, 1.0), 0.98, 1.0),  # known to be too wide
    ],
)
def test_it_covers_where_one_of_them_varies(effects, least, most):
    assert least < share_covered(map(crossed_mean, drawn(*effects))) <= most


def test_images_that_happen_to_be_answered_alike_by_all_seeds_promise_nothing():
    """Of seeds that agree better than by chance, the degrees of freedom are those of chance."""
    y = np.array([[1.0, 0.0, 3.0, 0.0], [0.0, 1.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    assert y.mean(axis=1).std() == 0
    left = y - y.mean(axis=0)
    e = np.square(left).sum() / 6
    b = 3 * np.square(y.mean(axis=0) - 1).sum() / 3
    found = crossed_mean(y)
    assert found.error**2 == pytest.approx((max(b - e, 0) + e) / 12)
    expected = (max(b - e, 0) + e) ** 2 / (e**2 / 2 + b**2 / 3)
    assert found.degrees == pytest.approx(max(expected, 2))


def test_it_covers_differences_of_errors():
    """Two classifiers, images of which some are hard for both, trainings that are better or worse.

    Both have the same law, so that the truth is zero; about 3 % are wrong, as few as in a report.
    """
    draw = np.random.default_rng(21)
    found, images_alone = [], []
    for _ in range(400):
        hard = 2.5 * draw.normal(size=(1, 1000)) - 6
        wrong = []
        for _network in range(2):
            skill, taste = draw.normal(size=(SEEDS, 1)), draw.normal(size=(1, 1000))
            odds = hard + 0.3 * skill + 0.5 * taste + 0.5 * draw.normal(size=(SEEDS, 1000))
            wrong.append(draw.random((SEEDS, 1000)) < 1 / (1 + np.exp(-odds)))
        found.append(crossed_difference(*wrong))
        images_alone.append(over_images(wrong[0].astype(float) - wrong[1]))
    assert 0.92 < share_covered(found) < 0.985
    assert share_covered(images_alone) < 0.85


def test_the_error_is_that_of_the_analysis_of_variance():
    """By loops, for values whose components of variance are all positive."""
    y = np.array([[1.0, 4.0, 2.0, 9.0], [3.0, 5.0, 6.0, 10.0], [0.0, 1.0, 2.0, 5.0]])
    seeds, images, mean = 3, 4, y.mean()
    rows = [sum(own) / images for own in y.tolist()]
    columns = [sum(own) / seeds for own in y.T.tolist()]
    a = images * sum((row - mean) ** 2 for row in rows) / 2
    b = seeds * sum((column - mean) ** 2 for column in columns) / 3
    left = sum((y[s, i] - rows[s] - columns[i] + mean) ** 2 for s in range(3) for i in range(4))
    e = left / 6
    assert a > e
    assert b > e
    found = crossed_mean(y)
    of_seed, of_image = (a - e) / images, (b - e) / seeds
    assert found.mean == pytest.approx(mean)
    assert found.error**2 == pytest.approx(of_seed / 3 + of_image / 4 + e / 12)
    assert found.degrees == pytest.approx((a + b - e) ** 2 / (a**2 / 2 + b**2 / 3))
    low, high = stats.t.interval(0.95, found.degrees, loc=mean, scale=found.error)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p(found.low) == pytest.approx(0.05)
    assert found.p(mean) == 1.0


def test_of_images_alike_it_is_the_interval_over_seeds():
    values = np.repeat([[3.0], [4.0], [5.0], [8.0]], 50, axis=1)
    found, alone = crossed_mean(values), over_seeds([3.0, 4.0, 5.0, 8.0])
    assert (found.mean, found.error) == pytest.approx((alone.mean, alone.error))
    assert found.degrees == pytest.approx(3)
    _, p = stats.ttest_1samp([3.0, 4.0, 5.0, 8.0], 0)
    assert alone.p() == pytest.approx(p)


def test_one_seed_tells_nothing_of_others():
    for found in (crossed_mean(np.eye(3)[:1]), over_seeds([0.5])):
        assert (found.low, found.high, found.p()) == (-math.inf, math.inf, 1.0)


def test_no_difference_at_all():
    wrong = np.eye(3, dtype=bool)
    found = crossed_difference(wrong, wrong)
    assert (found.mean, found.low, found.high, found.p()) == (0, 0, 0, 1)
    assert found.p(0.1) == 0


def test_what_cannot_be_paired():
    with pytest.raises(ValueError, match="of the same seeds and images"):
        crossed_difference(np.ones((3, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="at least two"):
        crossed_mean(np.ones((3, 1)))


def test_products_of_pairs_that_share_a_digit_are_counted_once():
    """By a loop over all pairs of pairs; no two of them share both of their digits."""
    parts = np.array([[0, 1], [0, 2], [1, 3], [4, 5], [5, 0]])
    d = np.array([1.0, 2.0, -0.5, -3.0, 0.5])
    shared = [[i == k or bool({*parts[i]} & {*parts[k]}) for k in range(5)] for i in range(5)]
    expected = sum(d[i] * d[k] for i in range(5) for k in range(5) if shared[i][k])
    assert expected == pytest.approx(14.5 + 2 * (2 - 0.5 + 0.5 + 1 - 1.5))
    assert squares(d, parts) == pytest.approx(expected)
    assert squares(d, None) == pytest.approx(14.5)
    assert squares(np.array([1.0, -1.0]), np.array([[0, 1], [0, 2]])) == 2.0  # never less


def test_pairs_that_share_a_digit_are_not_independent():
    """What is measured of a pair is the sum of effects of its two digits."""
    draw = np.random.default_rng(22)
    digits, pairs = 200, 800
    plain, shared = [], []
    for _ in range(600):
        first = draw.integers(digits, size=pairs)
        parts = np.stack([first, (first + draw.integers(1, digits, size=pairs)) % digits], axis=1)
        effect, left = draw.normal(size=digits), draw.normal(size=(SEEDS, pairs))
        values = draw.normal(size=(SEEDS, 1)) * 0.05 + effect[parts].sum(axis=1) + left
        plain.append(crossed_mean(values))
        shared.append(crossed_mean(values, parts))
    assert share_covered(plain) < 0.8
    assert share_covered(shared) == pytest.approx(0.95, abs=0.025)
