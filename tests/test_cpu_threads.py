"""How many threads are taken where, and how long they wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchcaps import cpu_threads
from torchcaps.cpu_threads import cores_of_container, describe_threads, set_threads, wait_briefly


@pytest.fixture
def own_threads(monkeypatch):
    """The number of threads is what it was afterwards; nothing in the environment sets it."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu.max": ""}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, None),
    ],
)
def test_the_cores_of_a_container(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores_of_container(tmp_path) == cores


def test_torch_takes_no_more_threads_than_the_container_has_cores(monkeypatch, own_threads):
    torch.set_num_threads(4)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(cpu_threads, "cores_of_container", lambda: 2)
    set_threads()
    assert torch.get_num_threads() == 2
    assert describe_threads() == "2 threads, the container's share of the cores"
    set_threads(3)
    assert torch.get_num_threads() == 3
    assert describe_threads(3) == "3 threads"


@pytest.mark.parametrize("cores", [None, 8])
def test_torch_keeps_its_own_number_where_nothing_limits_it(monkeypatch, own_threads, cores):
    torch.set_num_threads(4)
    monkeypatch.setattr(cpu_threads, "cores_of_container", lambda: cores)
    set_threads()
    assert torch.get_num_threads() == 4
    assert describe_threads() == "4 threads"


def test_a_number_from_the_environment_is_obeyed(monkeypatch, own_threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(cpu_threads, "cores_of_container", lambda: 2)
    torch.set_num_threads(4)
    set_threads()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_whoever_has_said_how_threads_wait_is_obeyed(name):
    environment = {name: "5"}
    wait_briefly(environment)
    assert environment == {name: "5"}


@pytest.mark.parametrize(
    "start", ["from torchcaps.cli import main", "from reproduction.__main__ import main"]
)
def test_the_command_line_settles_it_before_torch_is_there(start):
    code = (
        f"import os, sys; {start}\n"
        "assert 'torch' not in sys.modules\n"
        "try: main(['--no-such-option'])\n"
        "except SystemExit: print(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT",)}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == str(cpu_threads.SPINS), done.stderr
