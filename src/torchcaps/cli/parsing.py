"""What tyro has to say of options that it cannot parse, as one sentence."""

import contextlib
import difflib
import io
import re
import sys
from collections.abc import Callable
from typing import TypeVar

from torchcaps.errors import InputError

__all__ = ["in_one_sentence"]

T = TypeVar("T")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
SIDES, CORNERS = "│┃| ", ("╭", "╰", "┏", "┗", "+")
RULE = re.compile(r"[─━-]{8,}")  # between the parts of what it says
KINDS = {"INT": "a whole number", "FLOAT": "a number", "int": "a whole number", "float": "a number"}
# Of an option's value: which option, what was given, and a word for what was expected.
VALUES = (
    re.compile(r"Error parsing (?P<name>\S+): no type matching \{None\}\|(?P<kind>INT|FLOAT) could "
               r"be instantiated from \[(?P<value>.*?)\]\."),
    re.compile(r"Error parsing (?P<name>\S+): invalid literal for (?P<kind>int)\(\) with base 10: "
               r"(?P<value>.*)"),
    re.compile(r"Error parsing (?P<name>\S+): could not convert string to (?P<kind>float): "
               r"(?P<value>.*)"),
)  # fmt: skip


def in_one_sentence(parse: Callable[[], T], command: str, explain: Callable[[], str] = str) -> T:
    """The result of `parse`, which calls tyro; its boxes on standard error become a sentence.

    Args:
        parse: what may end with `SystemExit`.
        command: whose --help explains the options.
        explain: gives the sentence that stands in place of tyro's, or "" for tyro's own.

    Raises:
        InputError: in place of a `SystemExit` that is no success.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            found = parse()
    except SystemExit as stopped:
        text = COLOURS.sub("", said.getvalue())
        if stopped.code in (0, None) or not (sentence := first_part(text)):
            sys.stderr.write(said.getvalue())
            raise
        sentence = explain() or plainly(sentence)
        see = " See" if sentence.endswith("?") else "; see"
        raise InputError(f"{sentence}{see} {command} --help") from None
    sys.stderr.write(said.getvalue())
    return found


def first_part(text: str) -> str:
    """What stands in a box before its first rule, and what was perhaps meant.

    Example:
        >>> first_part("╭─ Error ─╮\\n│ no such option. │\\n│ ──────── │\\n│ help │\\n╰─╯")
        'no such option.'
        >>> first_part(" Error \\n ---------- \\n no such \\n option. \\n ---------- \\n help \\n")
        'no such option.'
    """
    lines = [line.strip(SIDES) for line in text.splitlines() if line[:1] not in CORNERS]
    lines = [line for line in lines if line]
    framed = text.lstrip()[:1] in CORNERS
    if not framed and len(lines) > 2 and RULE.fullmatch(lines[1]):  # a title
        del lines[:2]
    ends = [k for k, line in enumerate(lines) if RULE.fullmatch(line)]
    if not ends:
        return ""
    sentence = " ".join(lines[: ends[0]])
    return f"{sentence}{hint(' '.join(lines), sentence)}" if sentence else ""


def hint(text: str, sentence: str) -> str:
    """The option that was perhaps meant, or the commands that there are."""
    if commands := re.search(r"Available subcommands: (.*?)(?: [─━-]{8,}|$)", text):
        return f"; expected {commands[1]}"
    _, _, meant = text.partition("Perhaps you meant:")
    given = re.search(r"--[\w-]+", sentence)
    options = re.findall(r"--[\w-]+", meant)
    close = difflib.get_close_matches(given[0], options, 1) if given else []
    return f" (perhaps you meant {close[0]})" if close else ""


def plainly(sentence: str) -> str:
    """The same without names of Python's.

    Example:
        >>> plainly("Error parsing --epochs: invalid literal for int() with base 10: 'x'")
        "--epochs is 'x'; expected a whole number"
    """
    for pattern in VALUES:
        if found := pattern.match(sentence):
            return f"{found['name']} is {found['value']}; expected {KINDS[found['kind']]}"
    sentence = re.sub(r"'\('([\w-]+)',\)'", r"'\1'", sentence)  # tyro 1.0 prints a tuple
    sentence = sentence.replace("argument 'checkpoint'", "MODEL")  # as --help calls it
    return sentence.split(" Got errors:")[0].replace("' ) .", "')").replace(") .", ")").rstrip(". ")
