"""What is said of two networks, in a table and in a line, and whose networks they are."""

import numpy as np
import pytest

from reproduction.harness.comparison import (
    Comparison,
    differences,
    error_of,
    finding_of,
    judgement_part,
    judgement_table,
    said_of,
)
from reproduction.harness.crossed import Estimate
from reproduction.harness.experiment import Experiment, Report, Results
from reproduction.harness.report_file import report_of
from reproduction.harness.scale import Scale, paper_training, published_training
from reproduction.harness.verdict import Difference, judge

NETWORKS = {
    "cnn": Comparison("CNN", {}, 8.1),
    "r1": Comparison("r = 1", {}, 7.5),
    "r3": Comparison("r = 3", {}, None),
}


def results_of(answers, tmp_path):
    """Results with these answers of networks, by cell and seed."""
    rows = [{"cell": cell, "seed": seed} for cell, seed in answers]
    arrays = lambda row: {"wrong": np.array(answers[row["cell"], row["seed"]])}  # noqa: E731
    return Results(tmp_path, Scale(1), rows, arrays)


def test_networks_are_paired_by_the_seeds_that_both_have(tmp_path):
    answers = {
        ("cnn", 0): [1, 1, 0, 0], ("cnn", 2): [1, 1, 1, 0], ("cnn", 3): [1, 1, 1, 1],
        ("r1", 2): [0, 1, 1, 0], ("r1", 1): [1, 1, 1, 1], ("r1", 0): [0, 0, 0, 0],
    }  # fmt: skip
    results = results_of(answers, tmp_path)
    (found,) = differences(results, NETWORKS, [("cnn", "r1")])
    assert (found.first, found.second, found.estimate.seeds) == ("CNN", "r = 1", 2)
    assert found.estimate.mean == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert found.published == pytest.approx(0.006)
    assert error_of(results, "cnn").mean == pytest.approx(9 / 12)
    answers["r3", 0] = [0, 0, 0, 0]
    (other,) = differences(results_of(answers, tmp_path), NETWORKS, [("r1", "r3")])
    assert (other.published, other.estimate.seeds) == (None, 1)


LINES = [
    (  # t(0.975, 4) = 2.776
        Difference("A", "B", Estimate(0.02, 0.001, 4, 5), 0.023),
        "A minus B: +2.00 points (95 % interval 1.72 to 2.28; p < 0.0001; published +2.30): higher",
        "| A minus B | +2.00 | 1.72 to 2.28 | < 0.0001 | +2.30 | not in the interval | 0.02 | "
        "higher |",
    ),
    (
        Difference("A", "B", Estimate(0.0002, 0.001, 4, 5), 0.001),
        "A minus B: +0.02 points (95 % interval -0.26 to 0.30; p 0.85; published +0.10): not "
        "decided",
        "| A minus B | +0.02 | -0.26 to 0.30 | 0.85 | +0.10 | in the interval | 0.23 | not "
        "decided |",
    ),
    (
        Difference("A", "B", Estimate(-0.0002, 0.001, 4, 5), 0.13),
        "A minus B: -0.02 points (95 % interval -0.30 to 0.26; p 0.85; published +13.00): excluded",
        "| A minus B | -0.02 | -0.30 to 0.26 | 0.85 | +13.00 | not in the interval | < 0.0001 | "
        "excluded |",
    ),
    (
        Difference("A", "B", Estimate(0.49, float("inf"), 0, 1)),
        "A minus B: +49.00 points (one seed): not decided (1 seed)",
        "| A minus B | +49.00 | – | – | not decided (1 seed) |",
    ),
    (  # the same answers to every image: how far two networks are from alike is not known
        Difference("A", "B", Estimate(0.0, 0.0, 4, 5), 0.0004),
        "A minus B: +0.00 points (95 % interval –; p 1; published +0.04): not decided",
        "| A minus B | +0.00 | – | 1 | +0.04 | – | – | not decided |",
    ),
]


@pytest.mark.parametrize(("difference", "words", "line"), LINES)
def test_a_difference_in_words(difference, words, line):
    judged = judge([difference])
    assert said_of(judged[0]) == words
    assert judgement_table(judged).splitlines()[2] == line
    found = finding_of(judged[0])
    assert found.claim == "Error of A less that of B"
    assert found.verdict == judged[0].verdict
    assert found.ours.startswith(f"{100 * difference.estimate.mean:+.2f} points")
    assert "(Holm)" in judgement_part(judged)[1]


# --- whose network it is
@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (Scale(1), ""),
        (Scale(1, training=paper_training()), "the paper’s network"),
        (Scale(1, training=published_training(data="mnist")), "`capsnet_small`, not the paper’s"),
        (Scale(1, training=paper_training(), network="CapsNet with 64 channels"), "smaller netw"),
        (Scale(1, training=paper_training(data="cifar10")), "`capsnet` on cifar10, not the paper"),
    ],
)
def test_every_table_says_whose_network_it_is_of(scale, words, tmp_path):
    body = "| | a |\n|---|--:|\n| b | 1 |\n\nText | with | bars\n\n| r | c |\n|---|--:|\n| 2 | 3 |"
    experiment = Experiment(
        name="toy", about="Toy.", scales={}, cells=lambda scale: [], compute=None,
        report=lambda results: Report(["figure"], body), differs=lambda scale: [],
    )  # fmt: skip
    found = report_of(experiment, Results(tmp_path, scale, [], lambda row: {})).body
    assert scale.whose_network.startswith(words)
    if not words:
        assert found == body
        return
    lines = found.splitlines()
    assert lines[0] == f"| {scale.whose_network} | a |"
    assert lines[6] == f"| r ({scale.whose_network}) | c |"
    assert lines[2:5] == body.splitlines()[2:5]
