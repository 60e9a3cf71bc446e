"""The folder of a run: who may begin in it, and what is tidied."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.small_runs import listing, tiny_config
from torchcaps.errors import InputError
from torchcaps.models import create_model
from torchcaps.storage import atomic_path
from torchcaps.training import run
from torchcaps.training.config import read_train_config
from torchcaps.training.loop import config_of_run
from torchcaps.training.run_folder import RunFolder
from torchcaps.training.run_lock import RunLock


def test_of_two_runs_that_begin_at_once_in_one_folder_one_is_refused(tmp_path, monkeypatch):
    tidy = RunFolder.tidy

    def slowly(folder):
        time.sleep(0.2)
        tidy(folder)

    monkeypatch.setattr(RunFolder, "tidy", slowly)
    answers: list[object] = []

    def begin():
        try:
            answers.append(RunFolder.create(tiny_config(tmp_path / "run"), "tiny").path)
        except InputError as error:
            answers.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = f"{tmp_path / 'run'} already holds a run: continue it with --resume {tmp_path / 'run'}, "
    refused = f"{said}or name another folder with --out"
    assert sorted(map(str, answers)) == sorted([str(tmp_path / "run"), refused, refused])


def test_a_saved_model_is_not_taken_for_a_run(tmp_path):
    """Neither where a run is to begin, nor where one is to go on or to lend its options."""
    run, model = tmp_path / "run", tmp_path / "run" / "model"
    RunFolder.create(tiny_config(run), "tiny")
    create_model("capsnet_small", image_size=17, num_classes=3).save_pretrained(model)
    before = listing(run)
    with pytest.raises(
        InputError, match=rf"^{model} holds a saved model, not a run: name another "
    ):
        RunFolder.create(tiny_config(model), "tiny")
    said = f"{model} holds a saved model, not a run: name its run, {run}, or begin with its weights"
    for call in (config_of_run, read_train_config):
        with pytest.raises(InputError, match=rf"^{said} by --init {model}$"):
            call(model)
    model.rename(tmp_path / "alone")
    with pytest.raises(InputError, match=r"not a run: begin with its weights by --init .*alone$"):
        config_of_run(tmp_path / "alone")
    (tmp_path / "alone").rename(model)
    assert listing(run) == before


@pytest.mark.parametrize("data", [".", "link"])
def test_a_run_does_not_begin_among_its_own_images(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    said = f"the run would lie in runs/tiny-.*, within {re.escape(data)}, the folder of its images"
    with pytest.raises(InputError, match=said):
        RunFolder.create(tiny_config(None, data=data), "tiny")
    assert not (tmp_path / "runs").exists()


def test_a_link_among_what_is_tidied_is_removed_and_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / ".partial-x").symlink_to(tmp_path / "precious")
    (folder.path / ".partial-y").symlink_to("gone")
    folder.tidy()
    assert (tmp_path / "precious" / "file").exists()
    assert [path.name for path in folder.path.iterdir()] == ["checkpoints"]
    assert not list(folder.checkpoints.iterdir())


def test_what_another_process_is_writing_is_not_tidied(tmp_path):
    folder = RunFolder(tmp_path)
    page = tmp_path / "explorer.html"
    with atomic_path(page) as partial:
        partial.write_text("half")
        (tmp_path / ".partial-left by a kill").touch()
        folder.tidy()
        assert list(tmp_path.iterdir()) == [partial]
        partial.write_text("whole")
    assert page.read_text() == "whole"


def test_of_two_who_write_in_a_run_the_second_hears_who_the_first_is(tmp_path):
    lock = RunLock(tmp_path)
    by = rf"process {os.getpid()} on {re.escape(socket.gethostname())}, since \d{{4}}-"
    with pytest.raises(InputError, match=f"the run {tmp_path} is being written by {by}"):
        RunLock(tmp_path)
    lock.release()
    RunLock(tmp_path).release()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_the_death_of_a_process_lets_go_of_its_run_though_a_child_lives(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from torchcaps.training.run_lock import RunLock\n"
        "lock = RunLock(Path(sys.argv[1]))\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(0.1); print('ready', flush=True); time.sleep(60)\n"
        "print(child, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(InputError, match=f"by process {process.pid} on"):
        RunLock(tmp_path)
    process.kill()
    process.wait()
    RunLock(tmp_path).release()
    os.kill(child, signal.SIGKILL)
    process.stdout.close()


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 500])
def test_a_lock_that_says_nothing_is_a_lock(tmp_path, content):
    lock = RunLock(tmp_path)
    lock.path.write_text(content)
    with pytest.raises(InputError, match="is being written by another process"):
        RunLock(tmp_path)
    lock.release()


@pytest.mark.parametrize("begins", [True, False], ids=["begin", "resume"])
def test_all_processes_of_a_distributed_run_hear_who_holds_it(tmp_path, monkeypatch, begins):
    """The first of them tries for the lock, and the others are told what it found."""
    said: list[object] = []

    def broadcast(objects):
        if process.is_main:
            said[:] = objects
        objects[:] = said

    monkeypatch.setattr(run, "broadcast_object_list", broadcast)
    config = tiny_config(tmp_path / "run")
    if begins:  # somebody is faster between the folder and its lock
        monkeypatch.setattr(run, "RunLock", refuse)
    else:
        RunFolder.create(config, "tiny")
        lock = RunLock(tmp_path / "run")
    for is_main in (True, False):
        process: Any = SimpleNamespace(
            is_main=is_main,
            sampler=SimpleNamespace(world=2),
            config=config,
            task=SimpleNamespace(name="tiny"),
            folder=RunFolder(tmp_path / "run"),
        )
        with pytest.raises(InputError, match="is being written by process"):
            (run.Run.begin if begins else run.Run._hold)(process)
    if not begins:
        lock.release()


def refuse(folder):
    raise InputError(f"the run {folder} is being written by process 1")


def test_a_column_that_comes_later_is_written_too(tmp_path):
    """With nothing in it for the epochs before."""
    folder = RunFolder(tmp_path)
    folder.write_metrics([{"epoch": 1, "a": 0.5}, {"epoch": 2, "b": 0.7}, {"epoch": 3, "a": 0.1}])
    assert folder.metrics.read_text() == "epoch,a,b\n1,0.5,\n2,,0.7\n3,0.1,\n"
