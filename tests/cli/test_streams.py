"""What commands print, where the stream has few characters, is closed, full, or has no reader."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_runs import arguments_of, tiny_config
from torchcaps.cli import exit_after
from torchcaps.cli.streams import one_line
from torchcaps.errors import InputError
from torchcaps.explorer import SHIPPED

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "reconstructions.png"
MODULE = [sys.executable, "-m", "torchcaps"]


def command(trained, tmp_path, name):
    """A command that prints characters beyond ASCII."""
    if name == "train":
        config = tiny_config(tmp_path / "run", data=str(trained / "tiny.npz"), epochs=1)
        return ["train", *arguments_of(config)]
    return ["train", "--help"]


def call(arguments, **options):
    """In a process of its own, with a real standard output."""
    environment = {**os.environ, **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*MODULE, *arguments], env=environment, check=False, **options)


@pytest.mark.parametrize(("name", "encoding"), [("train", "ascii"), ("help", "cp1252")])
def test_a_stream_of_few_characters(trained, tmp_path, name, encoding):
    done = call(command(trained, tmp_path, name), env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode(encoding)
    assert "\\u" not in said
    if name == "train":
        assert f"seed 0 -> {tmp_path / 'run'}" in said
        assert "(1x17x17, 3 classes)" in said
        assert (tmp_path / "run" / "result.json").exists()


def test_json_stays_json_on_a_stream_of_few_characters(tmp_path):
    images = ["é→😀.png", str(shutil.copy(PICTURE, tmp_path / "é→😀.png"))]
    arguments = ["predict", SHIPPED, *images, "--json", "--pictures", "no"]
    done = call(arguments, env={"PYTHONIOENCODING": "ascii"})
    assert b"\\u00e9->\\ud83d\\ude00.png cannot be read" in done.stderr
    assert json.loads(done.stdout)[1]["image"] == images[1]


CLOSED = "exec {python} -m torchcaps {arguments} {how}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("how", [">/dev/full 2>/dev/full", ">&- 2>&-", "| true"])
def test_training_does_not_die_of_its_display(trained, tmp_path, how):
    arguments = " ".join(f"'{word}'" for word in command(trained, tmp_path, "train"))
    line = CLOSED.format(python=sys.executable, arguments=arguments, how=how)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["held_out_images"] == 24
    for path in (tmp_path / "run").rglob("*.json"):
        json.loads(path.read_text())  # nothing was printed into a file


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output_is_called_that(trained):
    with open("/dev/full", "w") as full:
        done = call(["eval", trained / "run"], stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "torchcaps: standard output cannot be written: No space left on device\n"
    )


def test_messages_are_one_line(capsys):
    trace = (
        "damaged\nException raised from load at a.cpp:7 (most recent call first):\nframe #0: f()"
    )

    def fail():
        raise InputError(f"a\x1b[2Jb\r\n  c\u2028d\x00 é→ \udcff ({trace}): copy it again")

    with pytest.raises(SystemExit):
        exit_after(fail)
    said = capsys.readouterr().err
    assert said == "torchcaps: a\\x1b[2Jb c d\\x00 é→ \\udcff (damaged\n"
    assert one_line("plain words, 12 345 and “quotes”") == "plain words, 12 345 and “quotes”"


def test_a_name_with_a_break_is_told_on_one_line(torchcaps, tmp_path):
    name = tmp_path / "a\n\x1b[31mb.png"
    name.write_text("no image")
    answer = torchcaps("predict", SHIPPED, name)
    assert answer.err.count("\n") == 1
    assert "a \\x1b[31mb.png is not an image" in answer.err


def test_a_warning_of_such_a_name_is_one_line_too(torchcaps, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(PICTURE, tmp_path / "data" / name / "1.png")
    (tmp_path / "data" / "a" / "x\n\x1b[31my.txt").write_text("no image")
    answer = torchcaps("eval", SHIPPED, "--data", tmp_path / "data")
    warning, sentence = answer.err.splitlines()
    assert warning.endswith("the first " + str(tmp_path / "data" / "a" / "x \\x1b[31my.txt"))
    assert sentence.startswith("torchcaps: ")


def test_under_torchrun_one_process_answers(torchcaps, trained, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "1")
    answer = torchcaps("eval", trained / "run")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    monkeypatch.setenv("RANK", "0")
    assert torchcaps("eval", trained / "run").out.startswith("accuracy: ")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["train", "--out", ""], "--out"),
        (["train", "--out="], "--out"),
        (["train", "--data", ""], "--data"),
        (["predict", "run", ""], "an argument"),
        (["predict", "run", "a.png", "--to="], "--to"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(
    torchcaps, tmp_path, monkeypatch, arguments, what
):
    monkeypatch.chdir(tmp_path)
    answer = torchcaps(*arguments)
    assert answer.code == 2
    assert answer.err == f"torchcaps: {what} is empty: give it a value, or leave it out\n"
    assert not list(tmp_path.iterdir())


def test_a_name_that_no_file_can_have_is_refused_before_anything_is_done(torchcaps, tmp_path):
    answer = torchcaps("train", "--out", f"{tmp_path}/a\0b")
    assert answer.code == 2
    assert answer.err.endswith("a\\x00b' holds a character that no name of a file can have\n")
    assert answer.err.count("\n") == 1
