"""Table 1: errors beside the published ones, and the small baseline."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from reproduction.harness.crossed import Estimate, crossed_mean
from reproduction.harness.registry import EXPERIMENTS
from reproduction.harness.run import reproduce
from reproduction.harness.verdict import judge
from reproduction.publish import RESULTS, read
from reproduction.table1 import report as table1
from reproduction.table1.experiment import shrunk_cnn
from torchcaps.models import BaselineCNN


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
    ("estimate", "answer"),
    [
        (Estimate(0.012, 0.001, 30, 5), "higher"),
        (Estimate(0.001, 0.0001, 30, 5), "lower"),
        (Estimate(0.003, 0.001, 30, 5), "not decided"),
        (Estimate(0.012, 0.001, 30, 3), "not decided (3 seeds)"),
        (Estimate(0.5, math.inf, 0, 1), "not decided (1 seed)"),
        (crossed_mean(np.zeros((5, 400))), "not decided"),  # no error is not surely few
    ],
)
def test_where_the_published_error_lies(estimate, answer):
    (judged,) = judge([table1.beside_published(estimate)])
    assert judged.verdict == answer


def test_the_published_spread_counts():
    """0.01 points more, with errors of 0.003 and 0.005: p of 0.01 / 0.0058."""
    beside = table1.beside_published(Estimate(0.0026, 0.00003, 30, 5)).estimate
    assert beside.mean == pytest.approx(0.0001)
    assert beside.error == pytest.approx(math.hypot(0.00003, 0.00005))
    assert beside.p() == pytest.approx(0.096, abs=0.001)


def test_what_no_row_says_may_be():
    for name in ("table1", "multimnist"):
        lines = "\n".join(EXPERIMENTS[name].differs(EXPERIMENTS[name].scales["cpu"]))
        assert "the errors may be larger than published" in lines
        assert "are larger than published" not in lines


@pytest.mark.usefixtures("no_run_pictures")
def test_the_papers_network_is_trained_alone(tiny, tmp_path):
    large = EXPERIMENTS["table1"].scales["large"]
    assert (large.config.model, large.images, large.compared) == ("capsnet", None, (table1.BEST,))
    experiment = tiny(EXPERIMENTS["table1"])
    alone = dataclasses.replace(experiment.scales["smoke"], compared=large.compared)
    experiment = dataclasses.replace(experiment, scales={"smoke": alone})
    folder, lines = reproduce(experiment, "smoke", out=tmp_path / "out")
    (line,) = lines
    assert line.startswith("CapsNet, r = 3, reconstruction: ")
    text = (folder / "report.md").read_text()
    assert "no network is trained beside it" in text
    assert "| baseline CNN" not in text
    assert not [line for line in text.splitlines() if " minus " in line]  # of other images


def test_what_is_published_of_mnist_is_not_said_of_other_images(monkeypatch, tmp_path):
    """Neither as a figure, nor as a verdict, nor in a title."""
    for name, claims in (
        ("table1-full", 4), ("multimnist-full", 2), ("affine-cpu", 1), ("routing-logits-cpu", 2)
    ):  # fmt: skip
        one = read(RESULTS / name)
        other = dataclasses.replace(one.scale.config, data="fashion-mnist")
        scale = dataclasses.replace(one.scale, training=other)
        elsewhere = dataclasses.replace(one, scale=scale)
        for found, mnist in ((one.report(tmp_path), True), (elsewhere.report(tmp_path), False)):
            text = "\n".join([*found.figures, found.body.split("## Differences")[0]])
            numbers = re.findall(r"[Pp]ublished:?,? [-\d+f]|on MNIST", text)
            assert bool(numbers) == mnist, (name, numbers)
            of_mnist = [line for line in found.findings if re.search(r"\d", line.published)]
            assert len(of_mnist) == (claims if mnist else 0), name
            assert ("the published error" in found.body) == (mnist and name == "table1-full")
            if name != "routing-logits-cpu":  # which has no such column
                beside = re.findall(r"\| (?:not )?in the interval \|", found.body)
                assert bool(beside) == mnist
