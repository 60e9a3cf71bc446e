"""How Sphinx makes the site from this folder: `make docs`."""

import os
import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import torchcaps

ROOT = Path(__file__).parents[1]
# Pages that are run import the contract of routings, which is in tests/.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

project = "torchcaps"
author = "the torchcaps authors"
project_copyright = "the torchcaps authors, Apache-2.0"
version = release = torchcaps.__version__

extensions = [
    "myst_nb",  # Markdown; pages with code cells are run, and their outputs shown
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb"}
suppress_warnings = ["ref.python"]  # of "test: ..." in a docstring, taken for a type

myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # what a cell prints may be a table
nb_output_stderr = "remove"  # progress bars that miss a notebook; errors stop the build

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
default_role = "code"
napoleon_use_ivar = True
napoleon_custom_sections = [
    "Shape",
    "Reference",
    "Deviation",
    "Learned",
    "Returns of `forward`",
    "Variants, by their options",
]

html_theme = "furo"
html_title = f"torchcaps {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "draw_link.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

EXPLORER = "draw.html"  # beside the pages, the explorer's own


def escape_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Docstrings write |s|, and that is no substitution of reStructuredText."""
    lines[:] = [line if ">>>" in line else line.replace("|", r"\|") for line in lines]


def link_reports(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to results/NAME/report.md, which work in the repository, lead to its page here."""
    up = "../" * page.count("/")
    text = re.sub(
        r"\]\((?:\.\./)+results/([\w-]+)/report\.md\)", rf"]({up}reports/\1.md)", source[0]
    )
    source[0] = re.sub(r"\]\((?:\.\./)+results/?\)", f"]({up}reports/index.md)", text)


def write_explorer(app: Sphinx) -> None:
    """The explorer's page becomes one of the site's."""
    page = Path(app.outdir) / EXPLORER
    page.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "torchcaps", "explore", "--out", page, "--no-open"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def spread_pages_that_run(app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
    """Each process reads pages that follow one another: those that run must not all do so."""
    run = [page for page in pages if "{code-cell}" in env.doc2path(page).read_text("utf-8")]
    spread = [page for page in pages if page not in run]
    for k, page in enumerate(run):
        spread.insert(k * len(pages) // len(run), page)
    pages[:] = spread


def setup(app: Sphinx) -> None:
    app.connect("env-before-read-docs", spread_pages_that_run)
    app.connect("builder-inited", write_explorer)
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)
    app.connect("source-read", link_reports)
