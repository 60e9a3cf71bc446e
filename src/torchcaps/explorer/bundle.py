"""Modules of JavaScript → one script, so that a page opened from a file needs no other file.

A browser loads no modules from `file://`. This takes the few forms of import and export that the
explorer's modules use and refuses all others by name:

    import { a, b } from "./other.js";        at the start of a line; may go over several lines
    import { c } from "../folder/other.js";   from any folder of the page, but not from outside
    export function|async function|function*|class|const name …
"""

import json
import posixpath
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

__all__ = ["BundleError", "bundle"]

NAMES = r"\s*[\w$]+(?:\s*,\s*[\w$]+)*\s*,?\s*"
ADDRESS = r"(?:\./|(?:\.\./)+)(?:[\w-]+/)*[\w-]+\.js"
IMPORT = re.compile(rf'^import \{{({NAMES})\}} from "({ADDRESS})";[ \t]*$', re.M)
EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) ?([\w$]+))", re.M)
# Anything else of the kind. Within comments and texts too: there it can be written differently.
OTHER = re.compile(
    r"^(?:import|export)\b.*|\bimport\s*\(|\bimport\.meta\b|</script|<!--", re.M | re.I
)
EXPORTED = "module$exports"  # in the script: name of each module → its exports


class BundleError(ValueError):
    """A module that cannot be put into the script: the message names file, line and reason."""


def bundle(folder: Path, entry: str) -> str:
    """The module `entry` and all it imports, in an order in which each finds what it needs.

    Args:
        folder: holds the modules, in folders of its own or not. A module's name is its path from
            here, as in `engine/route.js`.
        entry: name of the module that is to run.

    Returns:
        A script that leaves nothing in the global scope but what the modules put there themselves.

    Raises:
        BundleError: a form of import or export that is not taken, a module or name that does not
            exist, an import from outside the folder, modules that import each other, or text that
            would end the script's element.
    """
    sources = read_all(folder, entry)
    # Lists, not sets: the same modules make the same script in every process.
    needs = {name: imported(name, text) for name, text in sources.items()}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise BundleError(f"modules import each other: {' → '.join(error.args[1])}") from error
    offered = {name: [m[1] for m in EXPORT.finditer(text)] for name, text in sources.items()}
    scopes = [scope(name, sources[name], offered) for name in order]
    return "\n".join(['(() => {\n"use strict";', f"const {EXPORTED} = {{}};", *scopes, "})();\n"])


def read_all(folder: Path, entry: str) -> dict[str, str]:
    """Name → text of the module `entry` and of all that it leads to."""
    found: dict[str, str] = {}
    wanted = [(entry, entry)]
    while wanted:
        name, asker = wanted.pop()
        if name in found:
            continue
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{asker}: there is no module {name} in {folder}")
        found[name] = path.read_text(encoding="utf-8")
        wanted += [(other, name) for other in imported(name, found[name])]
    return found


def imported(name: str, text: str) -> list[str]:
    """The names of the modules that a module imports."""
    return [target(name, match) for match in IMPORT.finditer(text)]


def target(name: str, match: re.Match[str]) -> str:
    """The name of the module that an import of the module `name` leads to."""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[2]))
    if found.startswith("../"):
        raise BundleError(f"{place(name, match)}: {match[2]} is outside the folder of the modules")
    return found


def place(name: str, match: re.Match[str]) -> str:
    """Where in a module something was found."""
    return f"{name}, line {match.string.count(chr(10), 0, match.start()) + 1}"


def scope(name: str, text: str, offered: dict[str, list[str]]) -> str:
    """A module as a function of its own, run at once, which returns what the module exports."""

    def taken(match: re.Match[str]) -> str:
        names, other = match[1].replace(",", " ").split(), target(name, match)
        for wanted in names:
            if wanted not in offered[other]:
                raise BundleError(f"{place(name, match)}: {other} does not export {wanted}")
        # As many lines as before, so that a line of the script is easily found in its module.
        lines = "\n" * match[0].count("\n")
        return f"const {{ {', '.join(names)} }} = {exports(other)};{lines}"

    for match in OTHER.finditer(text):
        if not IMPORT.match(text, match.start()) and not EXPORT.match(text, match.start()):
            raise BundleError(f"{place(name, match)}: cannot bundle {match[0].strip()!r}")
    body = EXPORT.sub("", IMPORT.sub(taken, text))
    return (
        f"{exports(name)} = (() => {{ // {name}\n{body.rstrip()}\n"
        f"return {{ {', '.join(offered[name])} }};\n}})();"
    )


def exports(name: str) -> str:
    """Where in the script a module's exports are; no module has such a name itself."""
    return f"{EXPORTED}[{json.dumps(name)}]"
