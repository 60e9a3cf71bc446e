"""What `iterations` measures, and that its answers follow the numbers."""

import dataclasses
import json
import math
from typing import cast

import numpy as np
import pytest
import torch

from reproduction.harness.cell import Cell
from reproduction.harness.crossed import Estimate
from reproduction.harness.experiment import Results
from reproduction.harness.fixed_coupling import FixedCoupling, with_fixed_coupling
from reproduction.harness.folder import ExperimentFolder
from reproduction.harness.routing_facts import look_at_routing
from reproduction.harness.run import reproduce
from reproduction.harness.scale import Scale, published_training
from reproduction.harness.verdict import Difference, judge
from reproduction.harness.workbench import Workbench, choice
from reproduction.iterations import experiment as iterations
from reproduction.iterations import report as iterations_report
from reproduction.iterations import verdicts
from reproduction.iterations.report import judged_together, left_out
from reproduction.iterations.trend import slope, trend_part, trend_sentence, trends
from reproduction.iterations.verdicts import (
    best_at_three,
    closer,
    deciding,
    gap_differences,
    having_learned,
    overfitting,
)
from reproduction.publish import RESULTS, read
from tests import oracle
from tests.routing.oracles import dynamic as dynamic_oracle
from tests.small_runs import tiny_data
from torchcaps.errors import InputError
from torchcaps.models import CapsNet, create_model, load_model
from torchcaps.routing import DynamicRouting, dynamic_routing
from torchcaps.training.metrics import evaluate
from torchcaps.votes import LinearVotes


def judged(**errors):
    """{r: error less that of r = 3} from r3=10, r5=12, …, in thousandths, with five seeds.

    The standard error is a tenth of a thousandth, so that every difference but zero is one.
    """
    others = {int(name[1:]): error for name, error in errors.items() if name != "r3"}
    differences = [
        Difference(f"r = {r}", "r = 3", Estimate((error - errors["r3"]) / 1000, 1e-4, 20, 5))
        for r, error in others.items()
    ]
    return dict(zip(others, judge(differences)))


def gaps(**values):
    """{r: rows of five seeds} with gaps between the losses about these."""
    return {
        int(name[1:]): [
            {"seed": s, "loss_gap": gap + 0.1 * s, "test_error": 0.9 if name == "r10" else 0.1}
            for s in range(5)
        ]
        for name, gap in values.items()
    }


def on_overfitting(judged, rows):
    """The claim, with the gaps judged."""
    wider, fits = judged_together(gap_differences(rows), closer(rows))
    return overfitting(judged, wider, fits, rows)


# --- all r at once
def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    values = {r: rng.normal(size=(2, 3)) for r in (1, 2, 3, 5, 7, 10)}
    for seed in range(2):
        for image in range(3):
            column = [values[r][seed, image] for r in values]
            expected = np.polyfit(np.log2(list(values)), column, 1)[0]
            assert math.isclose(slope(values)[seed, image], expected)


def trended(step, seeds=5, images=400, fails=()):
    """Trends where each doubling of r makes so many of a hundred images more wrong; all of them
    where a training, named by seed and r, fails."""
    rng = np.random.default_rng(0)
    rows = {r: [{"seed": s, "r": r, "test_error": 0.9 if (s, r) in fails else 0.2,
                 "test_loss": 0.1 + 0.001 * rng.random(),
                 "loss_gap": 0.01 * math.log2(r) + 0.001 * rng.random()} for s in range(seeds)]
            for r in (1, 2, 4, 8)}  # fmt: skip
    hard = np.linspace(0, 1, images)

    class Answers:
        def arrays(self, row):
            share = 0.2 + step / 100 * math.log2(row["r"])
            if (row["seed"], row["r"]) in fails:
                share = 0.9
            return {"wrong": hard + 0.02 * np.sin(row["seed"] * np.arange(images)) < share}

    return judged_together(trends(cast(Results, Answers()), rows, ("wrong",)))[0]


