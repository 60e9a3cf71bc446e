"""Words of a command line that a command does not take, and what was probably meant by them.

The parser says only that it does not know a word. A misspelt option before MODEL it may take for
MODEL, or say that MODEL is missing.
"""

import dataclasses
import difflib
import math
import os
import shlex
import typing
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

from torchcaps.errors import InputError

__all__ = ["check_options", "explain"]

# The option that a word without one probably belongs to, where no option has it among its choices.
MEANT = {"train": "--data", "eval": "--data", "explore": "--out", "export": "--out",
         "bench": "--shapes"}  # fmt: skip
ALONE = {"--model": "checkpoint", "--checkpoint": "checkpoint", "--images": "images"}
TRUTHS = {"yes", "no", "true", "false", "on", "off", "1", "0"}
NUMBERS = {"-inf", "-infinity", "-nan"}


class Stray(NamedTuple):
    """A word too many.

    Attributes:
        word: as it was written.
        option: the last one before it, or "".
        value: what the option was given, where the word stands right behind that, or "".
    """

    word: str
    option: str = ""
    value: str = ""


class Taken(NamedTuple):
    """What a command takes: types of its options (`--name`) and of its arguments (`name`)."""

    options: dict[str, Any]
    arguments: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """Every option as it can be written."""
        negated = [f"--no-{name[2:]}" for name, kind in self.options.items() if kind is bool]
        return [*self.options, *negated, "--help", "-h"]


def check_options(command: type, name: str, words: Sequence[str]) -> None:
    """Raise for options that a command does not have, and for values of those that take none.

    Left to the parser, `predict --thresh 0.4 MODEL` lacks a MODEL, or has one called --thresh, and
    `predict MODEL --json yes` has an image.

    Args:
        command: the dataclass of its options.
        name: of the command.
        words: what follows the name.

    Raises:
        InputError: so it is. A value passes for an argument where a file is called so.
    """
    if not {"-h", "--help"}.isdisjoint(words):
        return
    taken = taken_by(command)
    if unknown := words_left(taken, words)[0]:
        told = ", ".join(f"{word}{hint(taken, word)}" for word in unknown)
        raise InputError(f"Unrecognized options: {told}; see torchcaps {name} --help")
    flags = [name for name, kind in taken.options.items() if kind is bool]
    words = list(takewhile(lambda word: word != "--", words))
    for word, following in zip(words, [*words[1:], ""]):
        written, equals, value = word.partition("=")
        flag = next((f for f in flags if spelt(written) in (f, f"--no-{f[2:]}")), None)
        if flag is None or not (equals or following.lower() in TRUTHS):
            continue
        if equals or not is_there(following):
            raise InputError(
                f"{written} takes no value, got {value if equals else following!r}: write {flag} "
                f"or --no-{flag[2:]} alone"
            )


def explain(command: type, name: str, words: Sequence[str]) -> str:
    """What was probably meant by the first word too many; "" where there is none.

    Args:
        command, name, words: as above.
    """
    taken = taken_by(command)
    stray = words_left(taken, words)[1]
    return meant(name, taken, stray) if stray else ""


def taken_by(command: type) -> Taken:
    """What the fields of a command say that it takes."""
    hints = typing.get_type_hints(command, include_extras=True)
    taken = Taken({}, {})
    for field in dataclasses.fields(command):
        kind = hints[field.name]
        if tyro.conf.Positional in getattr(kind, "__metadata__", ()):
            taken.arguments[field.name] = typing.get_args(kind)[0]
        else:
            taken.options[f"--{field.name.replace('_', '-')}"] = kind
    return taken


