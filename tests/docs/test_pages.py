"""The documentation's code runs, its commands exist, and its figures are those of the reports.

Code cells (`{code-cell}`) run when the site is built; the other blocks are looked at here.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from torchcaps.cli import parse

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
NOT_RUN = "<!-- not run: "  # stands before a block, with the reason
FENCE = re.compile(r"(?:^(<!-- not run: [^\n]+ -->)\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.M)
# Blocks of Python that are run by other tests, which know what should come out.
RUN_ELSEWHERE = {
    "export.md": "tests/export/test_export.py",
    "training.md": "tests/training/test_task.py",
}
# What a reader has before the blocks of a page.
BEFORE = {
    "predict.md": (
        "import torch, torchcaps\n"
        "from PIL import Image\n"
        "from pathlib import Path\n"
        "torchcaps.load_pretrained('digits').save_pretrained('run')\n"
        "Path('scans').mkdir()\n"
        "Image.new('L', (28, 28)).save('scans/one.png')\n"
        "images = torch.rand(2, 1, 28, 28)\n"
    ),
}  # fmt: skip


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The blocks that are not marked as not run."""
    found = FENCE.findall(text_of(page))
    return [code for mark, named, code in found if named == language and not mark]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_runs(page: str, tmp_path: Path) -> None:
    if page in RUN_ELSEWHERE:
        assert f'"{page}"' in (ROOT / RUN_ELSEWHERE[page]).read_text(encoding="utf-8")
        return
    code = "\n".join([BEFORE.get(page, ""), *blocks(page, "python")]).replace("runs/…", "run")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def commands() -> list[tuple[str, str]]:
    """Page and command line, of every block of a shell."""
    lines = [
        (page, line.partition("-m ")[2] or line)
        for page in PAGES
        for code in [code for _, named, code in FENCE.findall(text_of(page)) if named == "sh"]
        for line in code.replace("\\\n", "").splitlines()
    ]
    return [(page, line) for page, line in lines if line.startswith("torchcaps ")]


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_known_to_the_tool(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert parse(words) is not None


def test_make_knows_its_targets() -> None:
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = {name for page in PAGES for name in re.findall(r"^make (\w+)", text_of(page), re.M)}
    assert {"train"} <= named <= set(targets)


def test_what_is_not_run_has_a_reason() -> None:
    marks = [line for page in PAGES for line in text_of(page).splitlines() if NOT_RUN in line]
    assert marks
    assert all(re.fullmatch(r"<!-- not run: needs .+ -->", mark) for mark in marks)


def test_figures_about_capsules_are_those_that_were_measured() -> None:
    page = text_of("capsules.md").replace("\n", " ")
    reports = [*(ROOT / "results").glob("*/report.md"), DOCS / "predict.md", DOCS / "any_images.md"]
    measured = "\n".join(path.read_text(encoding="utf-8") for path in reports)
    named = re.findall(r"\d+\.\d\d ± \d+\.\d\d|\d+\.\d+ %|[+-]\d+\.\d\d|error is \d+\.\d", page)
    assert len(named) > 12
    for figure in named:
        value = figure.removesuffix(" %").removeprefix("error is ")
        assert value in measured, figure


def test_findings_are_read_in_five_minutes() -> None:
    """At 280 words a minute, without what stands under pictures and behind links."""
    page = re.sub(r"!\[[^]]*\]", "", text_of("findings.md"))
    assert len(re.findall(r"\S*\w\S*", re.sub(r"\([^() ]*\)", "", page))) < 5 * 280


def test_every_published_report_has_its_page() -> None:
    reports = {path.parent.name for path in (ROOT / "results").glob("*/report.md")}
    assert {path.stem for path in (DOCS / "reports").glob("*.md")} == {*reports, "index"}


@pytest.mark.parametrize("finding", text_of("findings.md").split("\n## ")[1:-1])
def test_every_figure_of_a_finding_is_in_its_report(finding: str) -> None:
    assert finding.count("[Report](") == 1
    reports = re.findall(r"\]\(\.\./(results/[\w-]+/report\.md)\)", finding)
    figures = set(re.findall(r"-?\b\d+\.\d+(?: ± \d+\.\d+)?|1e-05", finding))
    reported = "\n".join((ROOT / report).read_text(encoding="utf-8") for report in reports)
    assert [figure for figure in figures if figure not in reported] == []
    assert finding.count("![") == 1  # one picture a finding
