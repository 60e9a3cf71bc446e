"""What a person sees while a run goes on: a bar with the time left, and a line an epoch."""

from collections.abc import Iterable, Sequence
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)

__all__ = ["TrainingProgress", "watched"]

Item = TypeVar("Item")


class TrainingProgress:
    """A progress bar over the steps of a run.

    The bar appears on a terminal only; the lines always.

    Args:
        total: steps in the run.
        done: steps done before (a resumed run).
        quiet: say nothing (processes other than the first).
    """

    def __init__(self, total: int, done: int = 0, *, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, description: str) -> None:
        """One more step is done."""
        self._bar.update(self._task, advance=1, description=description)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, markup=False)

    def epoch(self, line: str) -> None:
        """Print the line of an epoch."""
        self.say(line)


def watched(items: Sequence[Item], description: str) -> Iterable[Item]:
    """The items, with a bar on standard error while they are gone through, on a terminal only."""
    console = Console(stderr=True)
    disable = not console.is_terminal
    return track(items, description, console=console, transient=True, disable=disable)
