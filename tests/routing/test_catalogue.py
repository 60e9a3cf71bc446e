"""docs/routings.md says what the registry says, and a routing is a small file."""

import importlib
import re

import pytest

from tests.routing import catalogue
from tests.routing.test_vectors import COPIES, FILES, FOLDER
from tests.routing.vector_cases import CASES, DEFECTIVE, algorithm_of
from torchcaps.layers import ClusterCaps
from torchcaps.routing import Law

PAGE = catalogue.PAGE.read_text(encoding="utf-8")
ROWS = catalogue.shipped()
AGAIN = "make it anew: python -m tests.routing.catalogue"


@pytest.mark.parametrize("name", ROWS)
def test_the_page_has_the_row_of_the_registry(name: str) -> None:
    assert f"| {' | '.join(catalogue.cells(name))} | " in PAGE, AGAIN
    assert f"| {' | '.join(catalogue.layer_cells(ClusterCaps))} | " in PAGE, AGAIN


def test_the_other_parts_are_as_they_would_be_made() -> None:
    parts = [("laws", catalogue.laws()), ("lines", catalogue.code_lines())]
    for part, lines in [*parts, ("defects", catalogue.defects())]:
        assert catalogue.replaced(PAGE, part, lines) == PAGE, f"{part}: {AGAIN}"


def test_the_page_counts_all_files() -> None:
    if FOLDER == COPIES:
        pytest.skip("it is of all vector files: name their folder in TORCHCAPS_VECTORS")
    counts = dict.fromkeys(map(catalogue.row_of, CASES), 0)
    for path in FILES:
        if algorithm_of(path) in CASES:
            counts[catalogue.row_of(algorithm_of(path))] += 1
    for name, count in counts.items():
        label = "ClusterCaps" if name == "cluster" else name
        assert re.search(rf"^\| `{label}`.*\| {count} \(\d+\) \|", PAGE, re.MULTILINE), name


def test_a_routing_is_at_most_150_lines_of_code() -> None:
    lines = [line for line in catalogue.code_lines() if line.startswith("| `")]
    assert len(lines) == len(ROWS)
    for line in lines:
        assert int(line.split("|")[2]) <= 150, line


def test_every_defect_has_its_test_and_its_file() -> None:
    for prefix, (_, _, test) in DEFECTIVE.items():
        module, name = test.split(".")
        assert callable(getattr(importlib.import_module(f"tests.routing.{module}"), name)), test
        assert any(f"{case}-".startswith(prefix) or prefix.startswith(case) for case in CASES)


def test_every_law_and_every_vector_file_has_its_place() -> None:
    assert set(catalogue.LETTERS) == set(Law)
    assert len(set(catalogue.LETTERS.values())) == len(Law)
    assert all(catalogue.row_of(case) for case in CASES)
