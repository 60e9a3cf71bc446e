"""What `iterations` measures, and that its answers follow the numbers."""

import json
import math

import numpy as np
import pytest
import torch

from reproduction.harness.cell import Cell
from reproduction.harness.experiment import Results
from reproduction.harness.fixed_coupling import FixedCoupling, with_fixed_coupling
from reproduction.harness.routing_facts import look_at_routing
from reproduction.harness.run import reproduce
from reproduction.harness.scale import Scale
from reproduction.harness.statistics import difference
from reproduction.harness.workbench import choice
from reproduction.iterations import experiment as iterations
from reproduction.iterations import report as iterations_report
from reproduction.iterations import verdicts
from reproduction.iterations.verdicts import (
    best_at_three,
    deciding,
    overfitting,
)
from tests import oracle
from tests.routing.oracles import dynamic as dynamic_oracle
from tests.small_runs import tiny_data
from torchcaps.models import CapsNet, create_model, load_model
from torchcaps.routing import DynamicRouting, dynamic_routing
from torchcaps.training.metrics import evaluate
from torchcaps.votes import LinearVotes


def rows(errors, gaps=None):
    """{r: rows of three seeds} about these errors, in thousandths."""
    gaps = gaps or dict.fromkeys(errors, 10)
    return {
        r: [
            {
                "seed": s,
                "test_error": (e + s + 0.1 * (s == 1)) / 1000,
                "loss_gap": gaps[r] + 0.1 * s,
            }
            for s in range(3)
        ]
        for r, e in errors.items()
    }


# --- the two answers
def test_three_is_best():
    verdict = best_at_three(rows({1: 15, 2: 13, 3: 10, 10: 12}))
    assert verdict.sentence == "“3 is best”: borne out. Every other r errs more than r = 3."


def test_three_is_not_best():
    verdict = best_at_three(rows({1: 15, 2: 8, 3: 10, 10: 12}))
    assert verdict.sentence == "“3 is best”: contradicted. r = 2 errs less than r = 3."


def test_three_cannot_be_told_apart():
    made = rows({1: 15, 2: 10, 3: 10, 10: 12})
    made[2][0]["test_error"] += 0.001
    verdict = best_at_three(made)
    assert verdict.answer == "not decided"
    assert "No r errs less than r = 3; r = 1, 10 err more; r = 2 cannot be" in verdict.sentence
    # mean 1/3000, s = √3/3000, t(1 − 0.05/6, 2) = 7.649: ± 0.255 points
    assert "the errors differ by -0.22 to +0.29 points" in verdict.sentence


def test_one_seed_decides_nothing():
    made = {r: own[:1] for r, own in rows({1: 15, 3: 10, 10: 90}).items()}
    for verdict in (best_at_three(made), overfitting(made)):
        assert verdict.answer == "not decided"
        assert "one seed has no spread" in verdict.sentence


@pytest.mark.parametrize(
    ("errors", "gaps", "answer", "words"),
    [
        ((10, 12, 13), (10, 11, 12), "borne out", "r = 5, 10 err more, with a wider gap"),
        ((10, 12, 13), (10, 10, 9), "not decided", "r = 5, 10 err more, but without a wider"),
        ((10, 10, 13), (10, 10, 12), "borne out", "r = 10 errs more, with a wider gap"),
        ((10, 8, 10), (10, 12, 12), "contradicted", "r = 5 errs less than r = 3"),
        ((10, 8, 13), (10, 12, 12), "not decided", "r = 10 errs more, with a wider gap"),
        ((10, 10, 10), (10, 12, 12), "not decided", "r = 5, 10 cannot be told apart from r = 3"),
        ((10, 8, 10), (-2, -2, -2), "not testable", "no network has a larger loss on held-out im"),
        ((10, 8, 10), (-2, -2, 1), "contradicted", "r = 5 errs less than r = 3"),
        (
            (10, 12, 900),
            (-2, -2, -2),
            "not decided",
            "loss (at chance in 3 of 6 trainings)",
        ),
    ],
)
def test_overfitting(errors, gaps, answer, words):
    verdict = overfitting(rows(dict(zip((3, 5, 10), errors)), dict(zip((3, 5, 10), gaps))))
    assert verdict.answer == answer
    assert f"overfit”: {answer}. " in verdict.sentence
    assert words in verdict.sentence


