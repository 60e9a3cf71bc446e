"""The folders of the page's modules: who imports from whom, and that no module is left over."""

import pytest

from tests.engine_page import PAGE
from torchcaps.explorer.bundle import imported, read_all

# A folder → the folders that its modules import from. The modules at the top start everything.
MAY_IMPORT = {
    "engine": {"engine"},
    "browser": {"browser"},
    "state": {"state", "engine"},
    "input": {"input", "browser", "engine"},
    "views": {"views", "browser", "engine", "state"},
    "": {"engine", "browser", "state", "input", "views"},
}
MODULES = sorted(path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*.js"))


def folder_of(name):
    return name.split("/")[0] if "/" in name else ""


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downward(name):
    others = imported(name, (PAGE / name).read_text(encoding="utf-8"))
    assert {folder_of(other) for other in others} <= MAY_IMPORT[folder_of(name)]


def test_every_module_is_in_the_page():
    assert {*read_all(PAGE, "main.js"), *read_all(PAGE, "worker.js")} == set(MODULES)


def test_the_worker_needs_the_engine_alone():
    assert {folder_of(name) for name in read_all(PAGE, "worker.js")} == {"", "engine"}
