"""How much routing logits change, against scalar loops, and what is said of it."""

import numpy as np
import pytest
import torch

from reproduction.harness.experiment import Results
from reproduction.harness.verdict import judge
from reproduction.publish import RESULTS, read
from reproduction.routing_logits import report as routing_logits
from reproduction.routing_logits.changes import logit_changes
from reproduction.routing_logits.figures import PUBLISHED
from tests.routing.oracles import dynamic as dynamic_oracle
from tests.small_runs import tiny_data
from torchcaps.models import CapsNet, create_model


def measured(routing):
    """What is measured of a network of loud capsules, its votes in float64, and the network."""
    torch.manual_seed(1)
    model = create_model(
        "capsnet_small", image_size=17, num_classes=3, reconstruct=False, routing=routing
    ).eval()
    assert isinstance(model, CapsNet)
    with torch.no_grad():
        model.primary.conv.weight.mul_(20)
        model.classes.weight.mul_(5)
        data = tiny_data(20).test
        images, _ = data.batch(torch.arange(len(data)))
        votes = model.classes.votes(model.primary_capsules(images)).materialize().double()
    return logit_changes(model, data), votes, model


def test_logit_changes_against_scalar_loops():
    found, votes, _ = measured("dynamic")
    u_hat = votes.numpy()
    trace = dynamic_oracle.procedure_1(u_hat, 10)
    change = np.array([np.einsum("bijd,bjd->bij", u_hat, v) for v in trace["v"][:-1]])
    assert found["logit"] == pytest.approx(np.abs(change).mean((1, 2, 3)).tolist(), rel=1e-4)
    again = np.abs(change[1:] - change[:-1]).mean((1, 2, 3))
    assert found["second"] == pytest.approx(again.tolist(), rel=1e-2, abs=1e-6)
    moved = np.abs(trace["c"][1:] - trace["c"][:-1]).mean((1, 2, 3))
    assert found["coupling"] == pytest.approx(moved.tolist(), rel=1e-3, abs=1e-6)


def test_replaced_logits_change_by_what_the_output_moves():
    """b^{t+1} − b^t = û · (v^t − v^{t−1}), by loops that replace b."""
    found, u_hat, model = measured({"name": "dynamic", "accumulate": False})
    logits = [torch.zeros(u_hat.shape[:-1], dtype=torch.float64)]
    for _ in range(9):
        s = (logits[-1].softmax(dim=-1).unsqueeze(-1) * u_hat).sum(dim=1)
        square = s.square().sum(dim=-1, keepdim=True)
        v = square / (1 + square) * s / square.sqrt()
        logits.append((u_hat * v.unsqueeze(1)).sum(dim=-1))
    change = torch.stack(logits).diff(dim=0).abs().mean(dim=(1, 2, 3))
    assert found["logit"] == pytest.approx(change.tolist(), rel=1e-3, abs=1e-7)
    assert found["logit"][8] < 0.1 * found["logit"][1]  # v settles
    assert model.classes.routing.iterations == 3


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
    words = routing_logits.sentence("logit", falling, PUBLISHED)
    assert "0.1 at iteration 2, 0.0001 at iteration 5, 0.001 times that (published" in words
    assert words.endswith("; linear on a logarithmic scale")
    words = routing_logits.sentence("second", falling[:8], PUBLISHED)
    assert "change of that change: 1 at iteration 2, 0.001 at iteration 5" in words
    assert "published" not in words


def test_the_change_of_b_beside_the_published_one():
    falling = 0.07 * 10.0 ** -np.arange(9)
    rows = [{"logit_2": 0.007 * (1 + s / 9), "logit_5": 7e-6} for s in range(5)]
    difference = routing_logits.fall(rows, "logits add up")
    assert difference.estimate.mean == pytest.approx(-3.084, abs=1e-3)
    (judged,) = judge([difference])
    found = routing_logits.finding(falling, "logits add up", judged, PUBLISHED)
    assert found.ours == "0.007 at iteration 2, 7e-06 at iteration 5"
    assert found.published == "0.007 at iteration 2, 1e-05 at iteration 5"
    assert found.verdict == "lower"
    assert judge([routing_logits.fall(rows[:3], "")])[0].verdict == "not decided (3 seeds)"
    turned = [{"logit_2": row["logit_5"], "logit_5": row["logit_2"]} for row in rows]
    assert judge([routing_logits.fall(turned, "")])[0].verdict == "higher"
    # of seeds that go either way
    unsure = [{"logit_2": 1.0, "logit_5": 10.0**power} for power in (-9, 1, 1, 0, 0)]
    assert judge([routing_logits.fall(unsure, "")])[0].verdict == "not decided"


def test_kinds_of_other_commits_and_machines_are_named(tmp_path):
    one = read(RESULTS / "routing-logits-cpu")
    assert "on another processor than the other; means over" in one.report(tmp_path).body
    rows = [{**row, "commit": "same", "cpu": "same"} for row in one.rows]
    alike = Results(tmp_path, one.scale, rows, one.folder.arrays)
    assert "another processor" not in routing_logits.report(alike).body