def test_the_deciding_number_of_iterations():
    made = rows({3: 10, 5: 12, 7: 8, 10: 30})
    chosen, spread = deciding(made)
    assert (chosen, round(spread.mean, 6), spread.count) == (7, -0.002, 3)
    assert deciding(rows({3: 10, 5: 12, 10: 30}))[0] == 10
    unclear = rows({3: 10, 5: 10, 10: 10})
    assert deciding(unclear)[0] == 10


def test_fewer_iterations_are_no_matter_of_overfitting():
    assert "r = 1 " not in overfitting(rows({1: 90, 3: 10, 10: 10}, {1: 90, 3: 1, 10: 1})).sentence


def test_differences_are_seed_by_seed():
    first = [{"seed": s, "x": 10.0 * s + 1} for s in range(3)]
    other = [{"seed": s, "x": 10.0 * s} for s in (2, 1, 0)]
    spread = difference(first, other, "x")
    assert (spread.mean, spread.deviation, spread.count) == (1, 0, 3)


# --- the report
def test_the_report_follows_its_rows(tmp_path):
    """Ten held-out images; r = 10 gets image 0 wrong that r = 3 has right, for both seeds."""
    kept, made = {}, []
    labels = np.arange(10) % 3
    for cell, r, wrong in (("r3", 3, [9]), ("r10", 10, [9, 0]), ("random", None, [1, 2, 3])):
        for seed in (0, 1):
            answers = labels.copy()
            answers[wrong] = 5
            kept[cell, seed] = {"labels": labels, "predictions": answers}
            numbers = dict.fromkeys(
                ("test_loss", "training_error", "training_loss", "loss_gap", "entropy",
                 "to_prediction", "to_prediction_by_length", "seconds_per_step",
                 "test_error_with_3", "test_error_with_10"), 0.25,
            )  # fmt: skip
            own = {"iterations": r, "test_error": len(wrong) / 10, "images": 10}
            made.append({"cell": cell, "seed": seed, **numbers, **own})
    scale = Scale(1, 2, iterations=(3, 10))
    arrays = lambda row: kept[row["cell"], row["seed"]]  # noqa: E731
    report = iterations_report.report(Results(tmp_path, scale, made, arrays))
    assert report.figures[0].startswith("lowest mean test error: r = 3, 10.00 ± 0.00 %; r = 3: ")
    assert "random coupling: 30.00 ± 0.00 %" in report.figures[0]
    assert "| 10 | 2 | 0 | 0.5 | 1, 1 |" in report.body  # 2 · (1/2)² of two images, 1 of one
    assert "| random | 6 | 2 | 0.29 | 0.62, 0.62 |" in report.body
    assert "| 10 | 20.00 ± 0.00 | 20.00 to 20.00 | +10.00 | 10.00 to 10.00 |" in report.body
    assert "is known to be 1.79 to 40.42 % (Wilson)" in report.body
    best, overfit = report.findings
    assert best.ours == "r = 3: 10.00 ± 0.00 %, least at r = 3: 10.00 ± 0.00 %"
    assert overfit.ours == "r = 10: error +10.00 points from r = 3 (10.00 to 10.00)"
    assert (best.verdict, overfit.verdict) == ("borne out", "not decided")
    # what is published of a cell is enough
    only = lambda row: iterations_report.slim(arrays(row))  # noqa: E731
    again = iterations_report.report(Results(tmp_path, scale, made, only))
    assert again == report
    assert only(made[0]).keys() == {"wrong"}


