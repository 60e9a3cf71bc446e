"""Atomic writes: links, what is no plain file, modes, and what a kill leaves."""

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from torchcaps import storage
from torchcaps.errors import InputError
from torchcaps.storage import atomic_path, read_json, write_bytes, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "real.txt", tmp_path / "link.txt"
    link.symlink_to("there/real.txt")
    for content in ("first", "second"):  # a link to nothing, and one to a file
        write_text(link, content)
        assert link.is_symlink()
        assert target.read_text() == content
    assert names(target.parent) == ["real.txt"]


def test_what_is_no_plain_file_is_neither_written_nor_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    monkeypatch.setattr(storage, "_begin", None)  # nothing is even begun
    for path, kind in (
        (Path("/dev/null"), "a device"),
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "link", "a pipe"),
        (tmp_path / "folder", "a folder"),
    ):
        for use in (lambda path: write_text(path, "x"), read_json):
            with pytest.raises(InputError) as caught:
                use(path)
            assert str(caught.value) == f"{path} is {kind}: name a plain file"
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_is_what_the_system_gives_without_touching_the_mask(tmp_path, monkeypatch, mask):
    before = os.umask(mask)
    try:
        # Between reading the mask and putting it back, files of other threads would be open to all.
        monkeypatch.setattr(storage.os, "umask", None)
        write_bytes(tmp_path / "a", b"x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


KILLED = """
import os, signal, sys
from torchcaps.storage import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_leaves_is_removed_by_the_next_write(tmp_path):
    write_text(tmp_path / "report.md", "old")
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "report.md"])
        assert done.returncode == -signal.SIGKILL
        assert len(names(tmp_path)) == 2  # they do not add up
        assert (tmp_path / "report.md").read_text() == "old"
    write_text(tmp_path / "other.md", "x")  # of another file: not touched
    assert len(names(tmp_path)) == 3
    write_text(tmp_path / "report.md", "new")
    assert names(tmp_path) == ["other.md", "report.md"]


def test_two_that_write_one_file_at_once_do_not_take_each_others(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the one that ended last
    errors = []

    def write(text):
        try:
            for _ in range(100):
                write_text(target, text)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert target.read_text() in {letter * 1000 for letter in "abcd"}
    assert names(tmp_path) == ["a.txt"]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    with atomic_path(tmp_path / "a.txt") as usual:
        pass
    usual.symlink_to("precious")
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.txt").read_text() == "x"
    assert not (tmp_path / "a.txt").is_symlink()


def test_long_names_and_names_that_are_not_utf8(tmp_path):
    for name in ("a" * 250 + ".txt", "b." + "c" * 250, os.fsdecode(b"\xff.txt")):
        write_text(tmp_path / name, "x")
    assert len(names(tmp_path)) == 3
    value = {"data": os.fsdecode(b"\xff/pictures"), "é": "→"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "9" * 5000, "\xff", "", '{"a": 1, "a": 2}'])
def test_whatever_is_no_json_is_a_value_error(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "gone" / "a.txt", "x")
    assert caught.value.filename == str(tmp_path / "gone" / "a.txt")


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_folder_that_cannot_be_read_or_synced_is_written(tmp_path, monkeypatch, call):
    real = getattr(os, call)
    number = errno.EACCES if call == "open" else errno.EINVAL

    def refuse(file, *arguments):
        if file == tmp_path or (isinstance(file, int) and stat.S_ISDIR(os.fstat(file).st_mode)):
            raise OSError(number, os.strerror(number))
        return real(file, *arguments)

    monkeypatch.setattr(storage.os, call, refuse)
    with storage.one_at_a_time(tmp_path):
        write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]
    number = errno.EIO  # of a disk that fails
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "a.txt", "y")


def test_where_there_are_no_locks_no_file_is_left(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for content in ("first", "second"):
        write_text(tmp_path / "a.txt", content)
        assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "second"
