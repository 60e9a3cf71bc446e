"""Two processes under torchrun give what one gives, to rounding, and speak with one voice."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from tests.small_runs import arguments_of, listing, tiny_config, tiny_data, write_npz
from torchcaps import cli
from torchcaps.training.loop import train

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def run(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*TWO, "-m", "torchcaps", "train", *arguments],
        capture_output=True, text=True, env=environment, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The run of one process that the others are compared with: 10 steps of 16 images."""
    folder = tmp_path_factory.mktemp("distributed")
    data = str(write_npz(folder / "tiny.npz", tiny_data()))
    config = tiny_config(folder / "one", data=data, precision="fp32")
    train(config)
    return config


def assert_equal_to_rounding(folder, other):
    mine, theirs = (load_file(path / "model" / "model.safetensors") for path in (folder, other))
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        # Adam divides by the size of a gradient: where that is near zero, rounding shows.
        assert (tensor - theirs[name]).abs().max() < 2e-4, name
        assert (tensor - theirs[name]).abs().mean() < 2e-6, name
    rows, others = (
        list(csv.DictReader((path / "metrics.csv").read_text().splitlines()))
        for path in (folder, other)
    )
    assert len(rows) == len(others) == 2
    for row, expected in zip(rows, others):
        for column in row.keys() - {"seconds", "images_per_second"}:
            assert float(row[column]) == pytest.approx(float(expected[column]), rel=1e-4), column


def test_two_processes_give_what_one_gives(one, tmp_path):
    arguments = arguments_of(one)
    arguments[arguments.index("--out") + 1] = str(tmp_path / "two")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr  # that no weight is without a gradient
    assert_equal_to_rounding(one.out, tmp_path / "two")
    page = {"explorer.html"}  # which the command line adds to what `train` leaves
    assert listing(tmp_path / "two").keys() == listing(one.out).keys() | page
    said = done.stdout.splitlines()
    begin = [
        "capsnet_small",
        "training images are varied",
        "cpu, fp32",
        "epoch 1/2",
        "epoch 2/2",
        "held-out",
        "balanced accuracy",
        "weights",
        "explorer:",
        "folder:",
    ]
    for once in begin:
        assert len([line for line in said if line.startswith(once)]) == 1, done.stdout
    assert len(said) == len(begin)


def test_a_run_begun_by_one_process_goes_on_with_two(one, tmp_path):
    folder = tmp_path / "resumed"
    shutil.copytree(one.out, folder)
    shutil.rmtree(folder / "model")
    (folder / "result.json").unlink()
    (folder / "run.json").unlink()  # and as if it had been killed before all of its facts
    for path in (folder / "checkpoints").glob("step-00000010.*"):
        path.unlink()
    done = run("--resume", str(folder))
    assert done.returncode == 0, done.stderr
    assert "continuing after step 8 of 10" in done.stdout
    assert_equal_to_rounding(one.out, folder)


def test_a_batch_that_cannot_be_shared_is_refused(one, tmp_path):
    arguments = arguments_of(one)
    arguments[arguments.index("--out") + 1] = str(tmp_path / "two")
    arguments[arguments.index("--batch-size") + 1] = "15"
    done = run(*arguments)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "torchcaps:" in line]
    assert said == ["torchcaps: --batch-size 15 must be a multiple of the 2 processes"]
    assert not (tmp_path / "two").exists()


def test_a_process_that_fails_alone_is_heard(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(cli.time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit):
        cli.fail("a disk of this machine alone is full")
    assert capsys.readouterr().err == "torchcaps: a disk of this machine alone is full\n"


def test_weights_that_the_loss_leaves_out_are_left_out_in_two_processes_too(one, tmp_path):
    """Self-routing's poses have no part in the loss of a network that draws nothing."""
    options = {"routing": "self_routing", "iterations": None, "learning_rate": 0.0005}
    config = replace(one, **options, reconstruct=False, out=tmp_path / "one")
    train(config)
    arguments = arguments_of(replace(config, reconstruct=None, out=tmp_path / "two"))
    done = run(*arguments, "--reconstruct", "no")
    assert done.returncode == 0, done.stderr
    assert_equal_to_rounding(config.out, tmp_path / "two")
