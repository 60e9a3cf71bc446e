"""Each variant makes its mistake and no other, and the report says what its rows say."""

import copy
import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from reproduction.harness.cell import Cell
from reproduction.harness.experiment import Report, Results
from reproduction.harness.run import reproduce
from reproduction.mistakes import experiment as mistakes
from reproduction.mistakes import report as mistakes_report
from reproduction.mistakes.measurements import (
    batch_facts,
    coupling_facts,
    shuffled,
    softmaxed_over_batch,
)
from reproduction.mistakes.mistakes import MistakenRouting, SoftmaxOverInputs
from reproduction.mistakes.variants import RIGHT, VARIANTS
from tests import oracle
from tests.small_runs import tiny_data
from torchcaps.losses import margin_loss
from torchcaps.models import CapsNet, create_model
from torchcaps.routing import dynamic_routing_trace
from torchcaps.votes import LinearVotes

TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def small_model(**options):
    """A network whose routing has something to decide."""
    torch.manual_seed(1)
    model = create_model("capsnet_small", image_size=17, num_classes=3, **options)
    assert isinstance(model, CapsNet)
    with torch.no_grad():
        model.primary.conv.weight.mul_(20)
        model.classes.weight.mul_(10)
    return model


def with_mistake(name, model=None):
    model = small_model() if model is None else model
    return VARIANTS[name].make(copy.deepcopy(model), 0)


def batch(n=6):
    images, labels = tiny_data(60).train.batch(torch.arange(n))
    return images, labels


def votes():
    return LinearVotes(torch.randn(4, 6, 8), torch.randn(6, 3, 5, 8))


def routed(name):
    """(û [B, I, J, D], c of the last iteration [B, I, J], v) by a variant's routing, r = 3."""
    model = with_mistake(name)
    sent = votes()
    routing = model.classes.routing
    return sent.materialize(), routing.trace(sent).coupling[-1], routing(sent).pose


# --- the variants
def test_without_a_mistake_the_routing_is_procedure_1():
    sent = votes()
    for found, expected in zip(MistakenRouting(3).trace(sent), dynamic_routing_trace(sent, 3)):
        torch.testing.assert_close(found, expected)
    for backend in ("cpu", "tiles"):
        with pytest.raises(ValueError, match="cannot route these votes"):
            MistakenRouting(3, backend=backend)(sent)


def test_softmax_over_inputs():
    u_hat, c, v = routed("wrong-axis")
    torch.testing.assert_close(c.sum(dim=1), torch.ones(4, 3))
    assert c.sum(dim=2).std() > 0.01
    b = torch.zeros(4, 6, 3)
    for _ in range(3):
        coupling = b.softmax(dim=1)
        s = torch.einsum("bij,bijd->bjd", coupling, u_hat)
        pose = s * s.norm(dim=-1, keepdim=True) / (1 + s.norm(dim=-1, keepdim=True) ** 2)
        b = b + torch.einsum("bijd,bjd->bij", u_hat, pose)
    torch.testing.assert_close(c, coupling, **TOLERANCE)
    torch.testing.assert_close(v, pose, **TOLERANCE)


def test_logits_averaged_over_the_batch():
    _, c, _ = routed("batch-averaged")
    torch.testing.assert_close(c, c[:1].expand_as(c))
    torch.testing.assert_close(c.sum(dim=2), torch.ones(4, 6))
    assert c.std(dim=2).min() > 1e-3
    sent = votes()
    one = LinearVotes(sent.pose[:1], sent.weight)  # alone in its batch there is nothing to average
    wrong, right = (model.classes.routing(one).pose for model in
                    (with_mistake("batch-averaged"), small_model()))  # fmt: skip
    torch.testing.assert_close(wrong, right, **TOLERANCE)


def test_squash_over_classes():
    u_hat, _, v = routed("squash-classes")
    b = torch.zeros(4, 6, 3)
    for _ in range(3):
        s = torch.einsum("bij,bijd->bjd", b.softmax(dim=2), u_hat)
        pose = torch.zeros_like(s)
        for n in range(4):
            for d in range(5):
                pose[n, :, d] = torch.from_numpy(oracle.squash(s[n, :, d].numpy()))
        b = b + torch.einsum("bijd,bjd->bij", u_hat, pose)
    torch.testing.assert_close(v, pose, **TOLERANCE)


