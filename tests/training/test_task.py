"""A task and a model of one's own, through the loop that trains images: here a recommender."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, load_model
from torch import nn

from tests import tiny_recommender
from tests.small_runs import listing, tiny_config, tiny_data, weights_of
from tests.tiny_recommender import (
    Interests,
    NextItem,
    recommender,
    recommender_config,
    tiny_sequences,
    train_or_resume_recommender,
)
from torchcaps.errors import InputError, RunStopped
from torchcaps.training import best_weights
from torchcaps.training.best_weights import load_best, save_best
from torchcaps.training.callback import Callback
from torchcaps.training.find_rate import find_learning_rate
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.loop import resume, resume_task, train, train_task
from torchcaps.training.run import Run
from torchcaps.training.task import HeldOut, StepResult, Task

STEPS = 12
NAN = float("nan")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run."""
    return train_or_resume_recommender(recommender_config(tmp_path_factory.mktemp("recommender")))


def rows(folder):
    """metrics.csv, less what a clock measured."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


def test_a_recommender_leaves_the_files_of_a_run(finished):
    assert set(listing(finished.folder)) == {
        "config.json", "run.json", "metrics.csv", "result.json", "interests.txt",
        "model/model.safetensors",
        "checkpoints/step-00000010.json", "checkpoints/step-00000010.safetensors",
        "checkpoints/step-00000012.json", "checkpoints/step-00000012.safetensors",
    }  # fmt: skip
    with (finished.folder / "metrics.csv").open(encoding="utf-8") as file:
        assert next(csv.reader(file)) == [
            "epoch", "step", "learning_rate", "loss", "hit_rate", "margin",
            "validation_hit_rate", "seconds", "users_per_second",
        ]  # fmt: skip
    result = json.loads((finished.folder / "result.json").read_text())
    assert list(result) == ["held_out_hit_rate", "weights", "epochs", "seed", "seconds"]
    assert result["held_out_hit_rate"] == finished.held_out.answers
    assert (finished.folder / "interests.txt").read_text() == f"{finished.held_out.answers} 2"
    model = Interests()
    load_model(model, finished.folder / "model" / "model.safetensors")
    with torch.no_grad():
        assert recommender()[0].hit_rate(model.eval()) == finished.held_out.answers


def test_it_learns_and_says_so(tmp_path, capsys):
    many = tiny_sequences(960)
    done = train_task(recommender_config(tmp_path, epochs=10), *recommender(many))
    assert done.held_out.answers > 0.5  # five of thirty items at random: 0.17
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Interests (")
    assert said[0].endswith("parameters) on clicks: 960 training users")
    assert said[2].startswith("epoch  1/10   loss 3.")
    assert "   hit_rate 0." in said[2]
    assert said[2].endswith(" users/s")
    assert said[-2] == f"held-out hit rate: {done.held_out.answers:.2%} after 10 epochs"
    assert said[-1] == "weights: of the last of 10 epochs"


@pytest.mark.parametrize("step", [1, 3, 6, 7, 11])
def test_going_on_after_a_stop_gives_the_same_bits(finished, tmp_path, monkeypatch, step):
    do_step = Run.do_step

    def and_stop(self):
        do_step(self)
        if self.step == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "do_step", and_stop)
    how = rf"go on with: resume_task\('{tmp_path}', task, model\)"
    with pytest.raises(RunStopped, match=f"stopped after step {step} of {STEPS}, and saved; {how}"):
        train_task(recommender_config(tmp_path), *recommender())
    torch.rand(3)
    task, model = recommender()
    nn.init.zeros_(model.items.weight)  # the weights come from the checkpoint
    assert resume_task(tmp_path, task, model).held_out == finished.held_out
    assert weights_of(tmp_path) == weights_of(finished.folder)
    assert rows(tmp_path) == rows(finished.folder)


def test_training_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    train_task(recommender_config(tmp_path, epochs=1), *recommender())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_happens_after_a_step_is_done_before_its_checkpoint(tmp_path):
    """So that a kill in between undoes both."""
    seen = []

    def look(run):
        saved = [int(path.stem[5:]) for path in run.folder.checkpoints.glob("step-*.json")]
        seen.append((run.step, max(saved, default=0)))

    task, model = recommender()
    run = Run(recommender_config(tmp_path), task, model, after_step=look)
    run.begin()
    run.prepare()
    for _ in range(6):
        run.do_step()
    run.close_epoch(1)
    run.do_step()
    assert seen == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 6)]


def test_two_processes_give_what_one_gives(tmp_path):
    """A task may call any method of its model: here `scores`, beside the forward pass."""
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    path = os.pathsep.join(part for part in sys.path if part)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    # Without dropout, whose units are drawn by each process for itself.
    command = (
        "import sys, runpy, torch; torch.nn.Dropout.forward = lambda self, x: x; "
        f"sys.argv = ['x', sys.argv[1]]; runpy.run_path({tiny_recommender.__file__!r}, "
        "run_name='__main__')"
    )
    script = tmp_path / "script.py"
    script.write_text(command)
    for launcher, out in (([sys.executable], "one"), (two, "two")):
        done = subprocess.run(
            [*launcher, str(script), str(tmp_path / out)],
            capture_output=True, text=True, env=environment, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out hit rate") == 1
    one, other = (
        load_file(tmp_path / out / "model" / "model.safetensors") for out in ("one", "two")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=2e-4)
    for row, expected in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        for column in ("loss", "hit_rate", "margin"):
            assert float(row[column]) == pytest.approx(float(expected[column]), rel=1e-3)


LEFT_OUT = """
import sys
from pathlib import Path
import torch
from torch import nn
from torchcaps.training.config import TrainConfig
from torchcaps.training.loop import train_task
from torchcaps.training.task import StepResult, Task


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.used, self.measured, self.unused = (nn.Linear(1, 1) for _ in range(3))