def test_a_trend_rises_or_falls_or_is_not_decided():
    for step, word in ((4, "rises"), (-4, "falls"), (0, "not decided")):
        judged = trended(step)
        (sentence,) = trend_sentence(judged)
        assert sentence.endswith(word), sentence
        assert "| test loss less training loss | +0.01" in trend_part(judged)
    change = trended(4)["test error"].difference.estimate
    assert abs(change.mean - 0.04) < 0.01
    assert change.low < 0.04 < change.high
    assert trend_sentence(trended(4, seeds=3))[0].endswith("not decided (3 seeds)")
    assert trends(cast(Results, None), {3: []}, ("wrong",)) == {}
    assert trend_part({}) == ""


def test_a_training_at_chance_bends_one_line_and_not_the_other():
    judged = trended(2, fails=[(0, 8)])
    bent, straight = trend_sentence(judged, " (at chance in 1 of 20 trainings)")
    assert bent.endswith(": not decided (at chance in 1 of 20 trainings)")
    assert "test error, without trainings at chance, changes by +1.97 points" in straight
    assert straight.endswith("rises")
    assert judged["test error, without trainings at chance"].difference.estimate.seeds == 5


def test_seeds_that_not_every_r_has_are_left_out():
    row = {"seed": 0, "test_loss": 1.0, "loss_gap": 0.0, "test_error": 0.1}
    assert trends(cast(Results, None), {1: [row], 2: []}, ()) == {}


def test_pictures_leave_out_trainings_at_chance_and_say_so():
    failed, fine = {"test_error": 0.9}, {"test_error": 0.1}
    kinds = {"1": [fine, fine], "3": [fine, failed], "10": [failed], "random": [failed, fine, fine]}
    learned = {kind: having_learned(rows) or rows for kind, rows in kinds.items()}
    assert learned == {"1": [fine, fine], "3": [fine], "10": [failed], "random": [fine, fine]}
    assert left_out(kinds, learned) == (
        "The pictures leave out trainings at chance: 1 of 2 with r = 3, 1 of 3 with random "
        "coupling. The tables do not."
    )
    assert left_out(kinds, kinds) == ""


def test_what_is_learned_depends_on_the_classes():
    """An error of 0.9 is better than chance for a hundred classes, and of 0.5 not for two."""
    many = {"test_error": 0.9, "one_class_error": 0.99}
    two = {"test_error": 0.5, "one_class_error": 0.5}
    older = {"test_error": 0.89}
    assert having_learned([many, two, older]) == [many]
    assert having_learned([two | {"test_error": 0.48}, older | {"test_error": 0.88}])


@pytest.mark.usefixtures("no_run_pictures")
def test_a_row_says_what_one_class_for_all_images_errs(tiny, tmp_path):
    experiment = tiny(iterations.EXPERIMENT, epochs=1)
    scale = dataclasses.replace(experiment.scales["smoke"], iterations=(3,))
    experiment = dataclasses.replace(experiment, scales={"smoke": scale})
    folder, _ = reproduce(experiment, out=tmp_path / "out")
    row = json.loads((folder / "cells/r3-seed0.json").read_text())["row"]
    with np.load(folder / "cells/r3-seed0.npz") as arrays:
        counts = np.bincount(arrays["labels"])
    assert row["one_class_error"] == pytest.approx(1 - counts.max() / counts.sum())


def test_what_is_drawn_has_learned(monkeypatch, tmp_path):
    """Of the published trainings on few images, four of r = 7 have not."""
    drawn = []
    for name in ("draw_errors", "draw_coupling", "draw_matrix"):
        monkeypatch.setattr(iterations_report, name, lambda kinds, *_, **__: drawn.append(kinds))
    report = read(RESULTS / "iterations-few").report(tmp_path)
    assert len(drawn) == 3
    for kinds in drawn:
        assert {kind: len(rows) for kind, rows in kinds.items() if len(rows) != 10} == {"7": 6}
    assert "leave out trainings at chance: 4 of 10 with r = 7." in report.body


# --- the two answers
def test_three_is_best():
    claim = best_at_three(judged(r1=15, r2=13, r3=10, r10=12))
    assert claim.sentence == "“3 is best”: borne out. Every other r errs more than r = 3."


def test_three_is_not_best():
    claim = best_at_three(judged(r1=15, r2=8, r3=10, r10=12))
    assert claim.sentence == "“3 is best”: contradicted. r = 2 errs less than r = 3."


