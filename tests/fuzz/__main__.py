"""`python -m tests.fuzz --minutes 30`: inputs at random, and what came of them, by kind."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import torch

from tests.fuzz import api
from tests.fuzz.inputs import KINDS, Base, Kind, make_base
from tests.fuzz.options import json_options, options
from tests.fuzz.outcomes import GOOD, Outcome, try_command

OUTCOMES = (*GOOD, "traceback", "hang", "memory", "wrong")
ALL: dict[str, Kind] = KINDS | {"options": options, "options in JSON": json_options}
KEPT = 3  # inputs of one fault


class Fuzz:
    """All inputs of a session.

    Args:
        folder: where the inputs that fail stay, in `failures`.
        seed: of all inputs.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.count: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self.base: Base = make_base(folder / "base")

    def one(self, kind: str, number: int) -> Outcome:
        """Make an input of a kind, try it, count it."""
        here = self.folder / "input"
        for path in self.folder.glob("input*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        here.mkdir()
        arguments = ALL[kind](Random(f"{self.seed} {kind} {number}"), here, self.base)
        outcome = try_command(arguments, here)
        self.count[kind, outcome.what] += 1
        if outcome.what not in GOOD:
            fault = f"{kind}: {outcome.what}: {outcome.why}"
            self.faults[fault] += 1
            if self.faults[fault] <= KEPT:
                self.keep(f"{kind.replace(' ', '-')}-{number}-{outcome.what}", arguments, fault)
        return outcome

    def keep(self, name: str, arguments: list[str], fault: str) -> None:
        """Copy an input that failed, with its command and what was said."""
        kept = self.folder / "failures" / name
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        (kept / "command.json").write_text(json.dumps(arguments))
        for path in self.folder.glob("input.*"):
            path.rename(kept / path.name)
        (self.folder / "input").rename(kept / "input")
        print(f"{fault}\n    {kept}", flush=True)

    def table(self) -> str:
        """Counts by kind and outcome."""
        kinds = sorted({kind for kind, _ in self.count})
        lines = [f"{'':<22}" + "".join(f"{what:>11}" for what in OUTCOMES)]
        for kind in kinds:
            counts = "".join(f"{self.count[kind, what]:>11,}" for what in OUTCOMES)
            lines.append(f"{kind:<22}{counts}")
        totals = [sum(self.count[kind, what] for kind in kinds) for what in OUTCOMES]
        return "\n".join([*lines, f"{'all':<22}" + "".join(f"{t:>11,}" for t in totals)])


def main() -> None:
    """Try inputs until the time is over, and count."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=10**9, help="an input of each kind in each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where it happens; default: a temporary one")
    parser.add_argument("--only", choices=[*ALL, "API"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=given.folder))
    print(f"{given.minutes:g} minutes, seed {given.seed}, in {folder}", flush=True)
    fuzz = Fuzz(folder, given.seed)
    until = time.monotonic() + 60 * given.minutes
    number = 0
    while given.only != "API" and time.monotonic() < until and number < given.rounds:
        for kind in [given.only] if given.only else ALL:
            fuzz.one(kind, number)
        number += 1
        if number % 10 == 0 and given.only is None:
            fuzz.count.update(api.tried(given.seed + number, fuzz.faults))
    if given.only == "API":
        fuzz.count.update(api.tried(given.seed, fuzz.faults, examples=300))
    print(fuzz.table())
    for fault, count in fuzz.faults.most_common():
        print(f"{count} × {fault}")
    shutil.rmtree(folder / "base")
    total = f"{fuzz.count.total():,} inputs, {fuzz.faults.total()} faults"
    print(f"{total}, seed {given.seed}, {given.minutes:g} minutes; {folder}")
    sys.exit(1 if fuzz.faults else 0)


if __name__ == "__main__":
    main()