class Line(Task):
    name, examples_per_epoch, measures = "line", 32, ("other",)

    def describe_data(self):
        return {"name": "line", "train": 32}

    def batch(self, step, sampler):
        return sampler.indices(step).float()[:, None] / 32

    def losses(self, model, x, precision):
        loss = (model.used(x) - 2 * x).square().mean()
        return StepResult(loss, {"other": model.measured(x).mean()})


config = TrainConfig(
    epochs=2, batch_size=16, learning_rate=0.1, weight_decay=0.5, threads=1, out=Path(sys.argv[1])
)
train_task(config, Line(), Net())
"""


def test_two_processes_wait_for_no_gradient_that_one_would_not_have(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LEFT_OUT)
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    weights = []
    for launcher, out in (([], "one"), (two, "two")):
        done = subprocess.run(
            [sys.executable, *launcher, str(script), str(tmp_path / out)],
            capture_output=True, text=True, env=environment, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        weights.append(load_file(tmp_path / out / "model" / "model.safetensors"))
    one, other = weights
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-5, atol=1e-6)
    for row, expected in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        assert float(row["other"]) == pytest.approx(float(expected["other"]))


# --- what does not fit
@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A run that was stopped after its third step."""
    with monkeypatch.context() as patch:
        do_step = Run.do_step

        def and_stop(self):
            do_step(self)
            if self.step == 3:
                signal.raise_signal(signal.SIGINT)

        patch.setattr(Run, "do_step", and_stop)
        with pytest.raises(RunStopped):
            train_task(recommender_config(tmp_path / "run"), *recommender())
    return tmp_path / "run"


def test_changed_data_are_refused(interrupted):
    other = recommender(tiny_sequences(seed=9))
    with pytest.raises(InputError, match=r"began with \(clicks, 96 training users\)"):
        resume_task(interrupted, *other)


def test_another_model_is_refused(interrupted):
    task, _ = recommender()
    with pytest.raises(InputError, match="of another model than the given one: give the task and"):
        resume_task(interrupted, task, Interests(interests=4))


def test_other_measures_are_refused(interrupted):
    task, model = recommender()
    task.measures = ("hit_rate",)
    with pytest.raises(InputError, match="of another model than the given one: give the task and"):
        resume_task(interrupted, task, model)


def test_the_command_line_does_not_take_it_for_images(interrupted):
    with pytest.raises(InputError, match=r"the data are not those .* \(clicks, 96 training"):
        resume(interrupted, tiny_data())


