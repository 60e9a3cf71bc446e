"""Which training loss is said to end lower."""

import numpy as np
import pytest

from reproduction.cifar_loss.report import lower_with_three


@pytest.mark.parametrize(
    ("above", "low", "high", "answer"),
    [
        ([0.02, 0.021, 0.022], 0.0185, 0.0235, "as published"),
        ([-0.02, -0.021, -0.022], -0.0235, -0.0185, "the reverse of what is published"),
        ([-0.02, 0.02, 0.03], -0.0557, 0.0757, "not decided"),
        ([0.5], -np.inf, np.inf, "not decided, one seed has no spread"),
    ],
)
def test_the_loss_of_one_iteration_beside_three(above, low, high, answer):
    three = np.tile([2.0, 1.0], (len(above), 1))
    one = three + np.array([[-5.0, a] for a in above])  # only the last epoch counts
    spread, said = lower_with_three({1: one, 3: three})
    assert said == answer
    assert spread.mean == pytest.approx(np.mean(above))
    assert (spread.low, spread.high) == pytest.approx((low, high), abs=1e-4)
