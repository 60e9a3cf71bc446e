"""Processes that are killed at a random moment: forked ones, commands, and groups of either."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

from accelerate.state import AcceleratorState, GradientState, PartialState

from torchcaps.cli import exit_after

__all__ = ["Process", "command", "fork", "fork_two", "two_processes_of_torchrun"]

LONGEST = 600.0  # seconds after which a process counts as hanging
PAUSE = 0.0003  # between two looks at a folder in which something is to be written


class Process:
    """One or more processes that do one piece of work.

    Args:
        pids: of all that are children of this one; the end of the first is that of the work.
        log: what they print.
        commands: whether they start processes of their own.
    """

    def __init__(self, pids: Sequence[int], log: Path, commands: bool = False) -> None:
        self.left, self.log, self.commands = list(pids), log, commands
        self.first, self.several = pids[0], commands or len(pids) > 1
        self.code: int | None = None  # of the first

    def ended(self) -> bool:
        """Whether the first has ended."""
        for pid in list(self.left):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.left.remove(pid)
                if pid == self.first:
                    self.code = os.waitstatus_to_exitcode(status)
        return self.first not in self.left

    def wait(self, seconds: float = LONGEST) -> bool:
        """Whether it ends in so many seconds."""
        until = time.monotonic() + seconds
        while not self.ended():
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, 0.005))
        return True

    def wait_for_write(self, folder: Path, count: int, seconds: float = LONGEST) -> bool:
        """Whether it ends before it has begun to write so many files in a folder."""
        seen: set[tuple[str, int]] = set()
        until = time.monotonic() + seconds
        while not self.ended():
            seen |= temporary_files(folder)
            if len(seen) >= count or time.monotonic() > until:
                return False
            time.sleep(PAUSE)
        return True

    def kill(self, number: int, draw: Random) -> None:
        """Signal all of them, one after the other in any order, and wait for their end."""
        pids = self.left
        if self.commands and number == signal.SIGKILL:  # a request is passed on by itself
            pids = self.left + descendants(self.left)
        for pid in draw.sample(pids, len(pids)):
            send(pid, number)
            time.sleep(draw.uniform(0, 0.02) if len(pids) > 1 else 0)
        self.finish()
        until = time.monotonic() + LONGEST
        while any(map(runs, pids)) and time.monotonic() < until:
            time.sleep(0.005)

    def finish(self) -> int:
        """The exit code, or minus the number of the signal that it died of.

        Raises:
            TimeoutError: it hangs.
        """
        hangs = not self.wait()
        until = time.monotonic() + 30
        while self.left and not hangs and time.monotonic() < until:  # the others, where one died
            self.ended()
            time.sleep(0.005)
        for pid in [*descendants(self.left), *self.left]:
            send(pid, signal.SIGKILL)
        for pid in self.left:
            os.waitpid(pid, 0)
        self.left = []
        if hangs:
            raise TimeoutError(f"it hangs: {self.log}")
        assert self.code is not None
        return self.code


def send(pid: int, number: int) -> None:
    """Signal a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def runs(pid: int) -> bool:
    """Whether there is such a process, and not only its entry."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def descendants(pids: Sequence[int]) -> list[int]:
    """All that these processes have started, and those that these have started, and so on."""
    if not pids:
        return []
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
            parents.setdefault(parent, []).append(int(path.parent.name))
    children = [child for pid in pids for child in parents.get(pid, [])]
    return children + descendants(children)


def temporary_files(folder: Path) -> set[tuple[str, int]]:
    """The files that are being written in a folder and in those in it, by name and number."""
    found, folders = set(), [os.fspath(folder)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".partial-"):
                found.add((entry.name, entry.inode()))
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    return found


def fork(work: Callable[[], object], log: Path, environment: Mapping[str, str] = {}) -> Process:
    """A child of this process that does some work and exits as a command does."""
    return Process([forked(work, log, environment)], log)


def fork_two(work: Callable[[], object], log: Path) -> Process:
    """Two children that share the work, as those of torchrun do."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    places = ({"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1"))
    return Process([forked(work, log, shared | place) for place in places], log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def forked(work: Callable[[], object], log: Path, environment: Mapping[str, str]) -> int:
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
    assert threads == 1, "a process with threads cannot be forked safely"
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(environment)
        for state in (AcceleratorState, GradientState, PartialState):
            state._shared_state.clear()
        exit_after(lambda: discard(work()))
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def discard(value: object) -> None:
    """Nothing: a command gives nothing back."""


def command(arguments: Sequence[object], log: Path) -> Process:
    """A Python process of its own."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    process.returncode = 0  # it is waited for here, by its number
    return Process([process.pid], log, commands=True)


def two_processes_of_torchrun(arguments: Sequence[object], log: Path) -> Process:
    """`torchrun` with two processes; all three are killed together."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    return command([*torchrun, *arguments], log)
