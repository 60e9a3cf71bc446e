"""Exact resume: a run killed at any moment ends with the weights of one that was left alone."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.killed_runs import child, train_or_resume_images
from tests.small_runs import arguments_of, listing, tiny_config, tiny_data, weights_of, write_npz
from tests.tiny_recommender import recommender_config, train_or_resume_recommender
from torchcaps.training.loop import train

KILLS = int(os.environ.get("TORCHCAPS_KILLS", "14"))  # `make kills` does a thousand
# Before a process is forked. The optimiser imports the second, and the first step what is last.
LOADED = ["tests.killed_runs", "torch._dynamo", "tests.tiny_recommender", "tests.warm_kernels"]
# Steps 2, 4, 5, 6, 8 and 10 are saved; the third save is the first that deletes an old one.
MOMENTS = [
    ("written", "run.json", 1),  # before the first step
    ("half-written", "*.safetensors", 1),  # there is no whole checkpoint yet
    ("renamed", "step-*.safetensors", 3),  # tensors without a record
    ("half-written", "*.json", 5),  # a record
    ("renamed", "step-*.json", 3),  # three checkpoints lie there
    ("removed", "step-*.json", 1),  # tensors whose record is gone
    ("written", "metrics.csv", 2),
    ("renamed", "step-00000010.json", 1),  # all steps done
    ("written", "model.safetensors", 1),  # the model, without its weights
    ("renamed", "model.safetensors", 1),
    ("written", "confusion.png", 1),
    ("written", "result.json", 1),
]
# For a second kill, of the process that goes on: in its first save, and in its last.
AGAIN = [("half-written", "*.safetensors", 1), ("written", "result.json", 1)]


class Runs:
    """Processes forked from one that has imported torch, so that each starts in milliseconds."""

    def __init__(self, folder, config, train_or_resume):
        self.folder = folder
        self.train_or_resume = train_or_resume
        self.context = multiprocessing.get_context("forkserver")
        assert all(map(find_spec, LOADED))  # what is not there is left out silently
        self.context.set_forkserver_preload(LOADED)
        self.config = config
        self.log = folder / "events"

    def start(self, out, moment=None):
        """Begin the run in `out`, or go on with it; whether it was killed before its end."""
        self.log.unlink(missing_ok=True)
        process = self.context.Process(
            target=child,
            args=(self.train_or_resume, replace(self.config, out=out), moment, self.log),
        )
        process.start()
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL)
        assert (process.exitcode == 0) == self.log.exists()
        return process.exitcode != 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    config = tiny_config(folder, data=str(write_npz(folder / "tiny.npz", tiny_data())))
    return Runs(folder, config, train_or_resume_images)


def test_killed_runs_end_with_the_bits_of_an_uninterrupted_one(runs, capsys):
    assert not runs.start(runs.folder / "first")  # may compile loops, which counts as events too
    straight = runs.folder / "straight"
    runs.log.unlink()
    assert not runs.start(straight)
    events = int(runs.log.read_text())
    draw = np.random.default_rng(2017)
    moments: list[tuple[Any, ...]] = [*MOMENTS[:KILLS]]
    while len(moments) < KILLS:  # anywhere in the run
        moments.append(("event", int(draw.integers(1, events))))
    kills = killed_twice = 0
    for number, moment in enumerate(moments):
        out = runs.folder / f"run-{number}"
        assert runs.start(out, moment), f"the run ended before {moment}"
        kills += 1
        if number % 3 == 2:
            again = AGAIN[number % 2]
            assert runs.start(out, again), f"the run ended before {again}, after {moment}"
            kills += 1
            killed_twice += 1
        if (out / "config.json").exists():
            assert not (out / "result.json").exists()
        assert not runs.start(out)
        assert weights_of(out) == weights_of(straight), f"other weights after a kill at {moment}"
        # No temporary file is left; of checkpoints one more, where no save came after the kill.
        extra = listing(out).keys() - listing(straight).keys()
        assert listing(straight).keys() <= listing(out).keys()
        assert extra <= {f"checkpoints/step-00000006.{kind}" for kind in ("json", "safetensors")}
    assert kills >= KILLS
    with capsys.disabled():
        print(
            f"\n{kills} kills of {len(moments)} runs ({killed_twice} killed twice): "
            f"{len(moments)} finishes with the same bits"
        )


def test_a_task_of_ones_own_that_is_killed_ends_with_the_bits_of_an_uninterrupted_run(tmp_path):
    """A recommender: nothing of exact resume is about images."""
    runs = Runs(tmp_path, recommender_config(tmp_path), train_or_resume_recommender)
    assert not runs.start(tmp_path / "straight")
    moments = [
        ("written", "run.json", 1),
        ("half-written", "*.safetensors", 1),
        ("renamed", "step-*.safetensors", 3),
        ("renamed", "step-00000012.json", 1),
        ("written", "model.safetensors", 1),
        ("written", "result.json", 1),
        *(("event", int(runs.log.read_text()) * part // 7) for part in (2, 4, 6)),
    ]
    for number, moment in enumerate(moments):
        out = tmp_path / f"run-{number}"
        assert runs.start(out, moment), f"the run ended before {moment}"
        assert not (out / "result.json").exists()
        assert not runs.start(out)
        assert weights_of(out) == weights_of(tmp_path / "straight"), moment
        assert listing(tmp_path / "straight").keys() <= listing(out).keys()


def test_a_process_killed_from_outside_goes_on_from_the_command_line(tmp_path):
    data = str(write_npz(tmp_path / "tiny.npz", tiny_data()))
    config = tiny_config(tmp_path / "run", data=data, epochs=4)
    command = [sys.executable, "-m", "torchcaps", "train"]
    run = subprocess.Popen([*command, *arguments_of(config)], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("run/checkpoints/step-*.json")):
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert not (tmp_path / "run" / "result.json").exists()
    done = subprocess.run(
        [*command, "--resume", str(tmp_path / "run")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "continuing after step" in done.stdout
    assert "held-out accuracy" in done.stdout
    straight = train(replace(config, out=tmp_path / "straight"))
    assert weights_of(tmp_path / "run") == weights_of(straight.folder)
