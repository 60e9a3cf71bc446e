"""A disk that is really full: one sentence, nothing half-written, and on it goes with room.

`make kills` fills one at random moments; here it is full from the start, or nearly.
"""

import os
import shutil
import subprocess

import pytest
from PIL import Image

from tests.cli.test_bad_input import one_sentence
from tests.kills.small_disk import SmallDisk, why_no_mount
from tests.small_runs import arguments_of, listing, tiny_config, weights_of
from torchcaps.training.checkpoint import find_checkpoint

SIZE = 80 * 2**20  # a checkpoint takes 14 MB, and the run keeps two


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A small disk; the current folder is another."""
    monkeypatch.chdir(tmp_path)
    if os.geteuid() != 0 or why_no_mount() is not None:
        pytest.skip(why_no_mount() or "root alone may mount a small disk without `unshare`")
    try:
        small = SmallDisk(tmp_path / "disk", SIZE)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing may be mounted here ({error})")
    yield small
    small.remove()


def left_on(disk):
    """What lies on the disk, but for what fills it."""
    return {name for name in listing(disk.folder) if name != disk.ballast.name}


COMMANDS = {
    "explore": ["explore", "{run}", "--out", "{disk}/explorer.html", "--no-open"],
    "export": ["export", "{run}", "--to", "pt2", "--out", "{disk}/model.pt2"],
    "predict, a table": ["predict", "{run}", "{images}/a.png", "--to", "{disk}/a.csv"],
    "predict, a picture": ["predict", "{run}", "{images}/a.png", "--out", "{disk}/drawn"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_written_whole_or_not_at_all(torchcaps, trained, tmp_path, disk, command):
    Image.new("L", (17, 17), 200).save(tmp_path / "a.png")
    places = {"run": trained / "run", "disk": disk.folder, "images": tmp_path}
    arguments = [word.format(**places) for word in COMMANDS[command]]
    disk.fill(0 if command == "predict, a table" else 8192)  # at the first write, or in between
    message = one_sentence(torchcaps(*arguments))
    assert str(disk.folder) in message
    assert "No space left on device" in message
    assert not left_on(disk)
    disk.free()
    assert torchcaps(*arguments).code == 0
    assert len(left_on(disk)) == 1


@pytest.mark.parametrize("leave", [0, 4096, 8192, 20 * 2**20])
def test_a_run_begins_or_goes_on_once_there_is_room(torchcaps, trained, disk, leave):
    out = disk.folder / "run"
    config = tiny_config(
        out, data=str(trained / "tiny.npz"), epochs=3, precision="fp32", max_shift=0
    )
    arguments = ["train", *arguments_of(config)]
    disk.fill(leave)
    begun = leave > 8192
    message = one_sentence(torchcaps(*arguments), code=1 if begun else 2)
    assert str(out) in message
    assert "No space left on device" in message
    assert not any(".partial-" in name or ".lock" in name for name in left_on(disk))
    if begun:
        assert f"torchcaps train --resume {out}" in message
        arguments = ["train", "--resume", out]
        if leave > 2**24:
            assert find_checkpoint(out).step == 2
            assert "No space left on device" in one_sentence(torchcaps(*arguments), code=1)
    disk.free()
    assert torchcaps(*arguments).code == 0
    assert weights_of(out) == weights_of(trained / "run")


def test_who_resumes_on_a_full_disk_loses_nothing(torchcaps, trained, disk, unfinished):
    out = disk.folder / "run"
    shutil.copytree(unfinished, out)
    before = listing(out)
    disk.fill()
    message = one_sentence(torchcaps("train", "--resume", out))
    assert f"{out / 'config.json'}: No space left on device" in message
    assert listing(out) == before
    disk.free()
    assert torchcaps("train", "--resume", out).code == 0
    assert weights_of(out) == weights_of(trained / "run")
