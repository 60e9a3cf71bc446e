"""`python -m reproduction`: what it prints, and what it answers to a mistake."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reproduction.__main__ import Reproduce, main

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m", "reproduction"]


@pytest.fixture
def reproduction(capsys):
    """Call the command in this process; an exception that gets out is a traceback for a person."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return SimpleNamespace(code=stopped.value.code, out=said.out, err=said.err)

    return call


def test_it_ends_with_figures_and_report(reproduction, tmp_path):
    answer = reproduction("agreement", "--out", tmp_path / "out")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("[1/3] dot-product-seed0 ")
    assert "scalar product of unit vectors: -1.00 opposed" in answer.out
    assert answer.out.endswith(f"report: {tmp_path / 'out' / 'report.md'}\n")
    again = reproduction("agreement", "--out", tmp_path / "out")
    assert again.out == answer.out[answer.out.index("scalar") :]  # nothing is computed again


def test_it_lists_what_there_is():
    answer = subprocess.run([*MODULE, "--list"], cwd=ROOT, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    for name in ("agreement", "iterations", "routing-logits", "cifar-loss", "table1", "dimensions"):
        scales = rf"^{name}: .+\n  smoke .+\n  cpu .+\n(  [fl].+\n)*  paper "
        assert re.search(scales, answer.stdout, re.MULTILINE)


def test_every_option_is_explained_without_torch():
    code = (
        "import sys\n"
        "from reproduction.__main__ import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stopped:\n    code = stopped.code\n"
        "heavy = {'torch', 'matplotlib', 'accelerate', 'numba'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "usage: python -m reproduction" in answer.stdout
    blocks = re.split(r"\n\s+(?=-|\[STR)", re.sub("[│╭╰╮╯─]", " ", answer.stdout))
    for field in dataclasses.fields(Reproduce):
        head = "[STR" if field.name == "name" else "--" + field.name.replace("_", "-")
        block = next(block for block in blocks if block.startswith(head))
        words = re.sub(r"\(default: .*\)|\{.*?\}|-\S+|\b[A-Z]+\b", "", block, flags=re.DOTALL)
        assert len(words.split()) >= 3, block


# Kind: (arguments, what the sentence must hold)
MISTAKES: dict[str, tuple[list[Any], str]] = {
    "nothing": ([], "name an experiment, or ask for all with --list"),
    "unknown": (["agreemnt"], "no experiment is called 'agreemnt': did you mean agreement?"),
    "no seed": (["iterations", "--seeds", 0], "--seeds must be at least 1, got 0"),
    "threads": (["agreement", "--threads", 10**12], "--threads must be at most 1024"),
    "folder of other things": (["agreement", "--out", "full"], "full holds other things: name a"),
    "a device": (["agreement", "--out", "/dev/null"], "--out /dev/null is a file: name a folder"),
    "out of nobody": (
        ["agreement", "--out", "~nosuchuser/out"],
        "--out ~nosuchuser/out names the folder of a user, and there is none called nosuchuser",
    ),
    "data gone": (
        ["iterations", "--data", "cifar10", "--out", "out"],
        "cifar10 is not downloaded: name the folder",
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_answered_with_one_sentence(reproduction, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "config.json").write_text("{}")
    arguments, message = MISTAKES[kind]
    answer = reproduction(*arguments)
    assert answer.code == 2, answer.out
    assert message in answer.err
    assert answer.err.startswith("reproduction: ")
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["torchcaps", "tyro", "scipy"])
def test_what_is_missing_is_told(module):
    """Before anything else: the module is hidden by one that is not found."""
    code = f"import sys, runpy; sys.modules[{module!r}] = None; runpy.run_module('reproduction')"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.startswith(
        f"reproduction: {module} is not installed: call {sys.executable} "
    )
    assert "-m pip install -c constraints.txt -e '.[train,affnist]' at the root" in answer.stderr
    assert answer.stderr.count("\n") == 1
