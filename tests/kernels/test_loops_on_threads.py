"""The loops of the kernels on several threads: OpenMP's, those that torch runs on, or our own."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch

from torchcaps import LinearVotes, dynamic_routing
from torchcaps.kernels import cpu_vectors, loops_on_threads, openmp_team

claim: Any = cpu_vectors.claim


@numba.njit(nogil=True)
def count(done, spins, counter, stop):
    """done[k] += 1 for every item k."""
    k = claim(counter)
    while k < stop:
        done[k] += 1
        for _ in range(2000):  # so that every thread gets some
            claim(spins)
        k = claim(counter)


@numba.njit(nogil=True)
def take_too_much(size, counter, stop):
    while claim(counter) < stop:
        np.empty(size)[0] = 1


@pytest.fixture(params=["team", "pool"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    if request.param == "pool":
        monkeypatch.setattr(loops_on_threads, "has_team", lambda: False)
    elif sys.platform == "linux":
        assert loops_on_threads.has_team()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(1)


def test_every_item_is_done_once(threads: int) -> None:
    for items in (2, 3, 100):
        done, spins = np.zeros(items), np.zeros(1, np.int64)
        loops_on_threads.on_all_threads(count, items, done, spins, steps=10**9)
        assert done.tolist() == [1] * items


def test_a_loop_that_finds_no_memory_says_so_and_the_next_one_runs(threads: int) -> None:
    with pytest.raises(MemoryError):
        loops_on_threads.on_all_threads(take_too_much, 3, 2**58, steps=10**9)
    loops_on_threads.on_all_threads(take_too_much, 3, 2, steps=10**9)


def test_several_threads_of_python_route_at_once(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops_on_threads, "WORTH_A_THREAD", 1)
    votes = LinearVotes(torch.randn(40, 30, 4), torch.randn(30, 5, 6, 4))
    expected = dynamic_routing(votes, backend="reference").pose
    found: list[torch.Tensor] = []

    def route() -> None:
        torch.set_num_threads(3)  # OpenMP has a number for each thread that begins others
        found.extend(dynamic_routing(votes).pose for _ in range(20))

    each = [threading.Thread(target=route) for _ in range(3)]
    for one in each:
        one.start()
    for one in each:
        one.join()
    assert len(found) == 60
    for pose in found:
        torch.testing.assert_close(pose, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def asked_anew() -> Iterator[None]:
    openmp_team.parallel.cache_clear()
    yield
    openmp_team.parallel.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_without_gnus_openmp_the_threads_are_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(library: object) -> object:
        raise OSError(f"no {library}")

    monkeypatch.setattr(openmp_team.ctypes, "CDLL", without)
    assert not openmp_team.has_team()


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("shared_by_all", [True, False])
def test_it_is_the_openmp_that_torch_has_loaded(
    monkeypatch: pytest.MonkeyPatch, shared_by_all: bool
) -> None:
    load = openmp_team.ctypes.CDLL

    def by_name(library: str | None) -> object:
        if library is None:
            raise OSError("nothing is shared")
        return load(library)

    if not shared_by_all:
        monkeypatch.setattr(openmp_team.ctypes, "CDLL", by_name)
    address = openmp_team.parallel()
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= address < end:
            assert Path(line.split()[-1]).parent == Path(torch.__file__).parent / "lib"
            break
    else:
        pytest.fail("the address is of no library")


@pytest.mark.parametrize(
    "found", ["", "1 (python) S 1 2", "1 (a) b) S 1 2 3 4 5 many 7", OSError()]
)
def test_a_system_that_does_not_say_whether_it_was_forked(
    monkeypatch: pytest.MonkeyPatch, found: str | OSError
) -> None:
    def read(_: Path) -> str:
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(openmp_team.Path, "read_text", read)
    assert openmp_team.was_forked.__wrapped__(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("before", ["route()", "torch.ones(10**7).sum()"])
def test_a_process_that_was_forked_off_has_none_of_torchs_threads(before: str) -> None:
    code = (
        "import os, signal, warnings, torch, torchcaps\n"
        "warnings.simplefilter('ignore')\n"
        "torch.set_num_threads(3)\n"
        "def route():\n"  # so little that torch does it alone
        "    from torchcaps.kernels import loops_on_threads\n"
        "    loops_on_threads.WORTH_A_THREAD = 1\n"
        "    votes = torchcaps.LinearVotes(torch.ones(40, 50, 4), torch.ones(50, 4, 4, 4))\n"
        "    pose = torchcaps.dynamic_routing(votes, backend='cpu').pose\n"
        "    return pose.numpy().tobytes() + bytes([not loops_on_threads.has_team()])\n"
        f"{before}\n"
        "reads, writes = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(60)\n"  # a child that hangs is killed
        "    os.write(writes, route())\n"
        "    os._exit(0)\n"
        "os.close(writes)\n"
        "found, own = os.read(reads, 10**6), route()\n"
        "print(os.waitpid(child, 0)[1], found[:-1] == own[:-1], found[-1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "0 True b'\\x01'\n", done.stderr
