"""Imports run downward only, optional packages stay where they belong, and starting is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import torchcaps

ROOT = Path(torchcaps.__file__).parent
# From the ground up: a module may import from its own floor and those below it.
FLOORS = [
    {"errors", "storage", "seeding"},
    {"types"},
    {"functional"},
    {"kernels"},
    {"routing"},
    {"layers"},
    {"models", "data"},
    {"training"},
    {"benchmark", "explorer"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# Packages that are loaded when they are needed, and who may import them at all.
OPTIONAL = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "triton": {"kernels"},
    "PIL": {"data"},
    "pooch": {"data"},
    "scipy": {"data"},
    "rich": {"data", "training"},
    "accelerate": {"training"},
    "matplotlib": {"training", "benchmark"},
    "tyro": {"cli"},
}
NEVER = {"pickle", "torchvision", "dill", "joblib"}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def floor_name(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Absolute names of everything a file imports, at its top or within functions."""
    package = ["torchcaps", *path.relative_to(ROOT).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            found.add(module)
            if module == "torchcaps":
                found |= {f"torchcaps.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path: Path) -> None:
    own = floor_name(path)
    if own == "__init__":
        return  # names the public names of every floor, lazily
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "torchcaps" and len(parts) > 1 and parts[1] in FLOOR_OF:
            assert FLOOR_OF[parts[1]] <= FLOOR_OF[own], f"{own} imports {name}, from a floor above"
        if parts[0] in OPTIONAL:
            assert own in OPTIONAL[parts[0]], f"{own} imports {parts[0]}"
        assert parts[0] not in NEVER, f"{path} imports {parts[0]}"


def test_every_floor_is_listed() -> None:
    names = {floor_name(path) for path in sources()} - {"__init__"}
    assert names == set(FLOOR_OF)


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_else() -> None:
    assert not loaded_after("import torchcaps") & {"torch", "numpy", "huggingface_hub"}


def test_routing_and_layers_need_the_core_alone() -> None:
    loaded = loaded_after(
        "import torchcaps; torchcaps.dynamic_routing, torchcaps.DenseCaps, torchcaps.squash"
    )
    assert not loaded & {*OPTIONAL, "huggingface_hub", "torchcaps.models"}


def test_every_public_name_is_there_and_documented() -> None:
    for name in torchcaps.__all__:
        value = getattr(torchcaps, name)
        assert name == "Votes" or value.__doc__, name
    assert set(torchcaps.__all__) <= set(dir(torchcaps))
    with pytest.raises(AttributeError, match="no attribute 'squish'"):
        torchcaps.squish  # noqa: B018
