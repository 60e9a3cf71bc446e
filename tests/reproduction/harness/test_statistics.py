import math

import pytest

from reproduction.harness.statistics import summarise


def test_the_interval_of_a_mean():
    """s = 2, √n = 2, t(0.975, 3) = 3.182: 5 ± 3.182."""
    spread = summarise([3.0, 4.0, 5.0, 8.0])
    assert spread.mean == 5
    assert spread.deviation == pytest.approx(math.sqrt(14 / 3))
    reach = 3.18245 * math.sqrt(14 / 3) / 2
    assert (spread.low, spread.high) == pytest.approx((5 - reach, 5 + reach), abs=1e-4)
    wider = summarise([3.0, 4.0, 5.0, 8.0], level=0.99)
    assert wider.high - wider.mean == pytest.approx(reach * 5.84091 / 3.18245, rel=1e-4)


def test_one_value_has_no_spread():
    spread = summarise([3.0])
    assert (spread.mean, spread.deviation, spread.low, spread.high) == (
        3,
        None,
        -math.inf,
        math.inf,
    )