def test_three_cannot_be_told_apart():
    claim = best_at_three(judged(r1=15, r2=10, r3=10, r10=12))
    assert claim.answer == "not decided"
    assert "No r surely errs less than r = 3; r = 1, 10 err more; r = 2 cannot" in claim.sentence
    # t(0.975, 20) = 2.086, of 0.01 points
    assert "the errors differ by -0.02 to +0.02 points" in claim.sentence


def test_few_seeds_decide_nothing():
    for seeds, said in ((1, "not decided (1 seed)"), (4, "not decided (4 seeds)")):
        error = 1e-4 if seeds > 1 else math.inf
        differences = [Difference(f"{r}", "3", Estimate(0.1, error, 3, seeds)) for r in (1, 10)]
        made = dict(zip((1, 10), judge(differences)))
        rows = {r: own[:seeds] for r, own in gaps(r1=1, r3=1, r10=9).items()}
        for claim in (best_at_three(made), on_overfitting(made, rows)):
            assert claim.answer == said
            assert ("one seed has no spread" in claim.sentence) == (seeds == 1)


@pytest.mark.parametrize(
    ("errors", "losses", "answer", "words"),
    [
        ((10, 12, 13), (10, 11, 12), "borne out", "r = 5, 10 err more, with a wider gap"),
        ((10, 12, 13), (10, 10, 9), "not decided", "r = 5, 10 err more, but without a wider"),
        ((10, 10, 13), (10, 10, 12), "borne out", "r = 10 errs more, with a wider gap"),
        ((10, 8, 10), (10, 12, 12), "contradicted", "r = 5 errs less than r = 3"),
        ((10, 8, 13), (10, 12, 12), "not decided", "r = 10 errs more, with a wider gap"),
        ((10, 10, 10), (10, 12, 12), "not decided", "r = 5, 10 cannot be told apart from r = 3"),
        ((10, 8, 10), (-2, -2, -2), "not decided", "no network with r = 3 or more surely has a "),
        ((10, 8, 10), (-2, -2, 1), "contradicted", "r = 5 errs less than r = 3"),
        ((10, 10, 900), (1, 1, 1), "not decided", "loss (at chance in 5 of 5 trainings)"),
    ],
)
def test_overfitting(errors, losses, answer, words):
    names = ("r3", "r5", "r10")
    claim = on_overfitting(judged(**dict(zip(names, errors))), gaps(**dict(zip(names, losses))))
    assert claim.answer == answer
    assert f"overfit”: {answer}. " in claim.sentence
    assert words in claim.sentence


def test_that_there_is_nothing_to_overfit_is_said_where_no_gap_is_above_zero():
    """Large gaps of too few seeds are not none."""
    same = judged(r3=10, r10=10)
    below = on_overfitting(same, gaps(r3=-2, r10=-2)).sentence
    assert below.endswith("and none has on average: there is nothing to overfit.")
    few = {r: rows[:3] for r, rows in gaps(r3=9, r10=9).items()}
    for open_ in (few, gaps(r3=-2, r10=-0.1)):
        sentence = on_overfitting(same, open_).sentence
        assert "nothing to overfit" not in sentence
        assert sentence.endswith("and whether any network overfits is not decided.")


def test_the_deciding_number_of_iterations():
    assert deciding(judged(r3=10, r5=12, r7=8, r10=30)) == 7
    assert deciding(judged(r1=90, r3=10, r5=12, r10=30)) == 10
    assert deciding(judged(r3=10, r5=10, r10=10)) == 10


def test_without_more_iterations_nothing_is_said_of_them():
    fewer = judged(r1=15, r3=10)
    assert deciding(fewer) is None
    claim = on_overfitting(fewer, gaps(r1=1, r3=1))
    assert claim.answer == "not decided"
    assert claim.sentence.endswith(": not decided. No r above 3 was trained.")
    assert best_at_three(fewer).answer == "borne out"
    for claim in (best_at_three({}), on_overfitting({}, gaps(r3=1))):
        assert claim.answer == "not decided"
    assert best_at_three({}).sentence == "“3 is best”: not decided. No other r was trained."


def test_fewer_iterations_are_no_matter_of_overfitting():
    claim = on_overfitting(judged(r1=90, r3=10, r10=10), gaps(r1=90, r3=1, r10=1))
    assert "r = 1 " not in claim.sentence


