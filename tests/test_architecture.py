"""Imports run downward only, optional packages stay where they belong, and starting is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import torchcaps

ROOT = Path(torchcaps.__file__).parent
# From the lowest up: a module may import from its own tier and those below it.
TIERS = [
    {"errors", "storage", "seeding", "lazy", "plain_numbers", "cpu_threads"},
    {"types"},
    {"votes"},
    {"functional", "losses"},
    {"kernels"},
    {"routing"},
    {"layers"},
    {"models", "data"},
    {"training"},
    {"benchmark", "explorer", "export", "inference"},
    {"cli"},
    {"__main__"},
]
TIER_OF = {name: tier for tier, names in enumerate(TIERS) for name in names}
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
    "onnx": {"export"},
    "onnxscript": {"export"},
    "onnxruntime": {"export"},
}
NEVER = {"pickle", "torchvision", "dill", "joblib"}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def top_name(path: Path) -> str:
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
    own = top_name(path)
    if own == "__init__":
        return  # names the public names of every tier, lazily
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "torchcaps" and len(parts) > 1 and parts[1] in TIER_OF:
            assert TIER_OF[parts[1]] <= TIER_OF[own], f"{own} imports {name}, from a tier above"
        if parts[0] in OPTIONAL:
            assert own in OPTIONAL[parts[0]], f"{own} imports {parts[0]}"
        assert parts[0] not in NEVER, f"{path} imports {parts[0]}"


def test_every_tier_is_listed() -> None:
    names = {top_name(path) for path in sources()} - {"__init__"}
    assert names == set(TIER_OF)


# --- circles
def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Every module of a package → the modules of the package that it imports, within functions too.

    A name that a package re-exports is imported from the package, `from torchcaps.data import
    ImageData`: within torchcaps/data that is a circle, for the package imports its modules. An
    import of a module loads the packages around it too, but for those that hold the importer.
    Imports for the type checker alone do not count.
    """
    paths = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        tree = WithoutTypeChecking().visit(ast.parse(path.read_text(encoding="utf-8")))
        graph[module] = set()
        for name in imported_names(tree, module if path.stem == "__init__" else parent(module)):
            while name and name not in paths:
                name = parent(name)
            if name:
                around = {name[:end] for end in range(len(name)) if name[end] == "."}
                holders = {each for each in around if f"{module}.".startswith(f"{each}.")}
                graph[module] |= ({name} | around - holders) - {module}
    return graph


class WithoutTypeChecking(ast.NodeTransformer):
    """Leaves out what is below `if TYPE_CHECKING:`."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        names = {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)}
        attributes = {part.attr for part in ast.walk(node.test) if isinstance(part, ast.Attribute)}
        return node.orelse if "TYPE_CHECKING" in names | attributes else node


def parent(name: str) -> str:
    return name.rpartition(".")[0]


def imported_names(tree: ast.AST, package: str) -> set[str]:
    """What is imported in a module of a package: modules, and names in modules."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that reach each other: strongly connected components of more than one."""
    reached = {module: reachable(graph, module) for module in graph}
    together = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
    }
    return sorted(sorted(circle) for circle in together if circle)


def reachable(graph: dict[str, set[str]], module: str) -> set[str]:
    found: set[str] = set()
    left = [module]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left += new
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(import_graph(ROOT)) == []


def test_what_counts_as_a_circle(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    files = {
        "__init__.py": "",
        "a.py": "from p import b",
        "b.py": "def later():\n    from p.a import name",
        "c.py": "import typing\nif typing.TYPE_CHECKING:\n    from p.d import name",
        "d.py": "from . import c",
        "e/__init__.py": "from p.e.one import name\nfrom .two import other",
        "e/one.py": "from p.e import other",
        "e/two.py": "import p.c",
        "f/__init__.py": "from p.f.one import name",
        "f/one.py": "from p.f.two import name",
        "f/two.py": "import p.g",
        "g.py": "import p.f.three",
        "f/three.py": "import os",
    }
    for name, text in files.items():
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = import_graph(tmp_path / "p")
    assert graph["p.d"] == {"p.c"}
    assert graph["p.e.one"] == {"p.e"}
    assert graph["p.g"] == {"p.f", "p.f.three"}
    assert circles(graph) == [
        ["p.a", "p.b"],
        ["p.e", "p.e.one"],
        ["p.f", "p.f.one", "p.f.two", "p.g"],
    ]


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


def test_a_prediction_does_not_wait_for_torch_dynamo() -> None:
    code = (
        "import torch, torchcaps; model = torchcaps.load_pretrained('digits')\n"
        "with torch.no_grad(): model(torch.rand(2, 1, 28, 28))"
    )
    loaded = loaded_after(code)
    assert "numba" in loaded  # the fused kernel ran
    assert "torch._dynamo" not in loaded


def test_every_public_name_is_there_and_documented() -> None:
    for name in torchcaps.__all__:
        value = getattr(torchcaps, name)
        assert name == "Votes" or value.__doc__, name
    assert set(torchcaps.__all__) <= set(dir(torchcaps))
    with pytest.raises(AttributeError, match="no attribute 'squish'"):
        torchcaps.squish  # noqa: B018
