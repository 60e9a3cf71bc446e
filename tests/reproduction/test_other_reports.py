"""Routing logits, the loss on CIFAR-10, and Table 1: what is measured, and what is said of it."""

import numpy as np
import pytest
import torch

import oracle
from reproduction.cifar_loss.experiment import lower_with_three
from reproduction.harness.statistics import summarise
from reproduction.routing_logits import experiment as routing_logits
from reproduction.table1 import experiment as table1
from small_runs import tiny_data
from torchcaps.models import BaselineCNN, create_model


def test_logit_changes_against_scalar_loops():
    torch.manual_seed(1)
    model = create_model("capsnet_small", image_size=17, num_classes=3, reconstruct=False).eval()
    with torch.no_grad():
        model.primary.conv.weight *= 20
        model.classes.weight *= 5
    data = tiny_data(20).test
    found = routing_logits.logit_changes(model, data)
    images, _ = data.batch(torch.arange(len(data)))
    with torch.no_grad():
        u_hat = model.classes.votes(model.primary_capsules(images)).materialize().double().numpy()
    trace = oracle.procedure_1(u_hat, 10)
    change = np.array([np.einsum("bijd,bjd->bij", u_hat, v) for v in trace["v"][:-1]])
    assert found["logit"] == pytest.approx(np.abs(change).mean((1, 2, 3)).tolist(), rel=1e-4)
    again = np.abs(change[1:] - change[:-1]).mean((1, 2, 3))
    assert found["second"] == pytest.approx(again.tolist(), rel=1e-2, abs=1e-6)
    moved = np.abs(trace["c"][1:] - trace["c"][:-1]).mean((1, 2, 3))
    assert found["coupling"] == pytest.approx(moved.tolist(), rel=1e-3, abs=1e-6)


def test_a_fall_that_is_linear_on_a_logarithmic_scale():
    steps = np.arange(8)
    assert routing_logits.log_linear(0.1 * 0.2**steps)
    assert not routing_logits.log_linear(0.1 * 5.0**steps)  # it rises
    assert not routing_logits.log_linear(np.full(8, 0.1))  # it does neither
    assert not routing_logits.log_linear(0.1 / (1 + steps**2) + 0.05)
    assert not routing_logits.log_linear(np.zeros(8))


def test_a_sentence_names_iterations_two_and_five():
    """The change of the change begins at iteration 2, the others at iteration 1."""
    falling = 10.0 ** -np.arange(9)
    words = routing_logits.sentence("logit", falling)
    assert "0.1 at iteration 2, 0.0001 at iteration 5, 0.001 times that (published" in words
    assert words.endswith("; linear on a logarithmic scale")
    words = routing_logits.sentence("second", falling[:8])
    assert "change of that change: 1 at iteration 2, 0.001 at iteration 5" in words
    assert "published" not in words


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
    """With 10, 11, 12 thousandths of the best line."""
    pair = ("r1-reconstruction", table1.BEST)
    values = dict(zip(pair, ([e / 1000 for e in errors], [0.01, 0.011, 0.012])))
    lines = [table1.COMPARISONS[name] for name in pair]
    assert said in table1.compared(*lines, *values.values())


def test_the_small_baseline_has_weights_of_the_seed():
    base = BaselineCNN(17, 1, 3, conv_channels=(2, 2, 2), hidden=(4, 4))
    first, again, other = (table1.shrunk_cnn(seed)(base) for seed in (0, 0, 1))
    assert first.image_size == (17, 17)
    assert first.num_classes == 3
    weights = [model.layers[0].weight for model in (first, again, other)]
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


def test_the_change_of_b_beside_the_published_one():
    falling = 0.07 * 10.0 ** -np.arange(9)
    found = routing_logits.finding(falling)
    assert found.ours == "0.007 at iteration 2, 7e-06 at iteration 5"
    assert found.published == "0.007 at iteration 2, 1e-05 at iteration 5"
    assert found.verdict == "as published"
    assert routing_logits.finding(falling[::-1]).verdict == "it does not fall so"
