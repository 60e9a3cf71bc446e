"""Modules of JavaScript → one script, so that a page opened from a file needs no other file.

A browser loads no modules from `file://`. This takes the few forms of import and export that the
explorer's modules use and refuses all others by name:

    import { a, b } from "./other.js";        at the start of a line; may go over several lines
    export function|async function|function*|class|const name …
"""

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

__all__ = ["BundleError", "bundle"]

NAMES = r"\s*[\w$]+(?:\s*,\s*[\w$]+)*\s*,?\s*"
IMPORT = re.compile(rf'^import \{{({NAMES})\}} from "\./([\w-]+\.js)";[ \t]*$', re.M)
EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) ?([\w$]+))", re.M)
# Anything else of the kind. Within comments and texts too: there it can be written differently.
OTHER = re.compile(
    r"^(?:import|export)\b.*|\bimport\s*\(|\bimport\.meta\b|</script|<!--", re.M | re.I
)


class BundleError(ValueError):
    """A module that cannot be put into the script: the message names file, line and reason."""


def bundle(folder: Path, entry: str) -> str:
    """The module `entry` and all it imports, in an order in which each finds what it needs.

    Args:
        folder: holds the modules.
        entry: file name of the module that is to run.

    Returns:
        A script that leaves nothing in the global scope but what the modules put there themselves.

    Raises:
        BundleError: a form of import or export that is not taken, a module or name that does not
            exist, modules that import each other, or text that would end the script's element.
    """
    sources = read_all(folder, entry)
    needs = {name: {m[2] for m in IMPORT.finditer(text)} for name, text in sources.items()}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise BundleError(f"modules import each other: {' → '.join(error.args[1])}") from error
    offered = {name: [m[1] for m in EXPORT.finditer(text)] for name, text in sources.items()}
    scopes = [scope(name, sources[name], offered) for name in order]
    return "\n".join(['(() => {\n"use strict";', *scopes, "})();\n"])


def read_all(folder: Path, entry: str) -> dict[str, str]:
    """File name → text of the module `entry` and of all that it leads to."""
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
        wanted += [(match[2], name) for match in IMPORT.finditer(found[name])]
    return found


def scope(name: str, text: str, offered: dict[str, list[str]]) -> str:
    """A module as a function of its own, run at once, which returns what the module exports."""

    def taken(match: re.Match[str]) -> str:
        names, other = match[1].replace(",", " ").split(), match[2]
        for wanted in names:
            if wanted not in offered[other]:
                raise BundleError(f"{place(match)}: {other} does not export {wanted}")
        # As many lines as before, so that a line of the script is easily found in its module.
        lines = "\n" * match[0].count("\n")
        return f"const {{ {', '.join(names)} }} = {variable(other)};{lines}"

    def place(match: re.Match[str]) -> str:
        return f"{name}, line {text.count(chr(10), 0, match.start()) + 1}"

    for match in OTHER.finditer(text):
        if not IMPORT.match(text, match.start()) and not EXPORT.match(text, match.start()):
            raise BundleError(f"{place(match)}: cannot bundle {match[0].strip()!r}")
    body = EXPORT.sub("", IMPORT.sub(taken, text))
    return (
        f"const {variable(name)} = (() => {{ // {name}\n{body.rstrip()}\n"
        f"return {{ {', '.join(offered[name])} }};\n}})();"
    )


def variable(name: str) -> str:
    """What a module's exports are called in the script; no module has such a name itself."""
    return "module$" + re.sub(r"\W", "$", name.removesuffix(".js"))