# --- the report
def test_the_report_follows_its_rows(tmp_path):
    """Ten held-out images; r = 10 gets image 0 wrong that r = 3 has right, for all seeds."""
    kept, made = {}, []
    labels = np.arange(10) % 3
    for cell, r, wrong in (("r3", 3, [9]), ("r10", 10, [9, 0]), ("random", None, [1, 2, 3])):
        for seed in range(5):
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
    scale = Scale(1, 5, published_training(), iterations=(3, 10))
    arrays = lambda row: kept[row["cell"], row["seed"]]  # noqa: E731
    report = iterations_report.report(Results(tmp_path, scale, made, arrays))
    assert report.figures[0].startswith("lowest mean test error: r = 3, 10.00 ± 0.00 %; r = 3: ")
    assert "random coupling: 30.00 ± 0.00 %" in report.figures[0]
    # of ten images one differs, always the same: 10 ± t(0.975, 9) · 10 points; p 0.34, but six
    # times that by Holm: of eight comparisons two are surer
    line = "| r = 10 minus r = 3 | +10.00 | -12.62 to 32.62 | 1 | not decided |"
    assert line in report.body
    assert "| 10 | 20.00 ± 0.00 | 0.00 to 50.16 | 25.00 ± 0.00 |" in report.body
    best, overfit = report.findings
    assert best.ours == "r = 3: 10.00 ± 0.00 %, least at r = 3: 10.00 ± 0.00 %"
    assert overfit.ours == "r = 10: error +10.00 points from r = 3 (-12.62 to 32.62)"
    assert (best.verdict, overfit.verdict) == ("not decided", "not decided")
    # what is published of a cell is enough
    only = lambda row: iterations_report.slim(arrays(row))  # noqa: E731
    again = iterations_report.report(Results(tmp_path, scale, made, only))
    assert again == report
    assert only(made[0]).keys() == {"wrong"}


def test_images_that_nobody_used_are_judged_by_themselves(tmp_path):
    """Of them r = 10 gets 30 of 100 wrong and r = 3 none; of the held-out ones both get one."""
    kept, made = {}, []
    for cell, wrong in (("r3", 0), ("r10", 30), ("random", 0)):
        for seed in range(5):
            of_unused = np.arange(100) < wrong
            kept[cell, seed] = {"wrong": np.arange(10) == 4, "unused_wrong": of_unused}
            numbers = dict.fromkeys(
                ("test_loss", "training_error", "training_loss", "loss_gap", "entropy",
                 "to_prediction", "to_prediction_by_length", "seconds_per_step", "test_error",
                 "test_error_with_3", "test_error_with_10"), 0.1,
            )  # fmt: skip
            own = {"iterations": 3, "images": 10, "unused_error": wrong / 100}
            made.append({"cell": cell, "seed": seed, **numbers, **own})
    scale = Scale(1, 5, published_training(), iterations=(3, 10), unused=True)
    arrays = lambda row: iterations_report.slim(kept[row["cell"], row["seed"]])  # noqa: E731
    body = iterations_report.report(Results(tmp_path, scale, made, arrays)).body
    held_out, unused = body.split("neither trainings nor trials used", maxsplit=1)
    assert "| r = 10 minus r = 3 | +0.00 |" in held_out
    # 30 ± t(0.975, 99) · √(0.3 · 0.7 / 99) points
    assert "| r = 10 minus r = 3 | +30.00 | 20.86 to 39.14 | < 0.0001 | higher |" in unused
    assert "| 10 | 30.00 ± 0.00 |" in unused
    # the claims are answered on both
    report = iterations_report.report(Results(tmp_path, scale, made, arrays))
    best, overfit, best_of_unused, overfit_of_unused = report.findings
    assert (best.verdict, overfit.verdict) == ("not decided", "not decided")
    assert best_of_unused.claim == "Three routing iterations are best (on unused training images)"
    assert best_of_unused.verdict == "borne out"
    assert best_of_unused.ours == "r = 3: 0.00 ± 0.00 %, least at r = 3: 0.00 ± 0.00 %"
    assert overfit_of_unused.ours == "r = 10: error +30.00 points from r = 3 (20.86 to 39.14)"
    assert overfit_of_unused.verdict == "not decided"  # the gap of the losses is the same
    said = "\n".join(report.figures)
    assert "\n“3 is best”: not decided. No r surely errs less than r = 3; r = 10 cannot be" in said
    assert "\non unused training images: “3 is best”: borne out. Every other r errs more" in said


