"""Training takes fewer threads for as long as other processes keep cores busy."""

import multiprocessing
import os
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.small_runs import tiny_config, tiny_data
from torchcaps.training import free_cores
from torchcaps.training.free_cores import CpuTime, FreeCores, cpu_time, threads_that_fit
from torchcaps.training.loop import train

CORES = (0, 1, 2, 3)


@pytest.fixture
def four_threads(monkeypatch):
    """Torch takes four, by its own choice."""
    before = torch.get_num_threads()
    for name in free_cores.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def others(monkeypatch):
    """Each look finds so many of four cores kept busy by others since the look before."""
    clock = [0.0, 0.0]

    def read() -> CpuTime:
        return CpuTime(clock[0], clock[1], CORES)

    def keep_busy(cores: float, seconds: float = 10.0) -> None:
        clock[0] += seconds
        clock[1] += seconds * cores

    monkeypatch.setattr(free_cores, "cpu_time", read)
    monkeypatch.setattr(free_cores, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    return keep_busy


@pytest.mark.parametrize(
    ("most", "cores", "busy", "fit"),
    [
        (2, 2, 0.0, 2),
        (2, 2, -0.1, 2),  # clocks that count in ticks
        (2, 2, 0.25, 2),
        (2, 2, 0.3, 1),
        (2, 2, 1.1, 1),
        (2, 2, 2.0, 1),
        (4, 4, 1.0, 3),
        (4, 4, 1.3, 2),
        (4, 8, 4.0, 4),
        (4, 8, 5.0, 3),
        (64, 64, 70.0, 1),
        (4, 2, 0.1, 4),
    ],
)
def test_every_thread_finds_a_core(most, cores, busy, fit):
    assert threads_that_fit(most, cores, busy) == fit


def test_threads_follow_the_others_and_are_told_once(four_threads, others):
    cores = FreeCores()
    others(1.0, seconds=0.1)
    assert cores.look() is None
    assert torch.get_num_threads() == 4  # too soon to tell
    others(1.0, seconds=0.3)
    assert cores.look() == (
        "other processes keep 1.0 of 4 cores busy: training takes 3 of 4 threads until they have "
        "ended (--threads 4 keeps all)"
    )
    assert torch.get_num_threads() == 3
    others(4.0, seconds=1.0)
    assert cores.look() is None
    assert torch.get_num_threads() == 3  # looked at every few seconds
    for busy, threads in ((3.0, 1), (0.0, 4), (2.0, 2)):
        others(busy)
        assert cores.look() is None
        assert torch.get_num_threads() == threads
    cores.close()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("chosen", ["by an option", *sorted(free_cores.CHOSEN)])
def test_threads_that_somebody_chose_stay(monkeypatch, four_threads, others, chosen):
    if chosen != "by an option":
        monkeypatch.setenv(chosen, "4")
    cores = FreeCores(follow=chosen != "by an option")
    others(3.0)
    assert cores.look() is None
    assert torch.get_num_threads() == 4
    torch.set_num_threads(2)
    cores.close()
    assert torch.get_num_threads() == 2


def test_threads_that_somebody_sets_meanwhile_stay(four_threads, others):
    cores = FreeCores()
    others(1.0)
    assert cores.look() is not None
    torch.set_num_threads(2)
    for busy in (3.0, 0.0):
        others(busy)
        assert cores.look() is None
        assert torch.get_num_threads() == 2
    cores.close()
    assert torch.get_num_threads() == 2


def test_threads_that_are_bound_to_cores_stay(monkeypatch, four_threads, others):
    monkeypatch.setattr(free_cores, "cpu_time", lambda: CpuTime(0.0, 0.0, (0,)))
    cores = FreeCores()
    others(1.0)
    assert cores.look() is None
    assert torch.get_num_threads() == 4


def test_readings_of_other_cores_are_not_compared(monkeypatch, four_threads, others):
    readings = [
        CpuTime(0.0, 0.0, CORES),
        CpuTime(1.0, 9000.0, (0, 1, 2, 3, 4)),  # moved to more of them
        CpuTime(2.0, 9003.0, (0, 1, 2, 3, 4)),
    ]
    monkeypatch.setattr(free_cores, "cpu_time", lambda: readings.pop(0))
    cores = FreeCores()
    others(0.0)
    assert cores.look() is None
    assert torch.get_num_threads() == 4
    others(0.0)
    assert "keep 3.0 of 5 cores busy: training takes 2 of 4 threads" in cores.look()


@pytest.mark.parametrize("where", ["at first", "later"])
@pytest.mark.parametrize("error", [OSError, psutil.AccessDenied, IndexError])
def test_a_system_that_does_not_tell_changes_nothing(
    monkeypatch, four_threads, others, where, error
):
    def refuse(percpu):
        raise error

    cores = FreeCores() if where == "later" else None
    if cores:
        others(1.0)
        cores.look()
        assert torch.get_num_threads() == 3
    monkeypatch.setattr(free_cores, "cpu_time", cpu_time)
    monkeypatch.setattr(psutil, "cpu_times", refuse)
    cores = cores or FreeCores()
    others(3.0)
    assert cores.look() is None
    assert torch.get_num_threads() == 4


def test_work_of_this_process_and_its_children_is_not_of_others(monkeypatch):
    core = SimpleNamespace(user=100.0, system=0.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [core])
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [0], raising=False)
    before = cpu_time().others  # from here on each second of ours makes it a second less
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert 0.15 < before - cpu_time().others < 1.0

    if sys.platform != "linux":
        return  # others do not tell what ended children took
    before = cpu_time().others
    reader = multiprocessing.get_context("spawn").Process(target=sum, args=(range(20_000_000),))
    reader.start()
    reader.join()
    assert before - cpu_time().others > 0.1


