"""The README's Python runs, its commands exist, and its pictures are there."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs_and_prints_what_it_says() -> None:
    (example,) = blocks("python")
    promised = re.findall(r"torch\.Size\(\[.*?\]\)", example)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == promised


def test_its_commands_are_known_to_the_tool() -> None:
    commands = {
        line.split()[1] for block in blocks("sh") for line in block.splitlines()
        if line.startswith("torchcaps ")
    }  # fmt: skip
    assert commands == {
        "train", "eval", "predict", "export", "info", "explore", "bench",
    }  # fmt: skip
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}: " in targets


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_what_it_links_to_exists(path: str) -> None:
    assert (ROOT / path).exists()


def rows(name: str) -> list[dict[str, str]]:
    with (ROOT / "benchmarks" / "results" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_measured_figure_is_that_of_its_row() -> None:
    section = README.split("## What is measured")[1].split("\n## ")[0]
    accuracies = {f"{float(row['held_out_accuracy']):.2%}" for row in rows("accuracy.csv")}
    told = set(re.findall(r"\d+\.\d\d%", section))
    assert told <= accuracies
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    networks = page.split("## Do they learn")[1].split("\n## ")[0]
    assert told | set(re.findall(r"\d+\.\d\d%", networks)) == accuracies
    columns = {
        "training_speed.csv": ("times_einsum", "times_broadcast"),
        "routing.csv": ("times_torchcaps", "memory_times_torchcaps"),
    }
    ratios = {
        f"{float(row[column]):.1f}×"
        for name, names in columns.items()
        for row in rows(name)
        for column in names
    }
    named = set(re.findall(r"\d+\.\d×", section))
    assert named
    assert named <= ratios


def test_every_figure_with_a_spread_is_of_a_published_report() -> None:
    figure = r"\d+\.\d\d ± \d+\.\d\d %"
    section = README.split("## What is measured")[1].split("\n## ")[0].replace("\n", " ")
    reports = (ROOT / "results").glob("*/report.md")
    reported = {
        f"{value} %" for path in reports for value in re.findall(figure[:-2], path.read_text())
    }
    named = set(re.findall(figure, section))
    assert named
    assert named <= reported


def test_every_figure_beside_the_papers_is_of_a_published_report() -> None:
    figure = r"(?<!± )\b\d+\.\d\d (?:%|points)"
    told = README.split("What the paper and those who explain it claim")[1].replace("\n", " ")
    reports = (ROOT / "results").glob("*/report.md")
    reported = {value for path in reports for value in re.findall(figure, path.read_text())}
    named = set(re.findall(figure, told))
    assert named
    assert named <= reported


def test_the_explorers_times_are_those_of_its_rows() -> None:
    section = README.split("## Watch it think")[1].split("\n## ")[0]
    measured = [f"{float(row['stroke_ms']):.0f}" for row in rows("explorer.csv")]
    assert re.findall(r"(\d+) ms", section) == measured