def words_left(taken: Taken, words: Sequence[str]) -> tuple[list[str], list[Stray]]:
    """Words that begin as options do and are none; and words too many, read as the parser does.

    A word right behind an unknown option may be its value, and does not count.
    """
    unknown, stray = list[str](), list[Stray]()
    places, begun = list(taken.arguments.values()), False
    option, value, wanted = "", "", 0.0  # of the last option, and how many values it still takes
    for word in takewhile(lambda word: word != "--", words):
        if begins_as_option(word):
            written, equals, value = word.partition("=")
            option = spelt(written)
            if option not in taken.names:
                unknown.append(written)
            wanted = 0 if equals else most_values(taken.options.get(option))
            if begun:  # a list of arguments ends at the first option behind it
                places = []
        elif wanted:
            value, wanted = word, wanted - 1
        elif places:
            option = value = ""
            begun = typing.get_origin(places[0]) is list
            places = places if begun else places[1:]
        else:
            stray.append(Stray(word, option, value))
    return unknown, stray


def begins_as_option(word: str) -> bool:
    """Whether the parser looks for an option of this name: -5 and -.png are values.

    Example:
        >>> [begins_as_option(word) for word in ("--to", "-dash.png", "-5", "-", "a-b")]
        [True, True, False, False, False]
    """
    return word.startswith("-") and word.lstrip("-")[:1].isalpha() and word.lower() not in NUMBERS


def spelt(written: str) -> str:
    """An option as `Taken` spells it; the parser takes --batch_size too."""
    return written.replace("_", "-") if written.startswith("--") else written


def most_values(kind: Any) -> float:
    """How many values an option of this type takes; of an unknown one, perhaps one."""
    if kind is bool:
        return 0
    return math.inf if typing.get_origin(kind) is tuple else 1


def hint(taken: Taken, word: str) -> str:
    """In brackets what was probably meant by an option that is none."""
    if ALONE.get(word) in taken.arguments:
        return " (write its value without an option, as an argument)"
    if word.startswith("--"):
        close = difflib.get_close_matches(spelt(word), taken.names, 1)
    elif os.path.lexists(word) or "." in word:
        return f" (for a file of that name write ./{word})"
    elif len(word) == 2:  # as short options are
        close = [name for name in taken.names if name.startswith(f"-{word}")]
    else:
        close = difflib.get_close_matches(f"-{word}", taken.names, 1)
    return f" (perhaps you meant {' or '.join(close)})" if close else ""


def meant(name: str, taken: Taken, stray: Sequence[Stray]) -> str:
    """What is said of words too many: mostly values of options, and the options left out."""
    word, option, value = stray[0]
    if any(typing.get_origin(kind) is list for kind in taken.arguments.values()):
        return f"{name} takes no argument {word!r} behind {option}: name all images side by side"
    beside = " beside MODEL" if taken.arguments else ""
    said = f"{name} takes no argument {word!r}{beside}"
    if value and takes_path(option, taken.options.get(option)) and not is_there(word):
        # Of a name with spaces, which stands in no quotes, the shell makes several words.
        whole = " ".join([value, *(each.word for each in stray if each.option == option)])
        return f"{said}: did you mean {option} {shlex.quote(whole)}?"
    having = [each for each, kind in taken.options.items() if word in choices(kind)]
    likely = having[0] if len(having) == 1 and not is_there(word) else MEANT.get(name)
    if likely is None or (is_number(word) and not is_there(word)):
        return f"{said}: leave it out"
    return f"{said}: did you mean {likely} {shlex.quote(word)}?"


def takes_path(option: str, kind: Any) -> bool:
    """Whether the value of an option of this type may be a path."""
    return option == "--data" or Path in (kind, *typing.get_args(kind))


def choices(kind: Any) -> tuple[Any, ...]:
    """The words that an option of this type takes, where it takes no others.

    Example:
        >>> choices(tuple[Literal["mnist", "cifar"], ...])
        ('mnist', 'cifar')
    """
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return inner
    return tuple(choice for part in inner for choice in choices(part))


def is_there(word: str) -> bool:
    """Whether there is a file or a folder of this name."""
    return os.path.lexists(os.path.expanduser(word))


def is_number(word: str) -> bool:
    """Whether a word is the value of an option of numbers, rather than a name."""
    try:
        float(word)
    except ValueError:
        return False
    return True
