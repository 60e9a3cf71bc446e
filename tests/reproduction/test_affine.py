"""Networks that are followed on digits kept aside, and compared where they err equally."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reproduction.affine import experiment as affine
from reproduction.affine import matched_evaluation
from reproduction.affine import report as affine_report
from reproduction.affine.doses import changed
from reproduction.affine.matched_evaluation import MatchedEvaluation
from reproduction.harness.comparison import error_of
from reproduction.harness.experiment import Results
from reproduction.harness.pooled_cnn import PooledCNN
from reproduction.harness.report_file import setup
from reproduction.harness.run import reproduce
from tests.small_runs import tiny_data
from torchcaps.data import ImageData
from torchcaps.errors import RunStopped
from torchcaps.models import CapsNet
from torchcaps.models.summary import count_parameters
from torchcaps.training.run import Run


def test_the_papers_networks_have_about_as_many_parameters():
    with torch.device("meta"):
        caps = CapsNet(40, reconstruct=False)
        cnn = PooledCNN(40, several=False, **affine.PAPERS_CNN)
        small = CapsNet(40, reconstruct=False, **affine.SHRUNK_CAPSNET)
        small_cnn = PooledCNN(40, several=False, **affine.SHRUNK_CNN)
    assert count_parameters(caps) == pytest.approx(11.2e6, rel=0.01)
    assert count_parameters(cnn) == pytest.approx(11.7e6, rel=0.01)
    assert count_parameters(small_cnn) == pytest.approx(count_parameters(small), rel=0.1)


# --- digits changed in one way alone
def spots():
    """A bright spot of 2×2 pixels, right of and above the middle of 28×28, so many times."""
    images = torch.zeros(40, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 7:9, 19:21] = 200  # the middle of it 6 to the right, 6 up
    return ImageData(images, torch.arange(40) % 3, ("a", "b", "c"), "spots")


def middles(data):
    """(right, up) of the light of each image, from the middle."""
    light = data.images[:, 0].double()
    height, width = light.shape[1:]
    total = light.sum(dim=(1, 2))
    right = (light.sum(1) * (torch.arange(width) - (width - 1) / 2)).sum(1) / total
    up = -(light.sum(2) * (torch.arange(height) - (height - 1) / 2)).sum(1) / total
    return torch.stack([right, up], dim=1)


@pytest.mark.parametrize(
    ("cause", "dose", "places"),
    [
        ("turned", 90, [(-6, 6), (6, -6)]),  # to the left, to the right
        ("sheared", 0.5, [(9, 6), (3, 6)]),  # half a pixel a pixel up
        ("scaled", 1.5, [(9, 9)]),
        ("scaled", 0.5, [(3, 3)]),
        ("turned", 0, [(6, 6)]),
    ],
)
def test_a_dose_of_one_cause(cause, dose, places):
    found = middles(changed(spots(), cause, dose, size=40, moved=0))
    distances = (found[:, None] - torch.tensor(places, dtype=torch.float64)).abs().amax(dim=2)
    nearest = distances.min(dim=1)
    assert nearest.values.max() < 0.3
    assert set(nearest.indices.tolist()) == set(range(len(places)))  # to both sides
    moved = middles(changed(spots(), cause, dose, size=40, moved=2)) - found
    assert moved.abs().max() <= 2.01
    assert len(moved.round().unique(dim=0)) > 10


@pytest.mark.parametrize("distance", [0, 3, 10])
def test_digits_moved_by_exactly_so_many_pixels(distance):
    moved = middles(changed(spots(), "moved", distance, size=40, moved=2)) - 6
    assert (moved.abs().amax(dim=1) - distance).abs().max() < 1e-9
    if distance:
        assert len(moved.abs().argmax(dim=1).unique()) == 2
        assert len(moved.unique(dim=0)) > 8


# --- following a training
@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Follow a training whose accuracies on the digits kept aside are said beforehand.

    Of the others the first 8 are told wrongly at look 1, the first 4 at look 2, then none.
    """
    moved, transformed, placed, held_out = (tiny_data(n).train for n in (10, 20, 30, 40))

    def follow(accuracies, level, epochs=None):
        evaluation = MatchedEvaluation(
            tmp_path / "looks", level, (moved, transformed), placed, held_out, None
        )
        asked = []
        for epoch in range(len(accuracies) + 1) if epochs is None else epochs:

            def answer(model, data, epoch=epoch):
                asked.append((epoch, data))
                predictions = data.labels + (torch.arange(len(data)) < 12 - 4 * epoch)
                correct = (predictions == data.labels).double().mean().item()
                accuracy = accuracies[epoch - 1] if data is moved else correct
                return SimpleNamespace(
                    labels=data.labels, predictions=predictions, accuracy=accuracy
                )

            monkeypatch.setattr(matched_evaluation, "evaluate", answer)
            evaluation.evaluate_model(None, epoch)
        return evaluation, [epoch for epoch, data in asked if data is placed or data is held_out]

    return follow