def test_what_is_lost_without_routing():
    own = [{"test_error": e, "test_error_with_1": e + d} for e, d in ((0.1, 0.01), (0.12, 0.03))]
    text = iterations_report.unrouted({"1": own, "3": own, "random": own})
    # t(0.975, 1) = 12.706, s = 1.414 points: ± 12.71
    line = "| 3 | 11.00 ± 1.41 | 13.00 ± 2.83 | +2.00 | -10.71 to 14.71 |"
    assert text.splitlines()[2:4] == [line, ""]
    assert iterations_report.unrouted({"3": own}) == ""


def test_the_rules_stand_in_the_report():
    text = verdicts.__doc__
    assert text.split("\n", 2)[2].strip().startswith("A difference between two numbers")


# --- what is measured
def small_model(iterations=2):
    torch.manual_seed(1)
    options = {"image_size": 17, "num_classes": 3, "reconstruct": False}
    model = create_model("capsnet_small", **options, routing=DynamicRouting(iterations)).eval()
    assert isinstance(model, CapsNet)
    with torch.no_grad():
        model.primary.conv.weight.mul_(20)  # so that routing has something to decide
        model.classes.weight.mul_(10)
    return model


def fixed_coupling(in_caps, out_caps, seed):
    return FixedCoupling(seed).build(in_caps, 8, out_caps, 5)


def test_routing_facts_against_scalar_loops():
    model, data = small_model(), tiny_data(30).test
    facts = look_at_routing(model, data, [1, 3])
    images, _ = data.batch(torch.arange(len(data)))
    with torch.no_grad():
        capsules = model.primary_capsules(images)
        u_hat = model.classes.votes(capsules).materialize().double().numpy()
    trace = dynamic_oracle.procedure_1(u_hat, 3)
    lengths = np.linalg.norm(trace["v"], axis=-1)
    assert facts.predictions.tolist() == lengths[[0, 2]].argmax(-1).tolist()
    c, predicted = trace["c"][1], lengths[1].argmax(-1)
    entropy, even, weighted, total = 0.0, 0.0, 0.0, 0.0
    for n, i in np.ndindex(c.shape[:2]):
        entropy -= sum(x * math.log(x) for x in c[n, i]) / math.log(3)
        length = float(capsules.activation[n, i])
        hit = c[n, i].argmax() == predicted[n]
        even, weighted, total = even + hit, weighted + hit * length, total + length
    count = c.shape[0] * c.shape[1]
    assert facts.entropy == pytest.approx(entropy / count, rel=1e-5)
    assert facts.to_prediction == pytest.approx(even / count, abs=2 / count)
    assert facts.to_prediction_by_length == pytest.approx(weighted / total, abs=2 / count)
    assert 0.3 < facts.entropy < 0.99
    assert abs(facts.to_prediction - facts.to_prediction_by_length) > 1e-3


def test_undecided_coupling_goes_to_the_prediction_by_one_part_in_j():
    facts = look_at_routing(small_model(1), tiny_data(30).test, [1])
    assert facts.entropy == pytest.approx(1)
    assert facts.to_prediction == pytest.approx(1 / 3)


def test_random_coupling_is_fixed_and_sums_to_one():
    coupling = fixed_coupling(500, 10, seed=0).coupling
    assert (coupling >= 0).all()
    torch.testing.assert_close(coupling.sum(-1), torch.ones(500))
    assert torch.equal(coupling, fixed_coupling(500, 10, seed=0).coupling)
    assert not torch.equal(coupling, fixed_coupling(500, 10, seed=1).coupling)
    # Flat over the simplex: each has the mean 1/J and the variance (J − 1) / (J² (J + 1)).
    assert coupling.var().item() == pytest.approx(9 / 1100, rel=0.1)


def test_uniform_coupling_would_be_one_iteration():
    votes = LinearVotes(torch.randn(4, 6, 8), torch.randn(6, 3, 5, 8))
    fixed = fixed_coupling(6, 3, seed=0)
    fixed.coupling.fill_(1 / 3)
    expected = dynamic_routing(votes, 1, backend="reference")
    for found, exact in zip(fixed(votes), expected):
        torch.testing.assert_close(found, exact)


