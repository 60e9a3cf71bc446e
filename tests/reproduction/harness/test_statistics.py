import math

import numpy as np
import pytest

from reproduction.harness.statistics import discordant, mcnemar, summarise, t_quantile


@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [  # printed tables
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 4, 2.776),
        (0.975, 30, 2.042),
        (0.95, 5, 2.015),
        (0.995, 9, 3.250),
    ],
)
def test_quantiles_of_t(probability, degrees, value):
    assert t_quantile(probability, degrees) == pytest.approx(value, abs=5e-4)


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


def test_mcnemar_against_the_sums():
    assert mcnemar(0, 0) == 1
    assert mcnemar(3, 3) == 1
    assert mcnemar(0, 5) == 2 / 32
    assert mcnemar(5, 0) == 2 / 32
    assert mcnemar(2, 7) == 2 * (1 + 9 + 36) / 512
    assert mcnemar(900, 1200) == pytest.approx(6.4e-11, rel=0.05)  # beyond what a float can count


def test_discordant_pairs():
    first, second = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 0], bool)
    assert discordant(first, second) == (2, 1)
    with pytest.raises(ValueError, match="of the same images"):
        discordant(first, second[:4])