def test_too_few_examples(tmp_path):
    with pytest.raises(InputError, match="there are 96 training users, fewer than one batch"):
        train_task(recommender_config(tmp_path / "run", batch_size=97), *recommender())
    assert not (tmp_path / "run").exists()


def test_data_that_are_not_described(tmp_path):
    task, model = recommender()
    task.describe_data = lambda: {"name": "clicks"}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="describe_data must give name and train, got"):
        train_task(recommender_config(tmp_path), task, model)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    class Bad(NextItem):
        def losses(self, model, batch, precision):
            result = super().losses(model, batch, precision)
            return result._replace(loss=result.loss * float("nan"))

    with pytest.raises(RunStopped, match="the loss is not finite at step 1, so"):
        train_task(recommender_config(tmp_path), Bad(tiny_sequences()), Interests())
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "elsewhere/items.bin"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
def test_what_a_task_cannot_read_is_not_blamed_on_the_folder(tmp_path, error):
    class Broken(NextItem):
        def batch(self, step, sampler):
            if step == 7:
                raise error
            return super().batch(step, sampler)

    config = replace(recommender_config(tmp_path), checkpoint_every=5)
    with pytest.raises(RunStopped, match="; its last checkpoint is whole: see to it") as stopped:
        train_task(config, Broken(tiny_sequences()), Interests())
    assert str(stopped.value).startswith(f"the run has stopped ({error}); its last checkpoint")
    assert stopped.value.__cause__ is error


# --- the example of the documentation, the least that a task is, and images as a task
def test_the_example_of_the_documentation_runs(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", "import torch; torch.manual_seed(0)\n" + example],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on clicks: 800 training users" in done.stdout
    *_, rate, weights, said = done.stdout.splitlines()
    assert weights == "weights: of the last of 3 epochs"
    assert rate.startswith("held-out hit rate: ")
    assert said == "True"
    assert (tmp_path / "clicks" / "model" / "model.safetensors").is_file()


class Constant(Task[nn.Linear, torch.Tensor]):
    """Nothing but what has no default."""

    name = "constant"
    examples_per_epoch = 32

    def describe_data(self):
        return {"name": "noise", "train": 32}

    def batch(self, step, sampler):
        return sampler.indices(step).float()[:, None]

    def losses(self, model, batch, precision):
        return StepResult(model(batch / 32).square().mean(), {})


def test_a_task_of_four_members(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = replace(recommender_config(tmp_path), out=None)
    done = train_task(config, Constant(), nn.Linear(1, 1))
    assert done.folder.parent.name == "runs"
    assert done.folder.name.startswith("constant-")
    assert list(rows(done.folder)[0]) == ["epoch", "step", "learning_rate", "loss"]
    assert "Linear (2 parameters) on noise: 32 training examples" in capsys.readouterr().out
    assert list(json.loads((done.folder / "result.json").read_text())) == [
        "weights", "epochs", "seed", "seconds",
    ]  # fmt: skip


def test_images_are_a_task_like_others(tmp_path, no_pictures):
    """`train` is this and nothing more."""
    from torchcaps.training.build import build_model

    config = tiny_config(tmp_path / "task", validation=0.25, augment="digits")
    by_name = train(replace(config, out=tmp_path / "name"), tiny_data())
    task = ImageClassification(tiny_data(), "mine", validation=0.25, max_shift=2)
    done = train_task(config, task, build_model(config, task.training))
    assert weights_of(done.folder) == weights_of(by_name.folder)
    assert rows(done.folder) == rows(by_name.folder)
    assert torch.equal(done.held_out.answers.activation, by_name.held_out.activation)


# --- what is measured after an epoch
class Scored(Constant):
    """What `validate` gives, epoch by epoch."""

    score: str | None = "score"

    def __init__(self, *measured):
        self.measured = list(measured)

    def validate(self, model, precision):
        return self.measured.pop(0)


def scored_config(folder, **options):
    return replace(
        recommender_config(folder), batch_size=16, **{"epochs": 4, "keep": "best", **options}
    )


def weights_said(folder):
    return json.loads((folder / "result.json").read_text())["weights"]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ((NAN, 0.5, 0.6, 0.1), "of epoch 3 of 4, the best by score"),
        ((0.7, NAN, 0.6, None), "of epoch 1 of 4, the best by score"),
        ((None, 0.5, None, 0.6), "of epoch 4 of 4, the best by score"),
        ((None, NAN, None, NAN), "of the last of 4 epochs, none of which has a score"),
    ],
)
def test_an_epoch_without_a_score_is_never_the_best(tmp_path, scores, said):
    task = Scored(*({"score": score} for score in scores))
    train_task(scored_config(tmp_path), task, nn.Linear(1, 1))
    assert weights_said(tmp_path) == said


