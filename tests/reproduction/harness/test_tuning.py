"""Rates that are tried on images kept aside: for every experiment by the same code."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from reproduction.harness.cell import Cell, Outcome
from reproduction.harness.experiment import Experiment, Finding, Report, Results
from reproduction.harness.registry import EXPERIMENTS
from reproduction.harness.run import reproduce
from reproduction.harness.scale import Scale
from reproduction.harness.tuning import trial_part, tuned_cells, tuning_differs
from reproduction.harness.workbench import Workbench
from reproduction.publish import all_published, publish
from tests.small_runs import tiny_data
from torchcaps.errors import InputError, RunStopped
from torchcaps.training.config import TrainConfig

NETWORKS: dict[str, dict[str, Any]] = {"a": {"iterations": 1}, "b": {"learning_rate": 0.5}}
COMPARED = (
    "affine", "cifar-loss", "efficiency", "iterations", "league", "mistakes", "multimnist",
    "table1",
)  # fmt: skip


def test_every_experiment_that_compares_networks_tries_as_many_rates_for_each():
    for name in COMPARED:
        for scale in EXPERIMENTS[name].scales.values():
            cells = EXPERIMENTS[name].cells(scale)
            networks = {cell.network for cell in cells if cell.trial_of is None}
            if len(networks) == 1:  # nothing is compared
                continue
            assert len(scale.rates) >= 2
            for network in networks:
                tried = [c.options["learning_rate"] for c in cells if c.trial_of == network]
                assert tried == list(scale.rates), f"{name}: {network}"
            assert {cell.seed for cell in cells if cell.trial_of} == {1000}
            assert tuning_differs(scale) in EXPERIMENTS[name].differs(scale)
        assert EXPERIMENTS[name].scales["cpu"].seeds >= 5
        assert EXPERIMENTS[name].scales["paper"].seeds >= 5


def test_cells_of_trials_come_first():
    scale = Scale(1, 2, rates=(0.1, 0.2))
    cells = tuned_cells(NETWORKS, scale)
    assert [cell.key for cell in cells[:4]] == [
        "a-rate0.1-seed1000", "a-rate0.2-seed1000", "b-rate0.1-seed1000", "b-rate0.2-seed1000"
    ]  # fmt: skip
    assert cells[2].options == {"learning_rate": 0.1}
    assert [cell.key for cell in cells[4:]] == ["a-seed0", "b-seed0", "a-seed1", "b-seed1"]
    assert len(tuned_cells(NETWORKS, Scale(1, 2))) == 4


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An experiment without training, whose error at a rate is known; and what it was given."""
    errors = {("a", 0.1): 0.3, ("a", 0.2): 0.2, ("b", 0.1): 0.25, ("b", 0.2): 0.25}
    monkeypatch.setattr("reproduction.harness.workbench.load", lambda name, data_dir: tiny_data(90))
    given: list[tuple[Cell, Workbench]] = []

    def compute(cell, workbench):
        given.append((cell, workbench))
        error = errors[cell.network, cell.options["learning_rate"]]
        if error is None:
            raise RunStopped("the loss is not finite", exit_code=1)
        return Outcome({"test_error": error, "images": len(workbench.data.test), "more": 1})

    scale = Scale(1, 1, TrainConfig(data="tiny", epochs=1, batch_size=8), rates=(0.1, 0.2))
    experiment = Experiment(
        name="toy", about="Toy.", scales={"smoke": scale},
        cells=lambda scale: tuned_cells(NETWORKS, scale), compute=compute,
        report=lambda results: Report(
            [], "\n\n".join(trial_part(results, {"a": "A", "b": "B"}))
        ),
        differs=lambda scale: ["all"],
    )  # fmt: skip
    return SimpleNamespace(experiment=experiment, given=given, errors=errors, out=tmp_path / "out")


def row(toy, key):
    return json.loads((toy.out / "cells" / f"{key}.json").read_text())["row"]


