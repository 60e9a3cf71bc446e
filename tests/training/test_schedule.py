import math

import pytest

from torchcaps.training.schedule import SCHEDULES, rate_factor


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_it_rises_to_one_and_does_not_rise_again(schedule, warmup):
    factors = [
        rate_factor(s, 40, schedule=schedule, warmup_steps=warmup, final=0.1) for s in range(40)
    ]
    assert factors[:warmup] == [pytest.approx((s + 1) / (warmup + 1)) for s in range(warmup)]
    assert factors[warmup] == pytest.approx(1)
    assert all(a >= b for a, b in zip(factors[warmup:], factors[warmup + 1 :]))
    assert min(factors[warmup:]) >= 0.1 - 1e-12


def test_the_middle_and_the_end():
    assert rate_factor(20, 40, schedule="cosine", final=0.2) == pytest.approx(0.6)
    assert rate_factor(20, 40, schedule="exponential", final=0.04) == pytest.approx(0.2)
    assert rate_factor(20, 40, schedule="constant", final=0.04) == 1
    last = rate_factor(39, 40, schedule="cosine", final=0.2)
    assert last == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 39 / 40)) / 2)


def test_a_run_of_one_step_has_its_whole_rate():
    assert all(rate_factor(0, 1, schedule=s, final=0.1) == 1 for s in SCHEDULES)
