"""One trained run for all tests of the command line, and a way to call it."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.small_runs import tiny_config, tiny_data, write_npz
from torchcaps.cli import main
from torchcaps.training.loop import train


@dataclass
class Answer:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def torchcaps(capsys):
    """Call a command in this process; an exception that gets out is a traceback for a person."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Answer(stopped.value.code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with tiny.npz and the finished run `run` on it; to be read only."""
    folder = tmp_path_factory.mktemp("trained")
    data = str(write_npz(folder / "tiny.npz", tiny_data()))
    before = os.getcwd()
    train(tiny_config(folder / "run", data=data, epochs=3, precision="fp32", max_shift=0))
    assert os.getcwd() == before
    return folder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the finished run, to be spoilt."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


@pytest.fixture
def unfinished(run) -> Path:
    """The same, as if it had been killed before its last checkpoint."""
    shutil.rmtree(run / "model")
    (run / "result.json").unlink()
    for path in (run / "checkpoints").glob("step-00000015.*"):
        path.unlink()
    return run