def test_the_best_rate_is_taken_and_recorded(toy):
    folder, _ = reproduce(toy.experiment, out=toy.out)
    assert row(toy, "a-rate0.2-seed1000") == {
        "learning_rate": 0.2, "aside_error": 0.2, "images": len(tiny_data(90).train) // 3
    }  # fmt: skip
    assert row(toy, "a-seed0")["learning_rate"] == 0.2
    assert row(toy, "b-seed0")["learning_rate"] == 0.1  # of equal ones the smallest
    compared = {cell.key: cell.options for cell, _ in toy.given if cell.trial_of is None}
    assert compared["a-seed0"] == {"iterations": 1, "learning_rate": 0.2}
    assert compared["b-seed0"] == {"learning_rate": 0.1}
    text = (folder / "report.md").read_text()
    assert "| A | 30.00 | 20.00 | 0.2 |" in text
    assert "| B | 25.00 | 25.00 | 0.1 |" in text
    assert "so that a better one may lie beyond it: A; B." in text


def test_a_rate_at_an_edge_of_those_tried_is_named(toy):
    toy.errors |= {("a", 0.05): 0.4, ("b", 0.05): 0.4, ("b", 0.1): 0.3}
    toy.errors |= {("a", 0.1): 0.1}
    scale = dataclasses.replace(toy.experiment.scales["smoke"], rates=(0.05, 0.1, 0.2))
    experiment = dataclasses.replace(toy.experiment, scales={"smoke": scale})
    folder, _ = reproduce(experiment, out=toy.out)
    text = (folder / "report.md").read_text()
    assert "so that a better one may lie beyond it: B." in text


def test_a_trial_sees_no_held_out_image_and_no_training_sees_those_kept_aside(toy):
    reproduce(toy.experiment, out=toy.out)
    pixels = {
        kind: [
            tuple({image.numpy().tobytes() for image in part.images} for part in workbench.data)
            for cell, workbench in toy.given
            if (cell.trial_of is not None) == (kind == "trials")
        ]
        for kind in ("trials", "compared")
    }
    held_out = {image.numpy().tobytes() for image in tiny_data(90).test.images}
    (learnt, aside) = pixels["trials"][0]
    assert pixels["trials"] == [(learnt, aside)] * 4
    assert pixels["compared"] == [(learnt, held_out)] * 2
    assert not learnt & aside
    assert not held_out & (learnt | aside)


@pytest.mark.parametrize("aside", [100, 1000])
def test_so_many_images_are_kept_aside(toy, aside):
    scale = dataclasses.replace(toy.experiment.scales["smoke"], aside=aside)
    bench = Workbench(None, scale, None, None)
    whole = tiny_data(9 * aside)
    bench.whole = whole
    assert len(bench.for_trials.data.test) == pytest.approx(aside, abs=2)
    assert len(bench.data.train) + len(bench.for_trials.data.test) == len(whole.train)
    assert bench.data.test is whole.test
    plain = Workbench(None, dataclasses.replace(scale, rates=()), None, None)
    plain.whole = whole
    assert plain.data is whole


def test_what_was_kept_aside_may_be_learnt_once_the_rates_are_chosen(toy):
    scale = dataclasses.replace(toy.experiment.scales["smoke"], aside=20, learn_aside=True)
    bench = Workbench(None, scale, None, None)
    bench.whole = tiny_data(90)
    assert bench.data is bench.whole
    trial = bench.for_trials.data
    assert len(trial.train) + len(trial.test) == len(bench.whole.train)
    learnt = {image.numpy().tobytes() for image in trial.train.images}
    assert not any(image.numpy().tobytes() in learnt for image in trial.test.images)
    assert "20 of the training images" in tuning_differs(scale)
    assert "then learnt from" in tuning_differs(scale)


def test_a_trial_may_be_shorter_than_a_training():
    scale = Scale(1, 2, TrainConfig(epochs=9), rates=(0.1, 0.2), trial_epochs=3)
    cells = tuned_cells({"a": {"iterations": 1}}, scale)
    assert [cell.options.get("epochs") for cell in cells] == [3, 3, None, None]
    assert "A trial has 3 epochs and one seed" in tuning_differs(scale)