def test_scrambled_primary_capsules():
    right = small_model()
    wrong = with_mistake("scrambled", right)
    features = torch.rand(2, 64, 20, 20)
    pose = wrong.primary(features).pose
    assert pose.shape == right.primary(features).pose.shape
    first = wrong.primary.conv(features)[1, 0].flatten()[:8].detach().numpy()
    np.testing.assert_allclose(pose[1, 0].detach(), oracle.squash(first), rtol=1e-4, atol=1e-6)


def test_weights_from_a_unit_normal():
    right = small_model()
    first, again = (with_mistake("unit-normal", right).classes.weight for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, VARIANTS["unit-normal"].make(right, 1).classes.weight)
    assert first.std().item() == pytest.approx(1, abs=0.05)
    both = with_mistake("wrong-axis-unit-normal", right)
    assert torch.equal(both.classes.weight, first)
    assert isinstance(both.classes.routing, SoftmaxOverInputs)


def losses(name):
    """An output with lengths from short to long, and a variant's losses of it."""
    wrong = with_mistake(name)
    images, labels = batch()
    with torch.no_grad():
        output = wrong(images, labels)._replace(activation=torch.rand(len(labels), 3))
    return output, wrong.loss(output, images, labels), images, labels


def test_lengths_softmaxed():
    output, found, _, labels = losses("softmaxed")
    expected = margin_loss(output.activation.softmax(dim=1), labels)
    torch.testing.assert_close(found.classification, expected)
    torch.testing.assert_close(found.total, found.classification + found.reconstruction)


def test_a_margin_without_squares():
    output, found, _, labels = losses("not-squared")
    total = 0.0
    for lengths, label in zip(output.activation.tolist(), labels.tolist()):
        for k, length in enumerate(lengths):
            total += max(0, 0.9 - length) if k == label else 0.5 * max(0, length - 0.1)
    assert found.classification.item() == pytest.approx(total / len(labels), rel=1e-5)
    torch.testing.assert_close(found.total, found.classification + found.reconstruction)


def test_a_mean_in_place_of_a_sum():
    output, found, images, labels = losses("weak-reconstruction")
    mean = (output.reconstruction - images).square().mean()
    torch.testing.assert_close(found.reconstruction, 0.0005 * mean)
    torch.testing.assert_close(found.classification, margin_loss(output.activation, labels))


@pytest.mark.parametrize("name", VARIANTS)
def test_all_begin_with_the_weights_of_the_right_one(name):
    """And answer otherwise, or have another loss, where they should."""
    right = small_model()
    if name == RIGHT:
        assert VARIANTS[name].make is None
        return
    wrong = with_mistake(name, right)
    mine, theirs = wrong.state_dict(), right.state_dict()
    assert list(mine) == list(theirs)
    different = [key for key in mine if not torch.equal(mine[key], theirs[key])]
    assert different == (["classes.weight"] if "unit-normal" in name else [])


# --- what is measured
def test_only_averaged_logits_depend_on_the_batch():
    data = tiny_data(100).test
    right = batch_facts(small_model().eval(), data, 5).row
    assert [right[f"changed_{name}"] for name in ("alone", "mixed", "by_class")] == [0, 0, 0]
    assert right["error_alone"] == right["error_together"] == right["error_by_class"]
    wrong = with_mistake("batch-averaged").eval()
    outcome = batch_facts(wrong, data, 5)
    found = outcome.row
    images, labels = data.batch(torch.arange(len(data)))
    order = shuffled(data, 0)
    together = torch.empty_like(labels)
    together[order] = torch.cat([wrong.predict(part) for part in images[order].split(5)])
    alone = torch.cat([wrong.predict(image[None]) for image in images])
    assert found["error_together"] == pytest.approx((together != labels).float().mean().item())
    assert found["error_alone"] == pytest.approx((alone != labels).float().mean().item())
    assert found["changed_alone"] == pytest.approx((alone != together).float().mean().item())
    assert outcome.arrays["wrong_together"].tolist() == (together != labels).tolist()
    assert outcome.arrays["wrong_alone"].tolist() == (alone != labels).tolist()
    order = labels.argsort(stable=True)
    by_class = torch.empty_like(labels)
    by_class[order] = torch.cat([wrong.predict(part) for part in images[order].split(5)])
    assert found["error_by_class"] == pytest.approx((by_class != labels).float().mean().item())
    assert found["changed_alone"] > 0


