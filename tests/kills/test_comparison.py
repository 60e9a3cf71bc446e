"""What the many kills are judged by finds every kind of damage; the kills take minutes."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.kills.__main__ import LOG, Kills
from tests.kills.work import Work, all_files, files_of_run


@pytest.fixture
def checked(tmp_path):
    """Finish what a kill left in a folder, and give what is said of it."""

    def check(left, finished, code=0, *, mends=True, files=all_files):
        kills = Kills(tmp_path, seed=0)
        straight = {"a": "1", "b": "2"}

        def start(out, log):
            out.mkdir(exist_ok=True)
            for name, text in finished.items():
                (out / name).write_text(text)
            return SimpleNamespace(finish=lambda: code, code=code)

        folder = kills.new_folder("one")
        expected = kills.new_folder("straight")
        for path, names in ((folder / "it", left), (expected, straight)):
            path.mkdir(exist_ok=True)
            for name, text in names.items():
                (path / name).write_text(text)
        work = Work("any", 1, start, files, mends=mends)
        kills.straight["any"] = files(expected)
        kills.check_finish(work, folder)
        assert kills.equal + len(kills.failed) == 1
        return kills.failed[0] if kills.failed else "equal"

    return check


WHOLE = {"a": "1", "b": "2"}


def test_what_is_finished_alike_is_equal(checked):
    assert checked({}, WHOLE) == "equal"
    assert checked({"a": "half"}, WHOLE) == "equal"  # it goes on, and mends it


@pytest.mark.parametrize(
    ("left", "finished", "said"),
    [
        ({}, {"a": "1", "b": "3"}, "one: differs in b"),
        ({}, {"a": "1"}, "one: differs in b"),
        ({"c": ""}, WHOLE, "one: differs in c"),
        ({".partial-a": ""}, WHOLE, "one: differs in .partial-a"),
    ],
)
def test_a_file_that_is_another_or_lacks_or_is_too_many_is_found(checked, left, finished, said):
    assert checked(left, finished) == said


def test_what_fails_when_it_is_gone_on_with_is_found(checked):
    assert checked({}, WHOLE, code=1) == "one: ended with 1 when it was gone on with"


def test_what_is_written_at_once_is_whole_or_not_there(checked):
    assert checked({"a": "half"}, WHOLE, mends=False) == "one: half-written: a"
    assert checked({"a": "1"}, WHOLE, mends=False) == "one: half-written: a"
    assert checked(WHOLE, WHOLE, mends=False) == "equal"
    assert checked({}, WHOLE, mends=False) == "equal"


@pytest.mark.parametrize(
    ("code", "said", "judged"),
    [
        (2, "torchcaps: a: No space left on device\n", []),
        (1, "epoch 1\ntorchcaps: the folder a cannot be written\n", []),
        (3, "torchcaps: a\n", ["ended with 3 on a full disk"]),
        (1, "Traceback (most recent call last)\n", ["ended with 1 on a full disk"]),
        (2, "torchcaps: a\ntorchcaps: b\n", ["ended with 2 on a full disk"]),
        (2, "torchcaps: a\nException ignored in: b\n", ["ended with 2 on a full disk"]),
    ],
)
def test_who_stops_on_a_full_disk_says_why_in_one_sentence(
    tmp_path, monkeypatch, code, said, judged
):
    kills = Kills(tmp_path, seed=0)
    out = kills.new_folder("one")
    (out / LOG).write_text("torchcaps: said before\n")

    def wait(seconds):
        with (out / LOG).open("a") as log:
            log.write(said)
        return True

    monkeypatch.setattr(Kills, "ended_before", lambda *arguments: False)
    process: Any = SimpleNamespace(wait=wait, finish=lambda: code)
    disk: Any = SimpleNamespace(fill=lambda: None, free=lambda: None)
    work = Work("any", 1, lambda out, log: process, all_files, full_disk=True)
    assert kills.filled(process, work, out, disk)
    assert len(kills.failed) == len(judged)
    assert all(what in sentence for what, sentence in zip(judged, kills.failed))


def test_of_a_run_only_times_and_places_may_differ(tmp_path):
    def files(seconds, loss, out, weights=b"1"):
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "metrics.csv").write_text(f"epoch,loss,seconds\n1,{loss},{seconds}\n")
        (tmp_path / "result.json").write_text(f'{{"seconds": {seconds}, "out": "{out}"}}')
        (tmp_path / "checkpoints" / "step-00000010.safetensors").write_bytes(weights)
        return files_of_run(tmp_path)

    once = files(1, 0.5, "here")
    assert files(2, 0.5, "there") == once
    assert files(1, 0.25, "here") != once
    assert files(1, 0.5, "here", b"2") != once