def test_random_coupling_weighs_every_vote():
    votes = LinearVotes(torch.randn(2, 6, 8), torch.randn(6, 3, 5, 8))
    fixed = fixed_coupling(6, 3, seed=0)
    c, u_hat = fixed.coupling.numpy(), votes.materialize().numpy()
    for n in range(2):
        for j in range(3):
            v = oracle.squash(sum(c[i, j] * u_hat[n, i, j] for i in range(6)))
            np.testing.assert_allclose(fixed(votes).pose[n, j], v, rtol=1e-4, atol=1e-6)


def test_the_facts_of_random_coupling_are_its_own():
    model, data = with_fixed_coupling(0)(small_model()), tiny_data(30).test
    assert isinstance(model, CapsNet)
    facts = look_at_routing(model, data, [1, 3])
    assert isinstance(model.classes.routing, FixedCoupling)
    coupling = model.classes.routing.coupling.numpy()
    own = -(coupling * np.log(coupling)).sum(-1).mean() / math.log(3)
    assert facts.entropy == pytest.approx(own, rel=1e-5)


@pytest.mark.usefixtures("no_run_pictures")
def test_a_row_agrees_with_its_run(tiny, tmp_path):
    """The diagonal of the matrix is the error that the run itself measured, on each image."""
    experiment = tiny(iterations.EXPERIMENT, epochs=1, learning_rate=1e-6)  # it hardly learns
    folder, _ = reproduce(experiment, out=tmp_path / "out")
    for r in (1, 3, 10):
        row = json.loads((folder / f"cells/r{r}-seed0.json").read_text())["row"]
        result = json.loads((folder / f"runs/r{r}-seed0/result.json").read_text())
        assert row["test_error"] == pytest.approx(1 - result["held_out_accuracy"])
        assert row[f"test_error_with_{r}"] == pytest.approx(row["test_error"])
        assert row["test_error"] != row["training_error"]
        assert row["loss_gap"] == row["test_loss"] - row["training_loss"]
        model = load_model(folder / f"runs/r{r}-seed0/model")
        on_training = evaluate(model, choice(tiny_data().train, 64))
        assert row["training_loss"] == pytest.approx(on_training.classification_loss, rel=1e-5)
        assert row["training_error"] == pytest.approx(1 - on_training.accuracy)
        config = json.loads((folder / f"runs/r{r}-seed0/config.json").read_text())
        assert config["iterations"] == r
        with np.load(folder / f"cells/r{r}-seed0.npz") as arrays:
            wrong = (arrays["labels"] != arrays["predictions"]).mean()
        assert wrong == pytest.approx(row["test_error"])
        assert (folder / f"runs/r{r}-seed0/model").is_dir()
    row = json.loads((folder / "cells/random-seed0.json").read_text())["row"]
    coupling = fixed_coupling(8, 3, seed=0).coupling  # of 8 types at one place
    own = torch.special.entr(coupling).sum(-1).mean().item() / math.log(3)
    assert row["entropy"] == pytest.approx(own, rel=1e-5)
    # A saved model would route, and not be the one that was measured.
    assert not (folder / "runs/random-seed0/model").exists()


def test_images_in_colour_are_trained_without_a_decoder():
    class Stop(Exception):
        pass

    class FakeWorkbench:
        data = tiny_data(30, channels=3)

        def train(self, cell, change):
            raise Stop(cell.options, change is None)

    for name, options in (("r2", {"iterations": 2}), (iterations_report.RANDOM, {})):
        with pytest.raises(Stop) as stopped:
            iterations.compute(Cell(name, 0, options), FakeWorkbench())  # type: ignore[arg-type]
        assert stopped.value.args == ({**options, "reconstruct": False}, name == "r2")
