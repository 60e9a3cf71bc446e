"""What is stated in several files at once, versions above all, is the same in all of them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import torchcaps

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def lower_bounds(*groups: list[str]) -> dict[str, str]:
    """Of requirements such as "torch>=2.10": name and version, without the package's own extras."""
    found = {}
    for requirement in (line for group in groups for line in group):
        if not requirement.startswith(f"{PROJECT['name']}["):
            stated = re.fullmatch(r"([\w.-]+)>=([\w.]+)(;.*)?", requirement)
            assert stated, f"{requirement} states no lower bound"
            found[stated[1]] = stated[2]
    return found


def pins(name: str) -> dict[str, str]:
    """Of a file of constraints: name and version."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def stated(name: str, pattern: str) -> list[str]:
    """What the pattern's group finds in a file, in order."""
    return re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


WORKFLOWS = [str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*.yml")]
REQUIRED = lower_bounds(PROJECT["dependencies"], *EXTRAS.values())


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert torchcaps.__version__ == version
    assert stated("CITATION.cff", r"^version: (\S+)$") == [version]
    assert stated("CHANGELOG.md", r"^## (\d\S*)")[0] == version  # the latest


def test_every_dependency_is_pinned_at_what_is_allowed() -> None:
    pinned = pins("constraints.txt")
    assert REQUIRED.keys() <= pinned.keys()
    for name, lowest in REQUIRED.items():
        assert as_numbers(pinned[name]) >= as_numbers(lowest), name


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    oldest = pins("constraints-oldest.txt")
    assert oldest | REQUIRED == oldest  # besides, it may hold back what they depend on


def test_the_workflows_name_the_pythons_that_are_declared() -> None:
    prefix = "Programming Language :: Python :: 3."
    declared = [
        line.split(" :: ")[-1] for line in PROJECT["classifiers"] if line.startswith(prefix)
    ]
    assert PROJECT["requires-python"] == f">={declared[0]}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == declared[0]
    (matrix,) = stated(".github/workflows/tests.yml", r"^\s+python: (\[.*\])$")
    assert json.loads(matrix) == declared
    for path in WORKFLOWS:
        assert set(stated(path, r'python-version: "(.*)"')) <= set(declared), path


def test_the_workflows_pin_their_actions() -> None:
    for path in WORKFLOWS:
        for action in stated(path, r"uses: (\S+)"):
            local = action.startswith("./")
            assert local or re.search(r"@(v\d+|release/v\d+)$", action), f"{path}: {action}"


def test_the_javascript_linter_is_pinned_exactly() -> None:
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    version = package["devDependencies"]["@biomejs/biome"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    assert lock["packages"]["node_modules/@biomejs/biome"]["version"] == version