def test_a_rate_at_which_training_diverges_is_the_worst(toy):
    toy.errors["a", 0.2] = None
    reproduce(toy.experiment, out=toy.out)
    assert row(toy, "a-rate0.2-seed1000") == {"learning_rate": 0.2, "aside_error": 1.0}
    assert row(toy, "a-seed0")["learning_rate"] == 0.1


def diverging(toy, *keys):
    """The same experiment, in which the loss of some trainings is not finite."""

    def compute(cell, workbench):
        toy.given.append((cell, workbench))
        if cell.key in keys:
            raise RunStopped("the loss is not finite at step 7", exit_code=1)
        return Outcome({"test_error": 0.5, "images": 1})

    found = [Finding("it is claimed", "1", "2", "lower")]
    return dataclasses.replace(
        toy.experiment,
        compute=compute,
        report=lambda results: Report([f"{len(results.of('a'))} seeds"], "all", found),
    )


def test_a_training_that_diverges_is_named_and_not_begun_again(toy, tmp_path, monkeypatch):
    experiment = diverging(toy, "b-seed1")
    folder, figures = reproduce(experiment, out=toy.out, seeds=3)
    assert figures[0].startswith("diverged, and without a row: b-seed1. Seeds from the first of")
    assert figures[1] == "1 seeds"  # seed 2 of all is there, and not taken
    assert {cell.key for cell, _ in toy.given} >= {"a-seed2", "b-seed2"}
    assert "- diverged, and without a row: b-seed1." in (folder / "report.md").read_text()
    assert "the loss is not finite at step 7" in (folder / "diverged" / "b-seed1.json").read_text()
    toy.given.clear()
    assert reproduce(experiment, out=toy.out, seeds=3)[1] == figures
    assert toy.given == []
    monkeypatch.setitem(EXPERIMENTS, "toy", experiment)
    copy = publish(folder, tmp_path / "results")
    (one,) = all_published(tmp_path / "results")
    report = one.report(tmp_path)
    assert report.figures == figures
    assert report.findings[0].verdict == "lower (without trainings that diverged)"
    assert (copy / "diverged" / "b-seed1.json").is_file()


def test_without_a_whole_seed_there_is_no_report(toy, monkeypatch):
    with pytest.raises(RunStopped, match=r"no seed is whole: diverged a-seed0 .why: ") as stopped:
        reproduce(diverging(toy, "a-seed0"), out=toy.out, seeds=2)
    assert stopped.value.exit_code == 1
    assert not (toy.out / "report.md").exists()
    monkeypatch.setitem(EXPERIMENTS, "toy", toy.experiment)
    with pytest.raises(InputError, match="out has no whole seed, since a-seed0 diverged"):
        publish(toy.out, toy.out.parent / "results")


def test_a_trial_that_is_interrupted_is_no_trial(toy, monkeypatch):
    def stops(cell, workbench):
        raise RunStopped("stopped", exit_code=130)

    experiment = dataclasses.replace(toy.experiment, compute=stops)
    with pytest.raises(RunStopped):
        reproduce(experiment, out=toy.out)
    assert not list((toy.out / "cells").glob("*.json"))


def test_another_column_may_choose(toy):
    def compute(cell, workbench):
        return Outcome({"test_error": 0.5, "other": -cell.options["learning_rate"]})

    reproduce(dataclasses.replace(toy.experiment, compute=compute, tuned_by="other"), out=toy.out)
    assert row(toy, "a-seed0")["learning_rate"] == 0.2


def test_the_data_of_the_folder_are_those_before_any_were_kept_aside(toy):
    reproduce(toy.experiment, out=toy.out)
    facts = json.loads((toy.out / "experiment.json").read_text())["data"]
    assert facts["train"] == len(tiny_data(90).train)


def test_more_seeds_than_the_trials_leave_are_refused(toy):
    with pytest.raises(InputError, match="--seeds must be at most 1000, got 1001"):
        reproduce(toy.experiment, seeds=1001, out=toy.out)


def test_without_rates_there_are_no_trials(tmp_path):
    results = Results(tmp_path, Scale(1), [], lambda row: {})
    assert trial_part(results, {"a": "A"}) == []
    assert tuning_differs(Scale(1)).startswith("Learning rates were not tuned")