def test_coupling_facts():
    data = tiny_data(60).test
    right = coupling_facts(small_model().eval(), data, 5)
    for name in ("coupling_sum", "coupling_sum_low", "coupling_sum_high"):
        assert right[name] == pytest.approx(1, abs=1e-5)
    assert 0 < right["entropy"] < 1
    wrong = coupling_facts(with_mistake("wrong-axis").eval(), data, 5)
    assert wrong["coupling_sum"] == pytest.approx(3 / 8, rel=1e-5)  # of 3 classes, for 8 inputs
    assert wrong["coupling_sum_low"] < 3 / 8 < wrong["coupling_sum_high"]
    model = with_mistake("wrong-axis").eval()
    images, _ = data.batch(torch.arange(len(data)))
    with torch.no_grad():
        sent = model.classes.votes(model.primary_capsules(images))
        c = model.classes.routing.trace(sent).coupling[-1].double()
    c /= c.sum(dim=-1, keepdim=True)
    own = -(c * c.log()).sum(dim=-1).mean().item() / math.log(3)
    assert wrong["entropy"] == pytest.approx(own, rel=1e-5)
    # the same coupling by a routing of our own
    plain = small_model().eval()
    plain.classes.routing = MistakenRouting(3)
    assert coupling_facts(plain, data, 5) == pytest.approx(right, rel=1e-4)


def test_alone_everything_is_of_class_0_where_the_batch_is_softmaxed():
    lengths = torch.rand(7, 3)
    assert (softmaxed_over_batch(lengths, 1) == 0).all()
    expected = torch.cat([part.softmax(dim=0).argmax(dim=1) for part in (lengths[:4], lengths[4:])])
    assert torch.equal(softmaxed_over_batch(lengths, 4), expected)


# --- the report
def made_rows(changes, seeds):
    """Rows, all alike but for `changes`: {variant: {column: values}}."""
    rows = []
    for seed in range(seeds):
        for name in VARIANTS:
            row = {
                "cell": name, "seed": seed, "test_error": 0.01 + 0.001 * seed, "images": 10,
                "images_by_batch": 8, "error_together": 0.02, "error_alone": 0.02,
                "error_mixed": 0.02, "error_by_class": 0.02, "changed_alone": 0.0,
                "changed_mixed": 0.0, "changed_by_class": 0.0, "entropy": 0.9, "coupling_sum": 1.0,
                "coupling_sum_low": 1.0, "coupling_sum_high": 1.0, "drawing_error": 30.0,
                "mean_image_error": 50.0, "softmax_over_batch": 0.3,
                "softmax_over_batch_alone": 0.9,
            }  # fmt: skip
            more = changes.get(name, {})
            rows.append(row | {k: v[seed] if isinstance(v, list) else v for k, v in more.items()})
    return rows


# How many of the 400 images the networks of all seeds answer wrongly: the first ones.
WRONG = {"scrambled": 140, "squash-classes": 60}


def answered(row, alone=100):
    """The answers of a network; of images alone, more are wrong or fewer."""
    first = np.arange(400)
    wrong = first < WRONG.get(row["cell"], 100)
    return {"wrong": wrong, "wrong_together": first < 100, "wrong_alone": first < alone}


@pytest.fixture
def reported(tmp_path):
    def write(seeds=5, arrays=answered, **changes):
        changes = {name.replace("_", "-"): columns for name, columns in changes.items()}
        scale = dataclasses.replace(mistakes.SCALES["cpu"], rates=())
        results = Results(tmp_path, scale, made_rows(changes, seeds), arrays)
        return mistakes_report.report(results)

    return write


