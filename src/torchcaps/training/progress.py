"""What a person sees while a run goes on: a bar with the time left, and a line an epoch."""

import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TextIO, TypeVar, cast

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

__all__ = ["TrainingProgress", "counted", "say", "watched"]

Item = TypeVar("Item")
EVERY = 30.0  # seconds between the lines that take the place of a bar where there is no terminal
PLAIN = str.maketrans({"→": "->", "“": '"', "”": '"', "×": "x", "…": "...", "·": "-"})


class TrainingProgress:
    """A progress bar over the steps of a run.

    The bar appears on a terminal only; the lines always.

    Args:
        total: steps in the run.
        done: steps done before (a resumed run).
        quiet: say nothing (processes other than the first).
    """

    def __init__(self, total: int, done: int = 0, *, quiet: bool = False) -> None:
        file = cast("TextIO", Display(sys.stdout))
        self.console = Console(file=file, quiet=quiet, highlight=False, soft_wrap=True)
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
        self.console.print(visible(text), markup=False)

    def epoch(self, line: str) -> None:
        """Print the line of an epoch."""
        self.say(line)


def watched(items: Sequence[Item], description: str) -> Iterable[Item]:
    """The items, with a bar on standard error while they are gone through, on a terminal only."""
    console = Console(file=cast("TextIO", Display(sys.stderr)))
    disable = not console.is_terminal
    return track(items, description, console=console, transient=True, disable=disable)


@contextmanager
def counted(total: int, noun: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error over so many things, with their rate and the time left.

    Where there is no terminal, a line every half minute says the same.

    Args:
        total: of the things.
        noun: what they are, "images".

    Yields:
        What is to be called with the number of things done since the last call.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _said_in_lines(total, noun)
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{noun} · {{task.fields[rate]}} a second · left"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(noun, total=total, rate="–")

        def advance(count: int) -> None:
            done = bar.tasks[0].completed + count
            bar.update(task, advance=count, rate=f"{done / (time.monotonic() - began):,.0f}")

        yield advance


def _said_in_lines(total: int, noun: str) -> Callable[[int], None]:
    began = said = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now - said >= EVERY and done < total:
            said = now
            left = (now - began) / done * (total - done)
            print(f"{done:,} of {total:,} {noun}, {left:,.0f} s left", file=sys.stderr, flush=True)

    return advance


def say(line: str) -> None:
    """Print a line, as far as that can be done."""
    display = Display(sys.stdout)
    display.write(f"{visible(line)}\n")
    display.flush()


def visible(text: str) -> str:
    """Lines whose control characters, which a name may hold, are shown and not obeyed.

    Example:
        >>> visible("a name" + chr(27) + "[31m")
        'a name\\\\x1b[31m'
    """
    return "".join(f"\\x{ord(letter):02x}" if is_control(letter) else letter for letter in text)


def is_control(letter: str) -> bool:
    """Whether a terminal may obey it: control characters, and those that turn the direction."""
    turns = letter in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return letter not in "\n\t" and (unicodedata.category(letter) == "Cc" or turns)


class Display:
    """A stream that never fails: hours of training are not to end because nobody can look.

    Characters that the stream has not are written in others; of a stream that is closed, or on a
    full disk, or whose reader has gone, nothing more is asked.

    Args:
        stream: None where there is none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False

    def write(self, text: str) -> int:
        """Write the text, or what can be written of it."""
        if self._stream is not None:
            try:
                self._write(self._stream, text)
            except (OSError, ValueError):
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Flush."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
        except UnicodeEncodeError as error:
            plain = text.translate(PLAIN).encode(error.encoding, "backslashreplace")
            stream.write(plain.decode(error.encoding))
