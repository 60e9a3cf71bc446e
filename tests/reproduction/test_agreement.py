"""The article's pictures, against arithmetic by hand."""

import math

import pytest
import torch

from reproduction.agreement.examples import (
    ANGLES,
    VOTES,
    dot_products,
    three_to_two,
    two_capsules,
)
from reproduction.agreement.experiment import facts
from reproduction.harness.experiment import Results
from reproduction.harness.folder import ExperimentFolder
from reproduction.harness.registry import EXPERIMENTS
from reproduction.harness.run import reproduce


def test_the_scalar_product_goes_from_opposed_to_aligned():
    _, products = dot_products()
    assert products.tolist() == pytest.approx([-1, -math.sqrt(0.5), 0, math.sqrt(0.5), 1])
    assert list(ANGLES) == sorted(ANGLES, reverse=True)


def test_three_inputs_begin_undecided_and_sum_to_one():
    votes, trace = three_to_two()
    assert trace.coupling.shape == (3, 3, 2)
    assert (trace.coupling[0] == 0.5).all()
    # By hand: u_1 = (0.8, 0.2), turned by 15° and 1.8 times as long.
    cos, sin = math.cos(math.radians(15)), math.sin(math.radians(15))
    expected = [1.8 * (0.8 * cos - 0.2 * sin), 1.8 * (0.8 * sin + 0.2 * cos)]
    assert votes.materialize()[0, 0].tolist() == pytest.approx(expected)
    row = facts(trace)
    assert row["largest deviation of a sum from 1"] < 1e-15
    assert row["smallest coupling"] > 0
    assert row["c_21 at iteration 3"] == trace.coupling[2, 1, 0].item()


def test_the_second_iteration_of_two_capsules_by_hand():
    """After one iteration b_ij is û_ij · v_j, with v_j the squashed mean of the votes."""
    _, trace = two_capsules()
    logits = []
    for j in (0, 1):
        angles = [math.radians(angle[j]) for angle in VOTES]
        s = [0.5 * sum(map(math.cos, angles)), 0.5 * sum(map(math.sin, angles))]
        length = math.hypot(*s)
        v = [x / length * length**2 / (1 + length**2) for x in s]
        logits.append(math.cos(angles[-1]) * v[0] + math.sin(angles[-1]) * v[1])
    expected = math.exp(logits[0]) / (math.exp(logits[0]) + math.exp(logits[1]))
    assert trace.coupling[1, -1, 0].item() == pytest.approx(expected)


def test_coupling_moves_from_the_output_that_is_opposed_to_the_other():
    votes, trace = two_capsules()
    products = torch.einsum("jd,jd->j", votes[-1], trace.pose[-1])
    assert products[0] < -0.5
    assert products[1] > 0.5
    assert (trace.coupling[:, -1, 0].diff() < 0).all()


def test_the_report_says_the_numbers(tmp_path):
    folder, figures = reproduce(EXPERIMENTS["agreement"], out=tmp_path / "out")
    _, trace = two_capsules()
    before, after = trace.coupling[0, -1], trace.coupling[-1, -1]
    assert (
        f"c_1 {before[0]:.2f} → {after[0]:.2f}, c_2 {before[1]:.2f} → {after[1]:.2f}" in figures[1]
    )
    assert "-1.00 opposed, +0.00 at a right angle, +1.00 aligned" in figures[0]
    assert "every c_ij begins at 0.50" in figures[2]
    text = (folder / "report.md").read_text()
    lengths = " | ".join(f"{v.norm():.3f}" for v in trace.pose[:, 1])
    assert f"| length of v_2 | {lengths} |" in text


def test_the_verdicts_follow_the_rows(tmp_path):
    experiment = EXPERIMENTS["agreement"]
    folder, _ = reproduce(experiment, out=tmp_path / "out")
    kept, scale = ExperimentFolder(folder), experiment.scales["smoke"]
    rows = [kept.row(cell) for cell in experiment.cells(scale)]
    moved, begins = experiment.report(Results(folder, scale, rows, kept.arrays)).findings
    assert (moved.verdict, begins.verdict) == ("borne out", "borne out")
    last = len(VOTES)
    for name, value, answers in (
        (f"c_{last}1 at iteration 5", 0.6, ("contradicted", "borne out")),
        ("c_11 at iteration 1", 0.4, ("borne out", "contradicted")),
        ("largest deviation of a sum from 1", 0.1, ("borne out", "contradicted")),
    ):
        other = [row | {name: value} if name in row else row for row in rows]
        found = experiment.report(Results(folder, scale, other, kept.arrays)).findings
        assert tuple(finding.verdict for finding in found) == answers, name
