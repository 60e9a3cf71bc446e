"""The paths among the options of a command, as a shell would have given them."""

import os
from pathlib import Path
from typing import Any

from torchcaps.errors import InputError

__all__ = ["expand_paths", "expanded"]

# Folders in each other: Python makes them by calling itself, a thousand times at most.
DEEPEST = 500


def expand_paths(command: Any) -> None:
    """Put folders of users in the place of ~ and ~name, as a shell does where it sees them.

    Raises:
        InputError: there is no such user (without this a folder of that name would be made), or
            more folders are in each other than Python makes.
    """
    for name, value in vars(command).items():
        if isinstance(value, Path):
            setattr(command, name, expanded(name, value))
        elif isinstance(value, list):
            setattr(command, name, [named_by_user(entry) for entry in value])


def named_by_user(entry: Any) -> Any:
    """A path among several as `expand_paths` does it, unless a file is called so: ~$notes.png.

    What it cannot expand it leaves, to be answered as a file that is not there.
    """
    named = isinstance(entry, Path) and not os.path.lexists(entry)
    return Path(os.path.expanduser(entry)) if named else entry


def expanded(name: str, path: Path) -> Path:
    """The path of an option of this name, as `expand_paths` does it.

    Example:
        >>> expanded("out", Path("runs/a")).as_posix()
        'runs/a'
    """
    option = f"--{name.replace('_', '-')}"
    if len(path.parts) > DEEPEST:
        raise InputError(
            f"{option} names {len(path.parts):,} folders in each other; expected at most "
            f"{DEEPEST}: take a shorter path"
        )
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{option} {path} names the folder of a user, and there is none called "
            f"{path.parts[0][1:]}: for a folder of that name write ./{path}"
        ) from error
