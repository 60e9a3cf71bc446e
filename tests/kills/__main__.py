"""`python -m tests.kills 1000`: so many kills at random moments, and what became of each.

Each is a SIGKILL, as of a power cut, or for one in ten a SIGTERM, which is a request. What was
killed is copied elsewhere and gone on with there until it finishes; its files must be, bit for bit,
those of the same work that nobody disturbed. Half of the time the original is then gone on with and
killed again.

Of a kind "on a full disk" nothing is killed: at such a moment its disk gets full, which it has to
say in one sentence; it is gone on with where there is room again.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import torch

from tests.kills.processes import Process
from tests.kills.small_disk import SmallDisk, enter_own_mounts, why_no_mount
from tests.kills.work import Files, Work, all_work

TERM = 0.1  # the share of SIGTERM
WHILE_WRITING = 0.5  # of moments that are sought while a file is being written
AGAIN = 0.5  # of what was killed that is gone on with, to be killed again
MOST = 4  # kills of one run
STOPPED = {-signal.SIGKILL, -signal.SIGTERM, 130}
REFUSED = {1, 2}  # exit codes where the disk is full: a run that stopped, a file not written
NOT_SAID = re.compile(r"Traceback|Exception ignored|-[0-9.,]+ (?:s|min|h)\b")
LOG = "said.txt"


class Kills:
    """All kills of a session.

    Args:
        folder: where everything happens; what fails stays there.
        seed: of moments and of what is killed.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw = folder, Random(seed)
        self.count: Counter[str] = Counter()
        self.failed: list[str] = []
        self.equal = self.number = 0
        self.seconds: dict[str, float] = {}  # of a whole run of each kind
        self.straight: dict[str, Files] = {}

    @property
    def kills(self) -> int:
        """How many there were."""
        return self.count.total()

    def undisturbed(self, work: Work) -> None:
        """Do the work once with nobody in its way; a first time, which may compile, is not it."""
        for name in ("first", "straight"):
            out = self.new_folder(f"{name} {work.name}")
            began = time.monotonic()
            process = work.start(place_of(work, out), out / LOG)
            process.wait()
            self.seconds[work.name] = time.monotonic() - began
            if process.finish() != 0:
                raise RuntimeError(f"{work.name} fails without a kill: {out / LOG}")
        self.straight[work.name] = work.files(place_of(work, out))

    def one(self, work: Work, most: int) -> None:
        """One piece of work, stopped `most` times at most, each time finished elsewhere."""
        out = self.new_folder(f"{self.number:05d} {work.name}")
        self.number += 1
        disk = SmallDisk(out / "disk", self.room_for(work)) if work.full_disk else None
        try:
            self.several_times(work, out, most, disk)
        finally:
            if disk is not None:
                disk.remove()
        if not any(out.name in sentence for sentence in self.failed):
            shutil.rmtree(out)

    def several_times(self, work: Work, out: Path, most: int, disk: SmallDisk | None) -> None:
        """Stop it, and finish a copy; perhaps once more."""
        for time_of_it in range(most):
            process = work.start(place_of(work, out), out / LOG)
            if disk is None:
                stopped = self.killed(process, work, out)
            else:
                stopped = self.filled(process, work, out, disk)
            if not stopped:
                break  # it ended before, or failed
            resumed = time_of_it > 0 and work.mends
            self.count[f"{'resume of ' if resumed else ''}{work.name}"] += 1
            self.check_finish(work, out)
            if self.draw.random() > AGAIN:
                break

    def ended_before(self, process: Process, work: Work, out: Path) -> bool:
        """Wait for a random moment; whether the work was over, or has failed, by then."""
        if self.draw.random() < WHILE_WRITING:
            count = self.draw.randint(1, work.writes)
            over = process.wait_for_write(place_of(work, out), count)
            over = over or process.wait(self.draw.uniform(0, 0.004))
        else:
            over = process.wait(self.draw.uniform(0, self.seconds[work.name]))
        if over and process.finish() != 0:
            self.fail(out, f"ended with {process.code} before anything happened")
        return over

    def killed(self, process: Process, work: Work, out: Path) -> bool:
        """Kill at a random moment; whether there still was something to kill."""
        over = self.ended_before(process, work, out)
        number = signal.SIGTERM if self.draw.random() < TERM else signal.SIGKILL
        if over:
            return False
        process.kill(number, self.draw)
        if process.code == 0:  # it ended in between, or was at its last step
            return False
        # Of several, one may fail because another has died.
        if not process.several and process.code not in STOPPED:
            self.fail(out, f"ended with {process.code} after signal {number}")
        return True

    def filled(self, process: Process, work: Work, out: Path, disk: SmallDisk) -> bool:
        """Fill the disk at a random moment until it ends; whether that stopped it."""
        before = len(text_of(out / LOG))
        if self.ended_before(process, work, out):
            return False
        while not process.wait(0.002):
            disk.fill()  # and what it has deleted since
        code = process.finish()
        disk.free()
        said = text_of(out / LOG)[before:]
        if code == 0:
            return False
        if code not in REFUSED or said.count("torchcaps: ") != 1 or NOT_SAID.search(said):
            self.fail(out, f"ended with {code} on a full disk, and said: {said[-300:]!r}")
        return True

    def room_for(self, work: Work) -> int:
        """Bytes of a disk that has twice the room that the work needs."""
        files = place_of(work, self.folder / name_of_folder(f"straight {work.name}")).rglob("*")
        return 2 * sum(path.stat().st_size + 4096 for path in files) + 2**20

    def check_finish(self, work: Work, out: Path) -> None:
        """Go on with a copy until it finishes, and compare."""
        copy = out / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        if place_of(work, out).exists():
            shutil.copytree(place_of(work, out), copy, symlinks=True)
        if not work.mends:
            left = {k: v for k, v in work.files(copy).items() if not k.startswith(".partial-")}
            if left and left != self.straight[work.name]:
                return self.fail(out, f"half-written: {', '.join(left)}")
        before = len(text_of(out / LOG))
        process = work.start(copy, out / LOG)
        if process.finish() != 0:
            return self.fail(out, f"ended with {process.code} when it was gone on with")
        found, expected = work.files(copy), self.straight[work.name]
        others = [k for k in sorted({*found, *expected}) if found.get(k) != expected.get(k)]
        if others:
            return self.fail(out, f"differs in {', '.join(others)}")
        if strange := NOT_SAID.search(text_of(out / LOG)[before:]):
            return self.fail(out, f"said {strange[0]!r}")
        self.equal += 1
        return None

    def fail(self, out: Path, what: str) -> None:
        """Note it, and keep the folder."""
        self.failed.append(f"{out.name}: {what}")
        print(f"\nFAILED {self.failed[-1]}: see {out}", flush=True)

    def new_folder(self, name: str) -> Path:
        """An empty folder."""
        path = self.folder / name_of_folder(name)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