def test_an_epoch_without_a_score_is_no_progress(tmp_path):
    task = Scored(*({"score": score} for score in (0.5, None, NAN, 0.9)))
    train_task(scored_config(tmp_path, patience=2), task, nn.Linear(1, 1))
    assert weights_said(tmp_path) == "of epoch 1 of 3, stopped early, the best by score"


def test_a_score_that_is_not_measured_is_named(tmp_path):
    with pytest.raises(InputError, match=r"^the score of the task is 'score', and its validate g"):
        train_task(scored_config(tmp_path), Scored({"accuracy": 0.5}), nn.Linear(1, 1))
    task = Scored()
    task.score = None
    with pytest.raises(InputError, match=r"in a task of your own set Task\.score to a column"):
        train_task(scored_config(tmp_path / "another"), task, nn.Linear(1, 1))
    assert not (tmp_path / "another").exists()


@pytest.mark.parametrize("name", ["loss", "epoch", "step", "examples_per_second", "margin"])
def test_two_columns_of_one_name_are_refused(tmp_path, name):
    task = Scored({name: 0.5})
    task.measures = ("margin",)
    task.losses = lambda model, batch, precision: StepResult(  # type: ignore[method-assign]
        model(batch).square().mean(), {"margin": torch.tensor(1.0)}
    )
    with pytest.raises(InputError, match=f"gave '{name}', and metrics.csv has another column of"):
        train_task(scored_config(tmp_path / "run", keep="last"), task, nn.Linear(1, 1))
    task.measures = ("margin", name)
    with pytest.raises(InputError, match=f"has a measure called '{name}', and metrics.csv another"):
        train_task(scored_config(tmp_path / "next", keep="last"), task, nn.Linear(1, 1))
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize(("which", "said"), [(0, "a loss"), (1, "margin")])
def test_what_losses_give_are_tensors(tmp_path, which, said):
    def losses(model, batch, precision):
        loss, margin = (
            value.item() if which == number else value
            for number, value in enumerate([model(batch).square().mean(), torch.tensor(1.0)])
        )
        return StepResult(loss, {"margin": margin})

    task = Scored({"score": 0.5})
    task.measures = ("margin",)
    task.losses = losses  # type: ignore[method-assign]
    with pytest.raises(TypeError, match=f"gave {said} as a float; expected a tensor"):
        train_task(scored_config(tmp_path), task, nn.Linear(1, 1))


def test_what_validate_gives_are_numbers(tmp_path):
    with pytest.raises(InputError, match="gave 'score' as a Tensor; expected a number, or None"):
        train_task(scored_config(tmp_path), Scored({"score": torch.tensor(0.5)}), nn.Linear(1, 1))
    with pytest.raises(InputError, match="gave 'score' as a str; expected a number, or None"):
        train_task(scored_config(tmp_path / "text"), Scored({"score": "good"}), nn.Linear(1, 1))
    task = Scored(*({"score": np.float32(score)} for score in (0.5, 0.25, 0.125, 0.5)))
    train_task(scored_config(tmp_path / "numpy"), task, nn.Linear(1, 1))
    assert [row["score"] for row in rows(tmp_path / "numpy")] == ["0.5", "0.25", "0.125", "0.5"]


def test_columns_of_some_epochs_alone(tmp_path):
    config = scored_config(tmp_path, keep="last", epochs=3)
    train_task(config, Scored({}, {"f1": 0.5}, {}), nn.Linear(1, 1))
    assert [row["f1"] for row in rows(tmp_path)] == ["", "0.5", ""]
    resume_task(tmp_path, Scored({"other": 1.0}), nn.Linear(1, 1), epochs=4)
    assert [row["f1"] for row in rows(tmp_path)] == ["", "0.5", "", ""]
    assert rows(tmp_path)[3]["other"] == "1.0"


