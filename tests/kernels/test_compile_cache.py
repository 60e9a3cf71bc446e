"""Compiled loops on disk, spoilt or without room; processes forked beside threads that route."""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import torchcaps
from torchcaps.kernels import compile_cache
from torchcaps.kernels.compile_cache import compiled


@pytest.fixture
def add_one(tmp_path: Path) -> Any:
    """Makes the function anew, as a new process would; its cache lies beside its file."""
    path = tmp_path / "loop.py"
    path.write_text("def add_one(x):\n    return x + 1\n")
    os.utime(path, (time.time() - 60, time.time() - 60))

    def make() -> Any:
        spec = importlib.util.spec_from_file_location("loop", path)
        assert spec is not None
        module: Any = importlib.util.module_from_spec(spec)
        assert isinstance(module, ModuleType)
        assert spec.loader is not None
        spec.loader.exec_module(module)
        compile_cache._said.clear()
        return compiled(module.add_one)

    return make


def kept(folder: Path) -> dict[str, Path]:
    return {p.suffix: p for p in folder.rglob("*") if p.suffix in (".nbi", ".nbc")}


def hits(function: Any) -> int:
    return sum(function.stats.cache_hits.values())


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),  # as after a power cut
    ],
    ids=["empty", "short", "half", "zeros"],
)
def test_what_is_damaged_is_compiled_anew_and_that_is_said(
    add_one, tmp_path, caplog, suffix, spoil
):
    assert add_one()(1) == 2
    assert hits(add_one()) == 0
    path = kept(tmp_path)[suffix]
    path.write_bytes(spoil(path.read_bytes()))
    again = add_one()
    assert again(1) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is damaged, and the loops are compiled anew" in caplog.text
    caplog.clear()
    mended = add_one()
    assert (mended(1), hits(mended), caplog.text) == (2, 1, "")


def test_a_change_in_another_file_of_loops_is_noticed(tmp_path: Path) -> None:
    """Of another package of the same names: what one calls is compiled into the other."""
    kernels = tmp_path / "torchcaps" / "kernels"
    shutil.copytree(Path(torchcaps.__file__).parent, tmp_path / "torchcaps")
    (kernels / ".#steps.py").symlink_to("somebody@host.1:2")  # as an editor locks a file
    program = (
        "import numpy as np\n"
        "from torchcaps.kernels.cpu_vectors import Lanes\n"
        "from torchcaps.kernels.dynamic_cpu.few_loops import store_totals as loop\n"
        "ones, s = np.ones((2, 4)), np.empty((2, 4))\n"
        "loop(Lanes(4), ones, s)\n"
        "print(s[0, 0], sum(loop.stats.cache_hits.values()))\n"
    )

    def run() -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": ""}
        command = [sys.executable, "-c", program]
        return subprocess.check_output(command, env=environment, cwd=tmp_path, text=True).strip()

    assert (run(), run()) == ("4.0 0", "4.0 1")
    vectors = kernels / "cpu_vectors.py"
    text = vectors.read_text()
    changed = text.replace("while value.type.count > 1:", "while value.type.count > 2:")
    assert changed != text
    vectors.write_text(changed)
    assert (run(), run()) == ("2.0 0", "2.0 1")


def test_a_cache_that_cannot_be_written_is_done_without(add_one, caplog, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(compile_cache.caching.IndexDataCacheFile, "_save_data", refuse)
    function = add_one()
    assert (function(1), function(1.5)) == (2, 2.5)
    (record,) = caplog.records  # once, for two signatures
    assert "cannot be written, and the loops are compiled in every process" in record.message
    assert "No space left on device" in record.message
    monkeypatch.undo()
    assert add_one()(1) == 2


def called(code: str, *arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def test_where_nothing_may_be_compiled_the_kernel_says_so_and_routing_goes_without():
    code = (
        "import torch, torchcaps\n"
        "votes = torchcaps.LinearVotes(torch.ones(1, 5, 2), torch.ones(5, 2, 3, 2))\n"
        "def route(backend): return torchcaps.dynamic_routing(votes, backend=backend).pose\n"
        "print(torch.equal(route('auto'), route('reference')))\n"
        "route('auto')\n"
        "try:\n    route('cpu')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = called(code, NUMBA_DISABLE_JIT="1")
    assert done.stderr == "NUMBA_DISABLE_JIT is set: routing on the CPU goes without its kernel\n"
    assert done.stdout == (
        "True\nbackend 'cpu' cannot route these votes: Numba is told not to compile "
        "(NUMBA_DISABLE_JIT)\n"
    )


COMPILING = """
import os, signal, threading, warnings
import numba
import torchcaps.kernels.compile_cache

warnings.simplefilter("ignore")
ends = threading.Event()

def compile_one():
    scope = {}
    exec("def add(x):\\n    return x + 1", scope)
    return numba.njit(scope["add"])(1)

def busy():
    while not ends.is_set():
        compile_one()

compile_one()
beside = threading.Thread(target=busy)
beside.start()
hung = 0
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs is killed
        os._exit(compile_one() - 2)
    hung += os.waitpid(child, 0)[1] != 0
ends.set()
beside.join()  # at the interpreter's end it could start no more threads
print(hung)
"""
ROUTING = """
import os, signal, threading, warnings
import torch, torchcaps
from torchcaps.kernels import loops_on_threads

warnings.simplefilter("ignore")
torch.set_num_threads(1)  # torch's own threads do not survive a fork
loops_on_threads.torch.get_num_threads, loops_on_threads.WORTH_A_THREAD = (lambda: 3), 1
if POOL:
    loops_on_threads.has_team = lambda: False
votes = torchcaps.LinearVotes(torch.ones(40, 50, 4), torch.ones(50, 4, 4, 4))
expected = torchcaps.dynamic_routing(votes, backend="cpu").pose
ends = threading.Event()

def busy():
    while not ends.is_set():
        torchcaps.dynamic_routing(votes, backend="cpu")
        loops_on_threads._pools.clear()  # so that pools are made all the time

beside = [threading.Thread(target=busy) for _ in range(2)]
for thread in beside:
    thread.start()
hung = 0
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        same = torch.equal(torchcaps.dynamic_routing(votes, backend="cpu").pose, expected)
        os._exit(not same)
    hung += os.waitpid(child, 0)[1] != 0
ends.set()
for thread in beside:
    thread.join()
print(hung)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    "code",
    [COMPILING, "POOL = False" + ROUTING, "POOL = True" + ROUTING],
    ids=["compile", "route", "route in a pool"],
)
def test_a_process_forked_off_beside_busy_threads_does_not_hang(code):
    done = called(code)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_processes_that_are_started_otherwise(tmp_path, method):
    (tmp_path / "started.py").write_text(
        "import multiprocessing, sys, torch, torchcaps\n"
        "def route():\n"
        "    votes = torchcaps.LinearVotes(torch.ones(1, 5, 2), torch.ones(5, 2, 3, 2))\n"
        "    return torchcaps.dynamic_routing(votes, backend='cpu').pose.sum().item()\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context(sys.argv[1])\n"
        "    with context.Pool(1) as pool:\n"
        "        print(pool.apply_async(route).get(timeout=200) == route())\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "started.py", method],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
