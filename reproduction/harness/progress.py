"""What a person sees while an experiment goes on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from torchcaps.training.progress import TrainingProgress

__all__ = ["ExperimentProgress"]

TRAINING = 0.75  # of the time of a cell, about; the rest is measuring


class ExperimentProgress(TrainingProgress):
    """A bar over the cells with the time left, on a terminal only, and a line for each one done.

    Args:
        cells: how many there are.
        finished: says how many of them are done, by whichever process.
    """

    def __init__(self, cells: int, finished: Callable[[], int]) -> None:
        super().__init__(cells)
        self._cells, self._finished, self._first = cells, finished, finished()
        self._name, self._steps, self._began = "", 1, time.perf_counter()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            speed_estimate_period=3600,
        )
        self._task = self._bar.add_task("", total=cells, completed=self._first)

    @contextmanager
    def cell(self, name: str) -> Iterator[None]:
        """While a cell is computed; ends with its line."""
        self._name, started = name, time.perf_counter()
        self._bar.update(self._task, description=name)
        yield
        done = self._finished()
        self._bar.update(self._task, completed=done)
        now = time.perf_counter()
        left = (now - self._began) / (done - self._first) * (self._cells - done)
        self.say(f"[{done}/{self._cells}] {name}   {now - started:.1f} s   {duration(left)} left")

    def training(self, steps: int) -> None:
        """The cell now begins so many steps of training."""
        self._steps = max(1, steps)

    def step(self, description: str) -> None:
        """One more step is done."""
        words = f"{self._name}, {description}"
        self._bar.update(self._task, advance=TRAINING / self._steps, description=words)

    def epoch(self, line: str) -> None:
        """Nothing: a line for each cell is enough."""

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """While something else may draw a bar of its own."""
        self._bar.stop()
        yield
        self._bar.start()


def duration(seconds: float) -> str:
    """Seconds in words, roughly.

    Example:
        >>> duration(45), duration(900), duration(7000)
        ('45 s', '15 min', '1.9 h')
    """
    if seconds < 99:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"
