"""Two hosts share a run: one dies, the other says so, and two or one go on from there."""

import shutil
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from tests.small_runs import arguments_of, listing, tiny_config, tiny_data, weights_of, write_npz
from tests.training.test_distributed import assert_equal_to_rounding
from tests.two_hosts import two_hosts
from torchcaps.errors import InputError, RunStopped
from torchcaps.training.loop import resume, train
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder

# `torchcaps` without pictures, which take longer than all the rest; a process may die after a step.
PROGRAM = """
import os, signal
from torchcaps.cli import main, train
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.run import Run

ImageClassification.draw = lambda *arguments: None
train.page_of = lambda result: ""

do_step = Run.do_step

def and_die(self):
    result = do_step(self)
    if str(self.step) == os.environ.get("DIES_AFTER"):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Run.do_step = and_die
main()
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with two_hosts(tmp_path_factory.mktemp("hosts")) as both:
        (both.folder / "program.py").write_text(PROGRAM)
        yield both


def together(hosts, *arguments, dies=None, after=0):
    """What both processes printed and how they ended, the first first."""
    environment = [{"DIES_AFTER": str(after)} if rank == dies else {} for rank in (0, 1)]
    program = str(hosts.folder / "program.py")
    started = hosts.start([program, "train", *map(str, arguments)], environment)
    said = [process.communicate(timeout=240) for process in started]
    return [(process.returncode, *words) for process, words in zip(started, said)]


@pytest.fixture(scope="module")
def straight(hosts):
    """A run that nobody disturbed."""
    data = str(write_npz(hosts.folder / "tiny.npz", tiny_data()))
    config = tiny_config(hosts.folder / "straight", data=data, precision="fp32")
    for code, _, err in together(hosts, *arguments_of(config)):
        assert code == 0, err
    return config


def sentence_of(ended):
    """What the process that was left said, in one sentence without torch's own."""
    code, _, err = ended
    assert code == 1, err
    assert "Traceback" not in err
    (sentence,) = [line for line in err.splitlines() if line.startswith("torchcaps: ")]
    return sentence


def test_one_dies_after_the_other_and_the_run_goes_on_with_two_or_with_one(hosts, straight):
    out = hosts.folder / "run"
    arguments = arguments_of(straight)
    arguments[arguments.index("--out") + 1] = str(out)
    for dies, command in enumerate((arguments, ["--resume", out])):
        ended = together(hosts, *command, dies=1 - dies, after=4 + 3 * dies)
        assert ended[1 - dies][0] == -9
        sentence = sentence_of(ended[dies])
        assert f"another process of the run {out} has ended" in sentence
        assert f"torchcaps train --resume {out}" in sentence
    alone = shutil.copytree(out, hosts.folder / "alone")
    for code, _, err in together(hosts, "--resume", out):
        assert code == 0, err
    assert weights_of(out) == weights_of(straight.out)
    assert listing(out).keys() == listing(straight.out).keys()
    resume(alone)
    assert_equal_to_rounding(straight.out, alone)


@pytest.mark.parametrize("named", [True, False])
def test_a_process_that_is_left_alone_before_the_first_step_says_so(tmp_path, monkeypatch, named):
    def begin(self):
        self.sampler = replace(self.sampler, world=2)
        if named:
            self.folder = RunFolder(tmp_path)
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")

    monkeypatch.setattr(Run, "begin", begin)
    what = f"of the run {tmp_path} has ended" if named else "reached, before the run had a folder"
    with pytest.raises(RunStopped, match=what):
        train(tiny_config(tmp_path / "run"), tiny_data())


def test_processes_that_see_different_folders_are_told(straight, tmp_path, monkeypatch):
    """As where each has its own under a path that is not absolute."""
    shutil.copytree(straight.out, tmp_path / "run")
    monkeypatch.setattr(Accelerator, "gather", lambda self, steps: torch.cat([steps, steps - 2]))
    what = r"find checkpoints of different steps in .*run \(10, 8\): let all of them see one folder"
    with pytest.raises(InputError, match=what):
        resume(tmp_path / "run")
