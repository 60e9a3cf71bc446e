"""Where a command prints: streams that take any character, and a display that may fail."""

import codecs
import io
import logging
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from torchcaps.errors import RunStopped

__all__ = ["can_print", "one_line", "safe_streams", "told_apart"]

HANDLER = "torchcaps.plain"
PLAIN = {
    "→": "->", "←": "<-", "▸": ">", "◂": "<", "…": "...", "·": "-", "×": "x", "–": "-", "—": "-",
    "−": "-", "±": "+/-", "≤": "<=", "≥": ">=", "“": '"', "”": '"', "‘": "'", "’": "'", "û": "u",
    "²": "2", "│": "|", "─": "-", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "━": "=", "╸": "=",
    "╺": "=", "█": "#", "•": "*", "\N{NARROW NO-BREAK SPACE}": " ", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip
# What C++ adds to a message: where it came from, frame by frame.
TRACE = re.compile(r"\s*(frame #\d+|Exception raised from|C\+\+ (CapturedT|t)raceback)")


def one_line(text: str) -> str:
    """A message as one line: no breaks, no control characters, no frames of C++.

    Example:
        >>> one_line("a name\\nof \\x1b[31m two lines")
        'a name of \\\\x1b[31m two lines'
    """
    lines = (line.strip() for line in text.splitlines() if not TRACE.match(line))
    return "".join(letter if _shows(letter) else _escaped(letter) for letter in " ".join(lines))


def told_apart(names: Iterable[str]) -> tuple[str, ...]:
    """Names as `one_line` shows them, but for those that would look like another one.

    Those, which may differ in a break or in how an é is made, are written as Python does.

    Example:
        >>> print(*told_apart(["cat", "do g", "do\\ng"]))
        cat 'do g' 'do\\ng'
    """
    names = list(names)
    looks = [" ".join(unicodedata.normalize("NFKC", one_line(name)).split()) for name in names]
    times = Counter(looks)
    shown = [ascii(name) if times[look] > 1 else one_line(name) for name, look in zip(names, looks)]
    # A name may itself be written like the one that Python gives another: "'do g'".
    return tuple(shown if len(set(shown)) == len(shown) else map(ascii, names))


def _shows(letter: str) -> bool:
    return letter.isprintable() or letter in PLAIN


def _escaped(letter: str) -> str:
    return (
        letter.encode("ascii", "backslashreplace").decode()
        if ord(letter) > 127
        else (f"\\x{ord(letter):02x}")
    )


def can_print(letter: str) -> bool:
    """Whether standard output has this character.

    Example:
        >>> can_print("a")
        True
    """
    try:
        letter.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


@contextmanager
def safe_streams(keep_going: bool = False) -> Iterator[None]:
    """Standard output and error that take any character, also where they are closed or ASCII.

    Args:
        keep_going: a display that fails (a full disk, a reader that has gone) does not end the
            command, which goes on without one; otherwise it is told as what it is.
    """
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    handlers = []
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            handlers.append((stream, stream.errors))
            stream.reconfigure(errors=HANDLER)
    out, err = (io.StringIO() if stream is None else stream for stream in before)
    sys.stdout = cast("Any", Display(out, keep_going))
    sys.stderr = cast("Any", Display(err, True))
    warnings = OneLine(logging.WARNING)
    logging.getLogger("torchcaps").addHandler(warnings)
    try:
        yield
    finally:
        logging.getLogger("torchcaps").removeHandler(warnings)
        sys.stdout, sys.stderr = before
        for stream, errors in handlers:
            if not stream.closed:
                stream.reconfigure(errors=errors)


class OneLine(logging.Handler):
    """Prints a warning on standard error as one line, whatever a name in it holds."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        print(one_line(record.getMessage()), file=sys.stderr)


class Display:
    """A stream whose failures are its own: see `safe_streams`."""

    def __init__(self, stream: Any, keep_going: bool) -> None:
        self._stream, self._keep_going = stream, keep_going

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or fail as `safe_streams` says."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: closed
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or fail likewise."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    def _failed(self, error: OSError | ValueError) -> None:
        if isinstance(error, BrokenPipeError) and not self._keep_going:
            raise error
        try:  # what is left in its buffer would fail again, at the latest when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        except (OSError, ValueError):
            self._stream = io.StringIO()
        if not self._keep_going:
            why = getattr(error, "strerror", None) or error
            raise RunStopped(f"standard output cannot be written: {why}", exit_code=1) from error


def _fill_descriptors() -> None:
    """Where a standard stream was closed, the next file to be opened would take its number, and
    what a library prints would go into that file."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler: characters that a stream has, for those that it has not."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter) or _as_json(letter) for letter in found), error.end


def _as_json(letter: str) -> str:
    """\\uXXXX, which JSON reads back."""
    code = ord(letter)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


codecs.register_error(HANDLER, _plain)
