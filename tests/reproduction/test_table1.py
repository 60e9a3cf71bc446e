"""Table 1: errors beside the published ones, and the small baseline."""

import pytest
import torch

from reproduction.harness.statistics import summarise
from reproduction.table1 import report as table1
from reproduction.table1.experiment import shrunk_cnn
from torchcaps.models import BaselineCNN


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([30, 31, 32.3], "+2.01 points (95 % interval 1.97 to 2.05; published +0.04): as publis"),
        ([5, 5, 5.5], "-0.58 points (95 % interval -0.77 to -0.39; published +0.04): the rever"),
        ([5, 12, 15], "published +0.04): not decided"),
        ([500], "+49.00 points (one seed; published +0.04): not decided"),
    ],
)
def test_table1_compares_seed_by_seed(errors, said):
    """With 10, 11, 12 thousandths of the best network."""
    pair = ("r1-reconstruction", table1.BEST)
    values = dict(zip(pair, ([e / 1000 for e in errors], [0.01, 0.011, 0.012])))
    networks = [table1.COMPARISONS[name] for name in pair]
    first, second = networks
    assert said in table1.compared(first, second, *values.values())


def test_the_small_baseline_has_weights_of_the_seed():
    base = BaselineCNN(17, 1, 3, conv_channels=(2, 2, 2), hidden=(4, 4))
    first, again, other = (shrunk_cnn(seed)(base) for seed in (0, 0, 1))
    assert first.image_size == (17, 17)
    assert first.num_classes == 3
    weights = [model.layers[0].weight for model in (first, again, other)]  # type: ignore[index]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].shape[0] == 64


@pytest.mark.parametrize(
    ("errors", "answer"),
    [
        ([0.012, 0.0121, 0.0122], "higher"),
        ([0.002, 0.0021, 0.0022], "lower"),
        ([0.002, 0.0025, 0.0031], "reached"),
        ([0.5], "not decided, one seed"),
    ],
)
def test_where_the_published_error_lies(errors, answer):
    assert table1.reached(summarise(errors)) == answer


def test_a_finding_says_what_the_sentence_says():
    pair = ("r1-reconstruction", table1.BEST)
    found = table1.finding(dict(zip(pair, ([0.03, 0.031, 0.0323], [0.01, 0.011, 0.012]))), *pair)
    assert found.claim == (
        "CapsNet, r = 1, reconstruction errs more than CapsNet, r = 3, reconstruction"
    )
    assert found.published == "0.29 and 0.25 %"
    assert found.ours == "by +2.01 points (95 % interval 1.97 to 2.05)"
    assert found.verdict == "as published"