def test_all_comparisons_of_a_report_are_one_family(tmp_path):
    """Of few images r = 10 errs more than r = 3 by its own test, not among all that are asked."""
    body = read(RESULTS / "iterations-few").report(tmp_path).body
    one = next(
        line for line in body.splitlines() if line.startswith("| r = 10 minus r = 3 | +0.27")
    )
    # By itself 0.0048; of 29 comparisons 18 are surer, so that it counts 11 times.
    assert one == "| r = 10 minus r = 3 | +0.27 | 0.09 to 0.45 | 0.053 | – | – | – | not decided |"


@pytest.mark.usefixtures("no_run_pictures")
def test_what_is_unused_was_seen_by_nobody(tiny, tmp_path):
    experiment = tiny(iterations.EXPERIMENT, epochs=1, rates=(0.01,))
    scale = dataclasses.replace(experiment.scales["smoke"], images=30, unused=True, iterations=(3,))
    experiment = dataclasses.replace(experiment, scales={"smoke": scale})
    folder, _ = reproduce(experiment, out=tmp_path / "out")
    row = json.loads((folder / "cells/r3-seed0.json").read_text())["row"]
    with np.load(folder / "cells/r3-seed0.npz") as arrays:
        wrong = arrays["unused_wrong"]
    assert len(wrong) == len(tiny_data().train) - 30
    assert row["unused_error"] == pytest.approx(wrong.mean())
    bench = Workbench(ExperimentFolder(folder), scale, None, None)
    used = (*bench.data.train.images, *bench.for_trials.data.test.images)
    seen = {x.numpy().tobytes() for x in used}
    assert len(seen) == 30
    assert not seen & {x.numpy().tobytes() for x in bench.unused.images}
    assert len(bench.unused) == len(wrong)
    assert "neither trainings nor trials used" in (folder / "report.md").read_text()


def test_where_no_image_is_left_that_nobody_used_is_said_before_anything_is_trained(tiny, tmp_path):
    experiment = tiny(iterations.EXPERIMENT)
    scale = dataclasses.replace(experiment.scales["smoke"], images=1000, unused=True)
    experiment = dataclasses.replace(experiment, scales={"smoke": scale}, compute=pytest.fail)
    with pytest.raises(InputError, match="takes 1,000 training images and looks at others, and"):
        reproduce(experiment, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_lost_by_other_numbers_of_iterations():
    own = [{"test_error": e, "test_error_with_1": e + d} for e, d in ((0.1, 0.01), (0.12, 0.03))]
    text = iterations_report.evaluated_otherwise({"1": own, "3": own, "random": own}, 1)
    # t(0.975, 1) = 12.706, s = 1.414 points: ± 12.71
    line = "| 3 | 11.00 ± 1.41 | 13.00 ± 2.83 | +2.00 | -10.71 to 14.71 |"
    assert text.splitlines()[2:] == [line]
    assert iterations_report.ends((1, 2, 10)) == [1, 10]
    assert iterations_report.ends((3,)) == [3]


def test_the_rules_stand_in_the_report():
    text = verdicts.__doc__
    assert text.split("\n", 2)[2].strip().startswith("The error of each number")


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


def test_the_published_difference_has_its_published_spread(tmp_path):
    """Of 0.29 ± 0.011 and 0.25 ± 0.005 %."""
    one = read(RESULTS / "iterations-few")
    results = Results(tmp_path, one.scale, one.rows, one.folder.arrays)
    kinds = {kind: results.of(iterations_report.cell_of(kind)) for kind in ("1", "2", "3")}
    (by_kind,) = iterations_report.differences_by_kind(results, kinds)
    assert by_kind["1"].published == pytest.approx(0.0004)
    assert by_kind["1"].published_error == pytest.approx(math.hypot(0.00011, 0.00005))
    assert by_kind["2"].published is None
