"""One input: tried in a process of its own, with limits; what came of it."""

import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torchcaps.benchmark.run
import torchcaps.data.load
import torchcaps.export.write
from torchcaps.cli import main
from torchcaps.training.run import Run

__all__ = ["GOOD", "Outcome", "try_command"]

GOOD = ("accepted", "refused", "stopped")
CPU_SECONDS, WALL_SECONDS = 20, 120
MEMORY = 2 * 2**30  # bytes of address space beyond what the parent has
LARGEST = 400 * 2**20  # bytes of memory for inputs of a few kilobytes
# With these one may ask for a network that a machine does not hold; files of others must not.
OF_ONES_OWN = {"--config", "--model-options"}


@dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Attributes:
        what: accepted, refused or stopped; or traceback, hang, memory, wrong.
        why: of the last four, in a line; equal ones are one fault.
        seconds, megabytes: processor time and memory that it took.
    """

    what: str
    why: str
    seconds: float
    megabytes: float


class Begun(BaseException):
    """A command is past all its checks, and would begin to compute."""


def begun(*arguments: object, **options: object) -> Any:
    raise Begun


def try_command(arguments: list[str], here: Path) -> Outcome:
    """Run a command in `here`, in a child; its output goes into files beside that folder."""
    before = names_in(here)
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        in_child(arguments, here)
    used, status = wait(pid)
    code = os.waitstatus_to_exitcode(status)
    took = used.ru_utime + used.ru_stime
    megabytes = max(0, used.ru_maxrss - resident()) / 1024
    out, err = (read(here.with_suffix(end)) for end in (".out", ".err"))
    what, why = judged(code, out, err, arguments)
    if what == "refused" and (more := names_in(here) - before):
        what, why = "wrong", f"refused, and left {sorted(more)[:3]}"
    if what in GOOD and megabytes > LARGEST / 2**20 and not OF_ONES_OWN & set(arguments):
        what, why = "memory", f"{megabytes:.0f} MiB"
    return Outcome(what, why, took, megabytes)


def in_child(arguments: list[str], here: Path) -> None:
    """Never returns."""
    code = 99
    try:
        os.chdir(here)
        for number, end in ((1, ".out"), (2, ".err")):
            kind = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(here.with_suffix(end), kind, 0o600), number)
        limit_memory()
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
        stop_where_it_would_compute()
        main(arguments)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 98
    except Begun:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def stop_where_it_would_compute() -> None:
    """Two steps of a training, and nothing of what takes seconds."""
    do_step: Callable[[Run], Any] = Run.do_step
    done: list[int] = []

    def two_steps(run: Run) -> Any:
        if len(done) == 2:
            raise Begun
        done.append(1)
        return do_step(run)

    Run.do_step = two_steps  # type: ignore[assignment, method-assign]
    torchcaps.benchmark.run.measure = begun
    torchcaps.export.write.export_program = begun
    torchcaps.data.load.fetch = begun  # no input is a reason to download anything


def wait(pid: int) -> tuple[resource.struct_rusage, int]:
    until = time.monotonic() + WALL_SECONDS
    while True:
        found, status, used = os.wait4(pid, os.WNOHANG)
        if found:
            return used, status
        if time.monotonic() > until:
            os.kill(pid, signal.SIGXCPU)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.003)


def resident() -> int:
    """Kilobytes that this process, and so every child at first, has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def read(path: Path) -> str:
    return path.read_text(errors="replace")[:200_000] if path.exists() else ""


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def judged(code: int, out: str, err: str, arguments: list[str]) -> tuple[str, str]:
    """What an exit code and its output say."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "hang", "no end"
    if code < 0:
        return "traceback", f"died of signal {-code}"
    if "Traceback (most recent call last)" in err or code in (98, 99):
        return "traceback", frame_of(err)
    lines = err.splitlines()
    if code == 2:
        parser = bool(lines) and lines[0].startswith("╭─ ")  # of tyro: an option that is none
        if "too little memory" in err and not OF_ONES_OWN & set(arguments):
            return "memory", lines[-1] if lines else ""
        told = [line for line in lines if ": passed over " not in line]  # of other files in folders
        if parser or (len(told) == 1 and told[0].startswith("torchcaps: ") and plain(err)):
            return "refused", ""
        return "wrong", f"no single sentence: {err[:300]!r}"
    if code in (1, 130):
        return ("stopped", "") if lines and plain(err) else ("wrong", f"code {code}: {err[:200]!r}")
    return judged_output(out, arguments)


def judged_output(out: str, arguments: list[str]) -> tuple[str, str]:
    """Whether what was answered can be right."""
    if "--json" in arguments and arguments[0] in ("eval", "predict"):
        try:
            values = json.loads(out)
        except ValueError:
            return "wrong", "no JSON"
        for name, number in numbers(values):
            if not math.isfinite(number):
                return "wrong", f"{name} is {number}"
            if name in ("accuracy", "activation", "length") and not -1e-3 <= number <= 1.001:
                return "wrong", f"{name} is {number}"
    return "accepted", ""


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in JSON, and what it is called."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from numbers(entry, key)
    elif isinstance(value, list):
        for entry in value:
            yield from numbers(entry, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def plain(text: str) -> bool:
    """Whether there is nothing in it that a terminal would act upon."""
    return all(letter.isprintable() or letter in "\n\u202f\xa0" for letter in text)


def frame_of(err: str) -> str:
    """Where a traceback ends, and with what."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    frames = [line for line in lines if line.startswith("File ") and "torchcaps" in line]
    where = frames[-1].split("torchcaps/")[-1].replace('"', "") if frames else "?"
    return f"{where}: {lines[-1][:160] if lines else 'no output'}"