def name_of_folder(name: str) -> str:
    """Without characters that would have to be quoted."""
    return name.replace(" ", "-").replace(",", "")


def place_of(work: Work, out: Path) -> Path:
    """Where work is done in its folder."""
    return out / "disk" / "it" if work.full_disk else out / "it"


def text_of(path: Path) -> str:
    """What has been said; nothing, where nobody has said anything."""
    return path.read_text(errors="replace") if path.exists() else ""


def main() -> None:
    """Kill, and say what became of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where it happens; default: a temporary one")
    parser.add_argument("--only", help="kinds whose name contains this")
    options = parser.parse_args()
    may_mount = enter_own_mounts()
    torch.set_num_threads(1)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=options.folder))
    print(f"{options.kills} kills, seed {options.seed}, in {folder}", flush=True)
    kills = Kills(folder, options.seed)
    kinds = [work for work in all_work(folder) if (options.only or "") in work.name]
    if not may_mount:
        print(f"without full disks: {why_no_mount()}")
        kinds = [work for work in kinds if not work.full_disk]
    if not kinds:
        parser.error(f"no kind is called {options.only}")
    kill_all(kills, kinds, options.kills)
    if not kills.failed:
        shutil.rmtree(folder)
    print("\n" + last_line(kills, options.seed))
    sys.exit(1 if kills.failed else 0)


def kill_all(kills: Kills, kinds: list[Work], total: int) -> None:
    """So many kills, of each kind its share, and a line of progress every ten seconds."""
    shares = [work.share for work in kinds]
    began = said = time.monotonic()
    while kills.kills < total:
        (work,) = kills.draw.choices(kinds, shares)
        if work.name not in kills.straight:
            kills.undisturbed(work)
        kills.one(work, min(MOST, total - kills.kills))
        now = time.monotonic()
        if now - said > 10:
            said = now
            left = (now - began) / max(kills.kills, 1) * (total - kills.kills)
            print(
                f"{kills.kills} of {total} kills, {kills.equal} bit-equal finishes, "
                f"{len(kills.failed)} failed, about {left / 60:.0f} min left",
                flush=True,
            )


def last_line(kills: Kills, seed: int) -> str:
    """What is to be quoted."""
    by_kind = ", ".join(f"{name} {count}" for name, count in kills.count.most_common())
    failed = f", {len(kills.failed)} FAILED" if kills.failed else ""
    return (
        f"{kills.kills} kills: {kills.equal} bit-equal finishes{failed} ({by_kind}), seed {seed}, "
        f"torch {torch.__version__}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
