"""Random numbers by the number of an item: repeatable from anywhere, even, unrelated."""

import numpy as np
import pytest
import torch

from torchcaps.data.indexed_random import IndexedRandom
from torchcaps.errors import InputError


def test_an_item_has_its_numbers_wherever_drawing_begins():
    whole = IndexedRandom("a", 5, 0, 100)
    for start, count in [(0, 1), (7, 3), (99, 1), (40, 60)]:
        part = IndexedRandom("a", 5, start, count)
        for which in range(8):
            assert torch.equal(
                part.integers(which, 1000), whole.integers(which, 1000)[start:][:count]
            )
            assert torch.equal(
                part.uniform(which, -1, 1), whole.uniform(which, -1, 1)[start:][:count]
            )


def test_the_numbers_do_not_change_between_versions():
    """Pairs and transformed digits are named by their seed: they must stay what they are."""
    assert IndexedRandom("pairs", 0, 0, 3).integers(0, 60_000).tolist() == [33757, 13297, 23175]


def test_purposes_seeds_items_and_places_are_unrelated():
    drawn = [
        IndexedRandom(purpose, seed, start, 500).uniform(which, 0, 1)
        for purpose, seed, start, which in [
            ("a", 0, 0, 0), ("b", 0, 0, 0), ("a", 1, 0, 0), ("a", 0, 500, 0), ("a", 0, 0, 1),
            ("a", 0, 1000, 7), ("a", -1, 0, 0),
        ]
    ]  # fmt: skip
    correlation = np.corrcoef(torch.stack(drawn).numpy()) - np.eye(len(drawn))
    assert np.abs(correlation).max() < 0.15  # s.d. 0.045


@pytest.mark.parametrize("which", range(8))
def test_they_are_even(which):
    draws = IndexedRandom("even", 3, 10, 20_000)
    counts = draws.integers(which, 10).bincount(minlength=10)
    assert len(counts) == 10
    # chi-square, 9 degrees of freedom: below 33.7 with probability 0.9999, and the draw is fixed
    assert ((counts - 2000) ** 2 / 2000).sum() < 33.7
    values = draws.uniform(which, -2, 6)
    assert -2 <= values.min() < -1.99
    assert 5.99 < values.max() < 6
    assert values.mean().item() == pytest.approx(2, abs=0.07)


def test_each_item_may_have_its_own_number_of_choices():
    choices = torch.tensor([1, 2, 60_000] * 1000)
    drawn = IndexedRandom("a", 0, 0, 3000).integers(2, choices)
    assert (drawn < choices).all()
    assert (drawn >= 0).all()
    assert drawn[1::3].float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert drawn[2::3].max() > 59_000


def test_arguments_that_will_not_do():
    with pytest.raises(InputError, match="start is -1"):
        IndexedRandom("a", 0, -1, 1)
    with pytest.raises(TypeError, match=r"seed is 0\.5"):
        IndexedRandom("a", 0.5, 0, 1)  # type: ignore[arg-type]
    assert IndexedRandom("a", 0, 3, 0).integers(0, 5).shape == (0,)
