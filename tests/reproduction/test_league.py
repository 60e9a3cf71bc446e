"""Every routing on one network: trials on images kept aside, then trainings at the best rate."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from reproduction.harness.crossed import Estimate
from reproduction.harness.experiment import Report, Results
from reproduction.harness.run import reproduce
from reproduction.harness.stem_cnn import StemCNN
from reproduction.harness.verdict import Difference, judge
from reproduction.league import experiment as league
from reproduction.league.entrants import CNN, ENTRANTS, LEFT_OUT, UNIFORM
from reproduction.league.report import finding, judged_by_name
from torchcaps.errors import RunStopped
from torchcaps.models import ImageCapsNet
from torchcaps.models.summary import count_parameters
from torchcaps.routing.registry import ROUTINGS
from torchcaps.training.run import Run


@pytest.fixture
def small(tiny, monkeypatch):
    """One routing beside uniform coupling; what a step costs is not measured."""
    monkeypatch.setattr(league, "step_cost", lambda *arguments: (0.1, None))
    experiment = tiny(league.EXPERIMENT, epochs=1)
    scale = dataclasses.replace(
        experiment.scales["smoke"], compared=(UNIFORM, "em"), rates=(0.001, 0.003)
    )
    return dataclasses.replace(experiment, scales={"smoke": scale})


def rows_of(folder):
    """The rows by cell, with the answers."""
    found = {}
    for path in sorted((folder / "cells").glob("*.json")):
        row = json.loads(path.read_text())["row"]
        row.pop("training_seconds", None)
        arrays = path.with_suffix(".npz")
        if arrays.exists():
            with np.load(arrays, allow_pickle=False) as file:
                row |= {name: file[name].tolist() for name in file.files}
        found[path.stem] = row
    return found


def test_every_routing_is_compared_or_left_out_for_a_reason():
    own = {name for name, kind in ROUTINGS.items() if kind.__module__.startswith("torchcaps.")}
    assert set(ENTRANTS) == own - set(LEFT_OUT) | {CNN, UNIFORM}
    assert len(own) >= 14


def test_the_cnn_has_the_stem_and_about_as_many_parameters():
    with torch.device("meta"):
        cnn, capsules = StemCNN(), ImageCapsNet(reconstruct=False)
    assert count_parameters(cnn) == pytest.approx(count_parameters(capsules), rel=0.01)
    assert count_parameters(cnn.stem) == count_parameters(capsules.stem)


@pytest.mark.parametrize(
    ("means", "seeds", "verdict", "counts"),
    [
        ({"em": -0.1, CNN: 0.1}, 5, "1 lower", "lower: 1 of 1 routings, higher: 0, not decided: 0"),
        (
            {"em": 0.1, CNN: -0.1},
            5,
            "1 higher",
            "lower: 0 of 1 routings, higher: 1, not decided: 0",
        ),
        ({"em": 0.1, "sda": 0.0}, 5, "1 higher", "higher: 1, not decided: 1"),
        ({"em": 0.1, "sda": -0.1}, 5, "1 lower, 1 higher", "lower: 1 of 2 routings, higher: 1"),
        ({"em": -0.1}, 3, "not decided (3 seeds)", "lower: 0 of 1 routings"),
    ],
)
def test_the_finding_counts_routings_and_not_the_cnn(means, seeds, verdict, counts):
    differences = [
        Difference(name, UNIFORM, Estimate(mean, 0.001, 20, seeds)) for name, mean in means.items()
    ]
    found = finding(dict(zip(means, judge(differences))))
    assert found.verdict == verdict
    assert counts in found.ours


def test_networks_are_judged_by_their_error_less_that_of_uniform_coupling(tmp_path):
    """And on transformed images by themselves."""
    few, many = np.zeros(40), np.arange(40) < 20
    wrong = {UNIFORM: (few, many), "em": (many, few)}
    rows = [{"cell": name, "seed": seed} for name in wrong for seed in range(5)]
    arrays = lambda row: dict(zip(("wrong", "affine_wrong"), wrong[row["cell"]]))  # noqa: E731
    results = Results(tmp_path, league.SCALES["smoke"], rows, arrays)
    held_out, transformed = judged_by_name(results, list(wrong), ("wrong", "affine_wrong"))
    for judged, mean, verdict in ((held_out, 0.5, "higher"), (transformed, -0.5, "lower")):
        (one,) = judged.values()
        assert (one.difference.estimate.mean, one.verdict) == (mean, verdict)
    (alone,) = judged_by_name(results, list(wrong))
    assert alone["em"].p < held_out["em"].p  # of one comparison, and of two


def test_trials_look_at_no_held_out_image_and_train_on_none_that_is_kept_aside(
    small, tmp_path, monkeypatch
):
    evaluated, learnt = [], []
    evaluate, from_config = league.evaluate, league.ImageClassification.from_config

    def seen(model, data):
        evaluated.append(data)
        return evaluate(model, data)

    def task(config, data):
        learnt.append(data.train)
        return from_config(config, data)

    monkeypatch.setattr(league, "evaluate", seen)
    monkeypatch.setattr(league.ImageClassification, "from_config", task)
    folder, _ = reproduce(small, out=tmp_path / "out")
    trials = 2 * len(small.scales["smoke"].rates)
    aside = evaluated[0]
    assert all(data is aside for data in evaluated[:trials])
    assert all(data is not aside for data in evaluated[trials:])
    assert len(evaluated) == trials + 2 * 2  # held out, and transformed
    assert len({id(data) for data in learnt}) == 1
    images = {image.numpy().tobytes() for image in aside.images}
    assert not images & {image.numpy().tobytes() for image in learnt[0].images}
    assert len(aside) == len(learnt[0]) // 2 == 21
    rows = rows_of(folder)
    for name in (UNIFORM, "em"):
        tried = [row for cell, row in rows.items() if cell.startswith(f"{name}-rate")]
        best = min(tried, key=lambda row: (row["aside_error"], row["learning_rate"]))
        assert rows[f"{name}-seed0"]["learning_rate"] == best["learning_rate"]


def test_a_rate_at_which_training_diverges_is_not_taken(small, tmp_path, monkeypatch):
    check = Run._check_finite

    def diverges(self):
        check(self)
        if self.config.learning_rate == 0.001 and self.config.routing == "em":
            raise self._diverged("the loss is not finite")

    monkeypatch.setattr(Run, "_check_finite", diverges)
    folder, _ = reproduce(small, out=tmp_path / "out")
    rows = rows_of(folder)
    assert rows["em-rate0.001-seed1000"]["aside_error"] == 1.0
    assert rows["em-seed0"]["learning_rate"] == 0.003


def test_an_interrupted_league_gives_the_same_rows(small, tmp_path, monkeypatch):
    whole, figures = reproduce(small, out=tmp_path / "whole")
    do_step = Run.do_step
    for stop_after in (3, 6):  # of two steps a cell and four trials: in a trial, in a training
        done: list[int] = []

        def counted(self, done=done, stop_after=stop_after):
            if len(done) == stop_after:
                raise KeyboardInterrupt
            do_step(self)
            done.append(self.step)

        with monkeypatch.context() as patch:
            patch.setattr(Run, "do_step", counted)
            with pytest.raises(RunStopped):
                reproduce(small, out=tmp_path / "cut")
    cut, again = reproduce(small, out=tmp_path / "cut")
    assert rows_of(cut) == rows_of(whole)
    assert again == figures


def test_a_trial_that_is_missing_is_made_where_its_rate_is_wanted(small, tmp_path):
    """As after another process was killed in it."""
    folder, _ = reproduce(small, out=tmp_path / "out")
    before = rows_of(folder)
    for name in ("em-rate0.001-seed1000", "em-seed0"):
        (folder / "cells" / f"{name}.json").unlink()
    last = league.cells(small.scales["smoke"])[-1]
    only_last = dataclasses.replace(
        small, cells=lambda scale: [last], report=lambda results: Report([], "")
    )
    reproduce(only_last, out=folder)
    assert rows_of(folder) == before
