"""A training run that kills itself, for tests: in a module of its own, so that children import it.

A moment is one of
- ("event", n): at the n-th call or return of a function, of C or of Python;
- ("half-written", pattern, n), ("written", …), ("renamed", …): the n-th time that a file whose name
  fits the pattern is written: when half of it has been, before it gets its name, and after;
- ("removing", pattern, n), ("removed", …): before and after the n-th time that one is deleted.
"""

import fnmatch
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchcaps.storage import write_bytes
from torchcaps.training import pictures
from torchcaps.training.config import TrainConfig
from torchcaps.training.loop import resume, train

Moment = tuple[Any, ...]


def child(
    train_or_resume: Callable[[TrainConfig], object],
    config: TrainConfig,
    moment: Moment | None,
    log: Path,
) -> None:
    """Begin the run of `config`, or go on with it, and die at `moment`.

    Writes into `log` how many events there were, if it gets to the end.
    """
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for name in ("learning_curves", "confusion", "mistakes", "reconstructions"):
        setattr(pictures, f"draw_{name}", quick_picture)
    counter = EventCounter(moment[1] if moment and moment[0] == "event" else None)
    if moment and moment[0] != "event":
        FileMoment(*moment).watch()
    else:
        sys.setprofile(counter)
    train_or_resume(config)
    sys.setprofile(None)
    log.write_text(str(counter.events))


def train_or_resume_images(config: TrainConfig) -> None:
    """Begin the run of `config`, or go on with it."""
    assert config.out is not None
    if (config.out / "config.json").exists():
        resume(config.out)
    else:
        train(config)


def quick_picture(*arguments: object, path: Path, **options: object) -> None:
    """In place of a real one, which takes longer than the training."""
    write_bytes(path, b"a picture")


def die() -> None:
    """As a power cut would have it: no handler, no clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


class EventCounter:
    """Counts what `sys.setprofile` reports, and dies at one event."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.events = 0

    def __call__(self, frame: object, event: str, argument: object) -> None:
        self.events += 1
        if self.events == self.last:
            die()


class FileMoment:
    """Dies when a file is written, named or removed for the n-th time."""

    def __init__(self, what: str, pattern: str, n: int) -> None:
        self.what, self.pattern, self.left = what, pattern, n

    def watch(self) -> None:
        replace, unlink, write_bytes = os.replace, Path.unlink, Path.write_bytes

        def watched_replace(source: Any, target: Any) -> None:
            self.at("written", target)
            replace(source, target)
            self.at("renamed", target)

        def watched_unlink(path: Path, missing_ok: bool = False) -> None:
            self.at("removing", path)
            unlink(path, missing_ok)
            self.at("removed", path)

        def watched_write(path: Path, content: bytes) -> int:
            if self.due("half-written", path):
                write_bytes(path, content[: len(content) // 2])
                die()
            return write_bytes(path, content)

        os.replace = watched_replace  # type: ignore[assignment]
        Path.unlink = watched_unlink  # type: ignore[assignment, method-assign]
        Path.write_bytes = watched_write  # type: ignore[assignment, method-assign]

    def due(self, what: str, path: Any) -> bool:
        if what != self.what or not fnmatch.fnmatch(Path(path).name, self.pattern):
            return False
        self.left -= 1
        return self.left == 0

    def at(self, what: str, path: Any) -> None:
        if self.due(what, path):
            die()