def test_the_best_of_an_earlier_checkpoint_can_be_gone_back_to(tmp_path):
    """The epochs after it may turn out otherwise, as under the schedule of a longer run."""
    config = scored_config(tmp_path, checkpoint_every=100)
    model = nn.Linear(1, 1)
    kept: list[torch.Tensor] = []

    class Keep(Callback):
        def on_epoch(self, run, row):
            kept.append(run.model.weight.detach().clone())

    scores = ({"score": score} for score in (0.1, 0.5, 0.2, 0.9))
    train_task(config, Scored(*scores), model, callbacks=[Keep()])
    earlier = tmp_path / "checkpoints" / "step-00000006.safetensors"
    later = Scored(*[{"score": 0.3}] * 3)
    resume_task(earlier, later, nn.Linear(1, 1), epochs=6)
    assert weights_said(tmp_path) == "of epoch 2 of 6, the best by score"
    assert torch.equal(load_file(tmp_path / "model" / "model.safetensors")["weight"], kept[1])


def test_weights_that_no_checkpoint_would_go_back_to_are_removed(tmp_path):
    scores = ({"score": score} for score in (0.1, 0.2, 0.3, 0.4))
    train_task(scored_config(tmp_path), Scored(*scores), nn.Linear(1, 1))
    names = {path.stem for path in (tmp_path / "checkpoints").glob("best*")}
    assert names == {"best", "best-00000003"}


def test_a_kill_amid_writing_the_best_loses_none(tmp_path, monkeypatch):
    folder, models = tmp_path, [nn.Linear(1, 1) for _ in range(3)]
    save_best(folder, models[0], 1)
    with monkeypatch.context() as patch:  # killed before its record
        patch.setattr(best_weights, "write_json", lambda path, record: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_best(folder, models[1], 2)
    found = nn.Linear(1, 1)
    load_best(folder, found, 1)
    assert torch.equal(found.weight, models[0].weight)
    save_best(folder, models[2], 2)
    for epoch, expected in ((1, models[0]), (2, models[2])):
        load_best(folder, found, epoch)
        assert torch.equal(found.weight, expected.weight)


def test_result_json_is_json(tmp_path):
    class Measured(Constant):
        def measure_held_out(self, model, config):
            rates = [0.5, NAN, np.float32("inf")]
            return HeldOut(result={"rate": NAN, "by_class": {"rates": rates}, "n": 3})

    train_task(scored_config(tmp_path, keep="last"), Measured(), nn.Linear(1, 1))
    found = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    assert (found["rate"], found["by_class"], found["n"]) == (None, {"rates": [0.5, None, None]}, 3)


def test_a_result_that_would_be_lost_is_refused(tmp_path):
    class Measured(Constant):
        def measure_held_out(self, model, config):
            return HeldOut(result={"epochs": 77})

    with pytest.raises(InputError, match=r"result has 'epochs', and result\.json another field of"):
        train_task(scored_config(tmp_path, keep="last"), Measured(), nn.Linear(1, 1))


def test_tied_weights_are_trained_and_go_on(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(1, 1), nn.Linear(1, 1)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x)) - 3

    class Kill(Callback):
        def on_step(self, run):
            if run.step == 5:
                raise KeyboardInterrupt

    model: Any = Tied  # `Constant` says that it trains a layer
    scores = [{"score": score} for score in (0.1, 0.9, 0.2, 0.3)]
    train_task(scored_config(tmp_path / "one"), Scored(*scores), model())
    config = scored_config(tmp_path / "two")
    with pytest.raises(RunStopped):
        train_task(config, Scored(*scores), model(), callbacks=[Kill()])
    resume_task(tmp_path / "two", Scored(*scores[2:]), model())
    assert weights_of(tmp_path / "two") == weights_of(tmp_path / "one")


# --- what a process had before
@pytest.mark.parametrize("call", [train_task, find_learning_rate])
def test_threads_and_random_numbers_are_given_back(tmp_path, call):
    model, threads = nn.Linear(1, 1), torch.get_num_threads()
    had = torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        call(scored_config(tmp_path, keep="last", threads=1), Constant(), model)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), had)
    finally:
        torch.set_num_threads(threads)
