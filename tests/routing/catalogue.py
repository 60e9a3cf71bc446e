"""`python -m tests.routing.catalogue` makes the tables of docs/routings.md from `ROUTINGS`.

What is in the vector files is compared once more for it, with those in the folder that
TORCHCAPS_VECTORS names, or with the few beside the tests. `test_catalogue.py` holds the page to
what the registry says.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.routing.test_contract import ROWS
from tests.routing.test_vectors import FILES, Comparison, comparisons
from tests.routing.vector_cases import CASES, DEFECTIVE, VectorFile, algorithm_of
from torchcaps.kernels.dispatch import KERNELS
from torchcaps.layers import ClusterCaps
from torchcaps.routing import ROUTINGS, Law, Routing, create_routing
from torchcaps.storage import write_text

PAGE = Path(__file__).parents[2] / "docs" / "routings.md"
# The beginning of a vector file's name → the routing that it is of; the longest counts.
ROW_OF = {
    "attention-routing": "ar_capsnet", "cluster-routing": "cluster", "comirec": "interests",
    "deepcaps-conv3d": "deepcaps", "deepcaps-dense": "dynamic", "deepcaps-fc": "dynamic",
    "efficient-capsnet": "self_attention", "em": "em", "group-equivariant": "group_equivariant",
    "heinsen2019": "heinsen2019", "heinsen2022": "heinsen2022",
    "inverted-attention": "attention", "kde": "kde", "kde-dynamic_routing": "dynamic",
    "mind": "interests", "rechub": "interests", "segcaps": "locally_constrained",
    "self-routing": "self_routing", "torcheasyrec": "interests", "vb": "variational",
}  # fmt: skip
LETTERS = {
    Law.ODD: "O", Law.ROTATION_EQUIVARIANT: "R", Law.LENGTH_IS_ACTIVATION: "L",
    Law.INPUT_ORDER_IS_FREE: "I", Law.COUPLING_SHARES_ONE_UNIT: "C",
    Law.INACTIVE_INPUTS_HAVE_NO_INFLUENCE: "A",
}  # fmt: skip
SIZES = {"I": 7, "P": 11, "J": 13, "D": 17}


class Measured(NamedTuple):
    """How the vector files of a routing compare: files, arrays, worst errors by dtype."""

    files: int
    arrays: int
    worst: dict[torch.dtype, float]


def row_of(algorithm: str) -> str:
    """The routing that the vector files of this name are of."""
    prefixes = [prefix for prefix in ROW_OF if f"{algorithm}-".startswith(f"{prefix}-")]
    return ROW_OF[max(prefixes, key=len)]


def measure() -> dict[str, Measured]:
    """Compare every vector file, and gather the errors by routing."""
    found: dict[str, list[Comparison]] = defaultdict(list)
    files: dict[str, int] = defaultdict(int)
    for path in FILES:
        if algorithm_of(path) in CASES:
            file = VectorFile(path)
            files[row_of(file.algorithm)] += 1
            for dtype in (torch.float32, torch.float64):
                found[row_of(file.algorithm)] += comparisons(file, "reference", dtype)
    return {
        row: Measured(
            files[row],
            len(of_row),
            {
                dtype: max((c.error for c in of_row if c.dtype == dtype), default=0.0)
                for dtype in (torch.float32, torch.float64)
            },
        )
        for row, of_row in found.items()
    }


def learned(routing: Routing[Any, Any]) -> str:
    """Names and shapes of what it learns with its default options."""
    I, P, J, D = (SIZES[letter] for letter in "IPJD")
    letters = {size: letter for letter, size in SIZES.items()}
    parts = []
    for name, value in routing.build(I, P, J, D).named_parameters():
        shape = ", ".join(letters.get(size, str(size)) for size in value.shape)
        parts.append(f"`{name}` [{shape}]")
    return ", ".join(parts) or "—"


def cells(name: str) -> list[str]:
    """What the registry says of a routing: all of its row but what is measured."""
    routing = create_routing(name)
    paper = routing.paper
    laws = "".join(LETTERS[law] for law in Law if law in routing.laws)
    kernels = [backend for row, backend in KERNELS if row == name]
    return [
        f"`{name}`",
        f"{paper.authors}, *{paper.title}*",
        str(paper.year),
        laws or "—",
        learned(routing),
        "yes" if routing.by_tiles else "no",
        ", ".join(kernels) or "—",
    ]


def layer_cells(layer: type[Any]) -> list[str]:
    """A layer that routes without votes: the same columns, as far as they fit."""
    paper = layer.paper
    name = f"`{layer.__name__}`, a layer"
    return [name, f"{paper.authors}, *{paper.title}*", str(paper.year), "—", "—", "no", "—"]


def catalogue(measured: dict[str, Measured]) -> Iterator[str]:
    """The table of routings, line by line."""
    yield (
        "| name | paper | year | laws | learned | tiles | kernels | vector files (arrays) "
        "| worst error, float32 | float64 |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    rows = {name: cells(name) for name in shipped()}
    rows["cluster"] = layer_cells(ClusterCaps)
    for name, of_row in rows.items():
        row = measured.get(name)
        files = f"{row.files} ({row.arrays})" if row else "none known"
        worst = [f"{error:.0e}" for error in row.worst.values()] if row else ["—", "—"]
        yield f"| {' | '.join([*of_row, files, *worst])} |"


def shipped() -> list[str]:
    """The rows of the registry that come with the package."""
    return ROWS  # doctests and experiments register others


def laws() -> Iterator[str]:
    """What the letters stand for."""
    for law in Law:
        yield f"- {LETTERS[law]}: {law.value}"


def code_lines() -> Iterator[str]:
    """The lines of code of each routing: those that are not blank, comment or docstring."""
    yield "| file | lines of code |"
    yield "|---|---|"
    for name in shipped():
        module = Path(*ROUTINGS[name].__module__.split("."))
        path = PAGE.parents[1] / "src" / module.with_suffix(".py")
        yield f"| `routing/{path.name}` | {count_code(path.read_text(encoding='utf-8'))} |"


def count_code(text: str) -> int:
    """Lines of a Python text without blank ones, comments and docstrings.

    Example:
        >>> count_code('def f():' + chr(10) + '    "What it does."' + chr(10) + '    return 1')
        2
    """
    within: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                within |= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        1
        for k, line in lines
        if line.strip() and not line.strip().startswith("#") and k not in within
    )


def defects() -> Iterator[str]:
    """The files that follow a defect."""
    yield "| files | the public code | what is asserted | test |"
    yield "|---|---|---|---|"
    for prefix, (defect, asserted, test) in DEFECTIVE.items():
        yield f"| `{prefix}…` | {defect} | {asserted} | `{test}` |"


def replaced(text: str, part: str, lines: Iterator[str]) -> str:
    """The page with other lines between the marks of a part."""
    pattern = rf"(<!-- {part} -->\n).*?(<!-- end -->)"
    new, count = re.subn(
        pattern, lambda m: m[1] + "\n".join(lines) + "\n" + m[2], text, flags=re.DOTALL
    )
    assert count == 1, f"{PAGE} has no part {part}"
    return new


def main() -> None:
    """Make the tables anew."""
    measured = measure()
    text = PAGE.read_text(encoding="utf-8")
    parts = {
        "catalogue": catalogue(measured),
        "laws": laws(),
        "lines": code_lines(),
        "defects": defects(),
    }
    for part, lines in parts.items():
        text = replaced(text, part, lines)
    write_text(PAGE, text)
    total = sum(row.arrays for row in measured.values())
    files = sum(row.files for row in measured.values())
    print(f"{PAGE}: {files} of {len(FILES)} files compared, {total} arrays")


if __name__ == "__main__":
    main()
