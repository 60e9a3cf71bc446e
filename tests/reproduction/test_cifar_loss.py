"""Which training loss is said to end lower."""

import numpy as np
import pytest

from reproduction.cifar_loss.report import lower_with_three


@pytest.mark.parametrize(
    ("above", "low", "high", "answer"),
    [
        ([0.02, 0.021, 0.022, 0.021, 0.021], 0.0201, 0.0219, "higher"),
        ([-0.02, -0.021, -0.022, -0.021, -0.021], -0.0219, -0.0201, "lower"),
        ([-0.02, 0.02, 0.03, 0.0, 0.01], -0.0159, 0.0319, "not decided"),
        ([0.02, 0.021, 0.022], 0.0185, 0.0235, "not decided (3 seeds)"),
        ([0.5], -np.inf, np.inf, "not decided (1 seed)"),
    ],
)
def test_the_loss_of_one_iteration_beside_three(above, low, high, answer):
    three = np.tile([2.0, 1.0], (len(above), 1))
    one = three + np.array([[-5.0, a] for a in above])  # only the last epoch counts
    judged = lower_with_three({1: one, 3: three})
    assert judged.verdict == answer
    spread = judged.difference.estimate
    assert spread.mean == pytest.approx(np.mean(above))
    assert (spread.low, spread.high) == pytest.approx((low, high), abs=1e-4)