def test_answers_follow_the_rows(reported):
    report = reported(
        wrong_axis={"coupling_sum": 0.035},
        batch_averaged={"changed_alone": 0.4, "error_alone": 0.3},
        weak_reconstruction={"drawing_error": [51.0, 51.2, 51.4, 51.2, 51.2]},
    )
    label = {name: variant.label for name, variant in VARIANTS.items()}
    lines = {name: next(f for f in report.figures if f.startswith(f"{text}: "))
             for name, text in label.items() if name != RIGHT}  # fmt: skip
    assert report.figures[0] == "the right network: 1.20 ± 0.16 % test error"
    assert lines["wrong-axis"] == (
        "softmax over the input capsules: 1.20 ± 0.16 %, +0.00 points: not "
        "decided; the coupling of an input capsule sums to 0.035, in place of 1"
    )
    # 40 of 400 images: 10 ± 1.966 · 30.04/√400 points
    assert "+10.00 points (7.05 to 12.95): higher" in lines["scrambled"]
    assert lines["squash-classes"].endswith("-10.00 points (-12.95 to -7.05): lower")
    assert (
        "; 0.0 % of the answers change in another mixed batch, 40.0 % alone"
        in (lines["batch-averaged"])
    )
    assert "answers change" not in "".join(v for k, v in lines.items() if k != "batch-averaged")
    assert "drawing 51.2 ± 0.1, of the right network 30.0 ± 0.0" in lines["weak-reconstruction"]
    assert report.figures[-1].endswith("30.00 ± 0.00 % in batches of 64, 90.00 ± 0.00 % for an "
                                       "image alone")  # fmt: skip
    assert [finding.verdict for finding in report.findings] == [
        "not decided", "not decided", "higher"
    ]  # fmt: skip
    line = "| primary capsules reshaped without a permutation minus the right one | +10.00 | 7.05"
    assert line in report.body


def test_what_is_said_of_drawings_follows_the_rows(reported):
    body = reported().body
    assert "barely" not in body
    assert (
        "images: 30.0 of the right network, where drawing the mean training image of the " in body
    )


def test_other_answers(reported):
    report = reported(
        arrays=lambda row: answered(row, alone=150),
        weak_reconstruction={"drawing_error": [45.0, 45.2, 45.4, 45.2, 45.2]},
    )
    assert [finding.verdict for finding in report.findings] == ["not decided", "higher", "lower"]
    assert "+12.50 points (9.25 to 15.75)" in report.findings[1].ours


def test_all_differences_of_the_report_are_corrected_together(reported):
    """Images alone would be decided by themselves, at p = 0.025: 5 of 400 images are lost."""
    report = reported(arrays=lambda row: answered(row, alone=105))
    assert "+1.25 points (0.16 to 2.34)" in report.findings[1].ours
    assert report.findings[1].verdict == "not decided"
    line = "logits averaged over the batch, images alone minus the same in batches | +1.25 | 0.16"
    assert line in report.body
    assert (
        "minus the mean image of the class | -20.00 | -20.00 to -20.00 | < 0.0001 |" in report.body
    )


def test_answers_of_few_seeds_and_of_older_rows(reported):
    """They have no answers to images alone, but the shares."""
    older = lambda row: {"wrong": answered(row)["wrong"]}  # noqa: E731
    report = reported(3, older, batch_averaged={"error_alone": [0.3, 0.31, 0.32]})
    assert {found.verdict for found in report.findings} == {"not decided (3 seeds)"}
    assert "+29.00 points (26.52 to 31.48)" in report.findings[1].ours
    assert "lower" not in report.body.split("## Differences")[1].split("\n\n")[1]


@pytest.mark.usefixtures("no_run_pictures")
def test_a_row_agrees_with_its_training(tiny, tmp_path):
    names = (RIGHT, "wrong-axis", "softmaxed")  # of a routing, and of a loss
    experiment = dataclasses.replace(
        tiny(mistakes.EXPERIMENT, epochs=1),
        cells=lambda scale: [Cell(name) for name in names],
        report=lambda results: Report(["done"], "all"),
    )
    folder, _ = reproduce(experiment, out=tmp_path / "out")
    for name in names:
        row = json.loads((folder / f"cells/{name}-seed0.json").read_text())["row"]
        with np.load(folder / f"cells/{name}-seed0.npz") as arrays:
            assert arrays["wrong"].mean() == pytest.approx(row["test_error"])
        assert row["images"] == row["images_by_batch"] == 20
        assert (row["coupling_sum"] == pytest.approx(1)) == (name != "wrong-axis")
        assert ("softmax_over_batch" in row) == (name == RIGHT)
        # saved, a wrong network would be loaded as a right one
        assert (folder / f"runs/{name}-seed0/model").exists() == (name == RIGHT)


def test_a_cell_names_its_mistake():
    for name, variant in VARIANTS.items():
        assert (mistakes.change_of(Cell(name, 0)) is None) == (variant.make is None)