@pytest.mark.parametrize(
    ("level", "look", "error"),
    [
        (0.9, 2, 0.1),  # a look that hits it
        (0.8, 1.75, 0.2),  # between two: (0.8 - 0.5) / (0.9 - 0.5) of the way
        (0.5, 1, 0.5),
        (0.3, 1, 0.5),  # nothing lies before the first look
    ],
)
def test_errors_at_the_level_lie_between_the_looks_beside_it(follow, level, look, error):
    evaluation, held_out = follow([0.5, 0.9, 0.4, 0.95], level=level)
    found = evaluation.matched_row
    assert found["matched_look"] == pytest.approx(look)
    assert found["matched_validation_error"] == pytest.approx(error)
    wrong = evaluation.arrays["matched_wrong"]
    assert wrong == pytest.approx(np.array([*4 * [1], *4 * [2 - look], *24 * [0]]))
    assert found["matched_affine_error"] == pytest.approx(wrong.mean())
    assert found["matched_placed_error"] == pytest.approx((4 + 4 * (2 - look)) / 24)
    assert found["matched_affnist_error"] is None
    assert held_out == ([1, 1] if look == 1 else [1, 1, 2, 2])
    assert evaluation.arrays["aside_moved"].tolist() == [0.5, 0.9, 0.4, 0.95]


def test_a_training_that_stays_below_the_level_has_no_errors_at_it(follow):
    evaluation, held_out = follow([0.5, 0.8], level=0.9)
    assert held_out == [1, 1, 2, 2]
    assert set(evaluation.matched_row.values()) == {None}
    assert set(evaluation.arrays) == {"aside_moved", "aside_transformed"}


def test_an_epoch_that_is_done_again_after_a_kill_is_looked_at_again(follow):
    evaluation, _ = follow([0.5, 0.9, 0.4], level=0.9)
    before = dict(evaluation.matched_row)
    evaluation, _ = follow([0.5, 0.9, 0.4], level=0.9, epochs=[3])
    assert evaluation.matched_row == before
    evaluation, _ = follow([0.5, 0.9, 0.4], level=0.9, epochs=[2, 3])
    assert evaluation.matched_row["matched_look"] == 2
    assert len(evaluation.arrays["aside_moved"]) == 3


# --- the experiment
@pytest.fixture
def small(tiny, no_run_pictures):
    experiment = tiny(affine.EXPERIMENT, max_shift=6)
    scale = experiment.scales["smoke"]
    object.__setattr__(scale, "level", 0.2)
    return experiment


def rows(folder):
    found = {}
    for path in sorted((folder / "cells").glob("*.json")):
        row = json.loads(path.read_text())["row"]
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            kept = {name: arrays[name].tolist() for name in arrays.files}
        found[path.stem] = {k: v for k, v in row.items() if k != "training_seconds"} | kept
    return found


@pytest.mark.parametrize("stop_at", [3, 5])  # 3 steps an epoch, two epochs a cell
def test_an_interrupted_training_gives_the_same_rows(small, tmp_path, monkeypatch, stop_at):
    whole, figures = reproduce(small, out=tmp_path / "whole")
    done: list[int] = []
    do_step = Run.do_step

    def counted(self):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        do_step(self)
        done.append(self.step)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "do_step", counted)
        with pytest.raises(RunStopped):
            reproduce(small, out=tmp_path / "cut")
    cut, again = reproduce(small, out=tmp_path / "cut")
    assert rows(cut) == rows(whole)
    assert again == figures


def test_parts_do_not_mix_and_are_looked_at_while_training(small, tmp_path, monkeypatch):
    """Digits kept aside are not trained on, held-out ones neither; the seed changes no part."""
    seen = []
    digits_of = affine.digits_of

    def watched(workbench):
        seen.append((workbench, digits_of(workbench)))
        return seen[-1][1]

    monkeypatch.setattr(affine, "digits_of", watched)
    folder, _ = reproduce(small, out=tmp_path / "out")
    workbench, digits = seen[0]
    assert all(other is digits for _, other in seen)
    learnt, aside = digits.learnt.train, digits.validation[0]
    assert len(learnt) + len(aside) == len(workbench.data.train)
    assert len(digits.validation[0]) == len(digits.validation[1]) > 0
    assert len(digits.learnt.test) == len(digits.affine) == len(workbench.data.test)
    assert learnt.image_size == digits.affine.image_size == (40, 40)
    boxes = {image.sum(dtype=torch.int64).item() for image in learnt.images}
    assert not boxes & {image.sum(dtype=torch.int64).item() for image in aside.images}
    for kept in rows(folder).values():  # three looks an epoch, of as many steps
        assert len(kept["aside_moved"]) == len(kept["aside_transformed"]) == 6
        assert kept["matched_images"] == 16 * kept["matched_look"]


