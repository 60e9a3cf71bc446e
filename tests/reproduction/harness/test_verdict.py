"""The verdict on a difference, case by case."""

import pytest

from reproduction.harness.crossed import Estimate
from reproduction.harness.verdict import Difference, holm, judge, verdict


def estimate(mean, error=0.001, seeds=5):
    return Estimate(mean, error, seeds - 1, seeds)


@pytest.mark.parametrize(
    ("mean", "seeds", "p", "p_published", "said"),
    [
        (-0.02, 5, 0.04, None, "lower"),
        (0.02, 5, 0.04, None, "higher"),
        (0.02, 5, 0.04, 0.01, "higher"),  # not of the published size, but surely not zero
        (-0.02, 5, 0.04, 0.01, "lower"),  # the other way round than published
        (-0.02, 5, 0.05, None, "not decided"),
        (-0.02, 5, 0.5, 0.06, "not decided"),
        (-0.02, 5, 0.5, 0.04, "excluded"),
        (0.02, 5, 0.5, 0.04, "excluded"),
        (-0.02, 4, 0.001, 0.001, "not decided (4 seeds)"),
        (-0.02, 2, 0.5, 0.001, "not decided (2 seeds)"),
        (-0.02, 1, None, None, "not decided (1 seed)"),
        (0.0, 5, 1.0, None, "not decided"),
    ],
)
def test_verdicts(mean, seeds, p, p_published, said):
    assert verdict(estimate(mean, seeds=seeds), p, p_published) == said


def test_holm_by_hand():
    assert holm([]) == []
    assert holm([0.02]) == [0.02]
    assert holm([0.011, 0.02, 0.9, 0.01]) == pytest.approx([0.04, 0.04, 0.9, 0.04])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([None, 0.01, None, 0.02]) == [None, 0.02, None, 0.02]  # two, not four


def test_comparisons_are_corrected_for_their_number():
    one = Difference("a", "b", estimate(0.0036))  # t = 3.6 of 4 degrees: p = 0.0228
    (alone,) = judge([one])
    assert alone.p == pytest.approx(0.0228, abs=1e-4)
    assert alone.verdict == "higher"
    beside = judge([one, Difference("a", "c", estimate(0.0001)), Difference("a", "d", estimate(0))])
    assert beside[0].p == pytest.approx(3 * 0.0228, abs=3e-4)
    assert [found.verdict for found in beside] == ["not decided"] * 3
    assert [found.difference.second for found in beside] == ["b", "c", "d"]


def test_published_differences_are_a_family_of_their_own():
    near_zero = Difference("a", "b", estimate(0.001), published=0.05)
    without = Difference("a", "c", estimate(0.001))
    judged = judge([near_zero, without, without])
    assert [found.verdict for found in judged] == ["excluded", "not decided", "not decided"]
    expected = near_zero.estimate.p(0.05) / 2  # one-sided; one of them has a published one
    assert judged[0].p_published == pytest.approx(expected)
    assert judged[1].p_published is None
    (wrong_way,) = judge([Difference("a", "b", estimate(0.001), published=-0.05)])
    assert wrong_way.verdict == "excluded"
    (few,) = judge([Difference("a", "b", Estimate(0.1, float("inf"), 0, 1), 0.05)])
    assert (few.p, few.p_published, few.verdict) == (None, None, "not decided (1 seed)")


def test_an_effect_larger_than_published_excludes_nothing():
    """Zero is not excluded beside six others, and the published difference is far below."""
    large = Difference("a", "b", estimate(0.30, 0.07), published=0.04)
    judged = judge([large, *[Difference("a", "c", estimate(0.0))] * 6])
    assert judged[0].p > 0.05
    assert judged[0].p_published > 0.5
    assert judged[0].verdict == "not decided"
    (other,) = judge([large._replace(estimate=estimate(-0.05, 0.07), published=-0.04)])
    assert other.p_published > 0.5


def test_answers_that_never_differ_exclude_no_rare_difference():
    (none,) = judge([Difference("a", "b", estimate(0.0, error=0.0), published=0.0004)])
    assert (none.p, none.p_published, none.verdict) == (1.0, None, "not decided")
    (always,) = judge([Difference("a", "b", estimate(0.5, error=0.0))])
    assert always.verdict == "higher"


def test_a_published_spread_counts():
    exact = Difference("a", "b", estimate(0.0), published=0.003)
    assert judge([exact])[0].verdict == "excluded"
    (wide,) = judge([exact._replace(published_error=0.003)])
    assert wide.verdict == "not decided"
    assert wide.p_published == pytest.approx(estimate(0.0, error=10**0.5 / 1000).p(0.003) / 2)