def test_a_child_counts_while_it_runs():
    here = psutil.Process()
    before = free_cores.own_seconds(here, [])
    reader = multiprocessing.get_context("spawn").Process(target=sum, args=(range(10**10),))
    reader.start()
    try:
        began = time.perf_counter()
        while free_cores.own_seconds(here, multiprocessing.active_children()) < before + 1.0:
            assert time.perf_counter() - began < 60
            time.sleep(0.05)
    finally:
        reader.kill()
        reader.join()


def test_only_cores_count_that_this_process_may_run_on(monkeypatch):
    idle, busy = SimpleNamespace(user=0.0, system=0.0), SimpleNamespace(user=500.0, system=70.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [idle, busy, idle, busy])
    monkeypatch.setattr(free_cores, "own_seconds", lambda process, children: 0.0)
    for mine, others in (([0, 2], 0.0), ([0, 1, 2], 570.0), ([1, 3], 1140.0)):
        monkeypatch.setattr(
            psutil.Process, "cpu_affinity", lambda self, mine=mine: mine, raising=False
        )
        assert cpu_time()[1:3] == (others, tuple(mine))


@pytest.mark.parametrize(("nice", "niced"), [(0, 3.0), (5, 0.0)])
def test_processes_that_give_way_are_told_apart(monkeypatch, nice, niced):
    core = SimpleNamespace(user=7.0, nice=3.0, system=2.0, softirq=1.0, idle=50.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [core])
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [0], raising=False)
    monkeypatch.setattr(free_cores, "own_seconds", lambda process, children: 0.0)
    monkeypatch.setattr(os, "nice", lambda change: nice)
    assert (cpu_time().others, cpu_time().niced) == (13.0, niced)


@pytest.mark.parametrize(("busy", "niced", "threads"), [(4, 4, 2), (1, 1, 3), (4, 2, 2), (4, 1, 1)])
def test_processes_that_give_way_leave_half_of_the_threads(
    monkeypatch, four_threads, others, busy, niced, threads
):
    readings = [CpuTime(float(t), float(t * busy), CORES, float(t * niced)) for t in range(2)]
    monkeypatch.setattr(free_cores, "cpu_time", lambda: readings.pop(0))
    cores = FreeCores()
    others(0.0)
    cores.look()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [None, 2])
def test_a_run_takes_fewer_and_gives_them_back(
    tmp_path, monkeypatch, capsys, no_pictures, four_threads, threads
):
    torch.set_num_threads(2)
    seconds = iter(range(10**6))  # each reading finds three of four cores busy since the last
    monkeypatch.setattr(
        free_cores, "cpu_time", lambda: CpuTime(now := float(next(seconds)), 3 * now, CORES)
    )
    times = iter(range(0, 10**9, 100))
    monkeypatch.setattr(free_cores, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    seen = []
    call = torch.nn.Module.__call__

    def watched(self, *arguments, **options):
        seen.append(torch.get_num_threads())
        return call(self, *arguments, **options)

    monkeypatch.setattr(torch.nn.Module, "__call__", watched)
    train(tiny_config(tmp_path / "run", epochs=1, threads=threads), tiny_data())
    assert torch.get_num_threads() == 2
    told = "3.0 of 4 cores busy: training takes 1 of 2 threads" in capsys.readouterr().out
    assert told == (threads is None)
    assert set(seen) == ({1, 2} if threads is None else {2})