def test_the_published_digits_are_found_in_the_data_folder_or_beside_it(tmp_path, monkeypatch):
    read: list[Path] = []
    digits = tiny_data().test
    monkeypatch.setattr(affine, "read_affnist", lambda path: read.append(path) or digits)
    mnist = tmp_path / "data" / "mnist"
    mnist.mkdir(parents=True)
    assert affine.published_digits(None) is affine.published_digits(mnist) is None
    beside, within = mnist.parent / "affnist", mnist / "affnist"
    for folder in (beside, within):
        folder.mkdir()
        (folder / "test.mat").touch()
        assert affine.published_digits(mnist) is digits
        assert read[-1] == folder / "test.mat"


def row(seed, affine_error, images=5000):
    kinds = {"placed": 0.01, "affine": affine_error, "affnist": None, "validation": 0.01}
    made = {f"matched_{kind}_error": value for kind, value in kinds.items()}
    return {"seed": seed, "matched_look": 3, "matched_images": images, **made}


def test_how_networks_were_matched_is_told_by_their_rows():
    old = {"cnn": [row(0, 0.3)]}
    assert "first look at which" in affine_report.how_matched(old)
    between = {**old, "r3": [{**row(0, 0.3), "matched_look": 2.4}]}
    assert "straight line" in affine_report.how_matched(between)
    assert "straight line" in affine_report.how_matched({"cnn": []})  # as this version does it


def test_the_setup_says_when_held_out_digits_were_looked_at():
    data = {"name": "mnist", "train": 5, "test": 4, "image": [1, 28, 28]}
    scale = affine.SCALES["cpu"]
    for rows, words in (
        ([row(0, 0.3)], "but once, at the level"),
        ([{**row(0, 0.3), "matched_look": 2.4}], "but at every look up to the level, which is"),
        ([{**row(0, 0.3), "matched_look": None}], "but at every look up to the level, which is"),
    ):
        assert words in str(setup(affine.EXPERIMENT, "cpu", scale, data, rows)[-1])


def test_a_share_of_a_wrong_answer_counts_as_that(tmp_path):
    """Between two looks an answer may be wrong in one of them."""
    rows = [{"cell": "cnn", "seed": seed} for seed in (0, 1)]
    arrays = {"matched_wrong": np.array([0, 0.25, 0.25, 1])}
    results = Results(tmp_path, affine.EXPERIMENT.scales["smoke"], rows, lambda row: arrays)
    assert error_of(results, "cnn", "matched_wrong").mean == pytest.approx(0.375)


def test_networks_are_compared_by_seeds_that_all_reach_the_level():
    reached = {
        "cnn": [row(0, 0.3), row(2, 0.31)],
        "r1": [row(0, 0.2), row(1, 0.21), row(2, 0.2)],
        "r3": [row(0, 0.2), row(1, 0.2), row(2, 0.2)],
    }
    assert affine_report.common_seeds(reached) == {0, 2}
    assert affine_report.common_seeds({**reached, "cnn": []}) == set()
    lines = affine_report.summaries(affine_report.COMPARISONS, {**reached, "cnn": []})
    assert len(lines) == 2
    table = affine_report.matched_table({**reached, "cnn": []})
    assert "| CNN | – | – | – | – | – |" in table
    assert (
        "| CapsNet, r = 3 | 5,000, 5,000, 5,000 | 1.00 ± 0.00 | 1.00 ± 0.00 | 20.00 ± 0.00 | – |"
        in table
    )


def test_networks_are_judged_at_the_level_where_both_come_so_far(tmp_path):
    """By their answers there and after the last epoch, over the seeds that both have."""
    draw = np.random.default_rng(0)
    answers = {
        (name, seed): {"matched_wrong": draw.random(300) < p, "wrong": draw.random(300) < 0.5}
        for name, p in (("cnn", 0.4), ("r1", 0.2), ("r3", 0.2))
        for seed in range(6)
    }
    rows = [{"cell": name, **row(seed, 0.2)} for name, seed in answers]
    rows.append({"cell": "cnn-rate0.001", "seed": 1000, "aside_error": 0.1})
    rows[0]["matched_look"] = None  # of the CNN, seed 0
    results = Results(
        tmp_path, affine.SCALES["cpu"], rows, lambda one: answers[one["cell"], one["seed"]]
    )
    found = affine_report.judged_differences(results)
    uniform, best = "CapsNet, uniform coupling (r = 1)", "CapsNet, r = 3"
    assert [(one.first, one.second) for one in found] == [
        (f"{first}, {when},", second)
        for when in ("at the level", "after the last epoch")
        for first, second in (("CNN", best), (uniform, best), ("CNN", uniform))
    ]
    assert [one.estimate.seeds for one in found] == [5, 6, 5, 6, 6, 6]
    assert [one.published for one in found] == [pytest.approx(0.13), *5 * [None]]
    ours, theirs = (
        np.mean([answers[name, s]["matched_wrong"] for s in range(1, 6)]) for name in ("cnn", "r3")
    )
    assert found[0].estimate.mean == pytest.approx(ours - theirs)
    for own in rows:
        if own["cell"] == "cnn":
            own["matched_look"] = None
    assert len(affine_report.judged_differences(results)) == 4
