"""Each experiment runs, and its report holds what its rows say."""

import csv
import dataclasses
import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from reproduction.harness.registry import EXPERIMENTS, cost, listing
from reproduction.harness.run import reproduce
from tests.training.pictures.figure_checks import assert_neat


@pytest.fixture
def figures(monkeypatch):
    """The figures that were written."""
    drawn, save = [], Figure.savefig

    def savefig(self, *arguments, **options):
        save(self, *arguments, **options)
        drawn.append(self)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


@pytest.mark.usefixtures("no_run_pictures")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_smoke(name, tiny, tmp_path, figures):
    experiment = tiny(EXPERIMENTS[name], rates=EXPERIMENTS[name].scales["smoke"].rates[:1])
    folder, lines = reproduce(experiment, "smoke", out=tmp_path / "out")
    assert lines
    text = (folder / "report.md").read_text()
    assert text.startswith(f"# {name}: {experiment.shows}\n")
    for line in lines:
        assert f"- {line}\n" in text
    assert not re.search(r"\b(nan|inf)\b", text)
    shown = re.findall(r"!\[[^]]+\]\((.+?)\)", text)
    assert sorted(shown) == sorted(path.name for path in folder.glob("*.png"))
    for path in shown:
        with Image.open(folder / path) as picture:
            assert picture.width <= 1300
    for figure in figures:
        assert_neat(figure)
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    cells = experiment.cells(experiment.scales["smoke"])
    assert [(row["cell"], int(row["seed"])) for row in rows] == [(c.name, c.seed) for c in cells]
    assert {"commit", "torch", "cpu"} <= set(rows[0])
    assert not list(folder.rglob("checkpoints"))
    # of how many images its error is, so that a choice that hangs on one is named
    assert all(int(row["images"]) > 0 for row in rows if row.get("aside_error"))


def test_every_scale_has_its_cost():
    text = listing()
    for name, experiment in EXPERIMENTS.items():
        assert [name for name in experiment.scales if name not in ("few", "full", "large")] == [
            "smoke", "cpu", "paper"
        ]  # fmt: skip
        assert f"{name}: {experiment.shows}\n" in text
        for scale in experiment.scales.values():
            assert cost(experiment, scale) in text
            assert len(experiment.differs(scale)) >= 1
    tuned = "64 trainings, 24 of them trials of learning rates, of 3 epochs over at most 12,000"
    assert f"{tuned} images of mnist, about 55 min" in text
    assert (
        " trials of learning rates, of 5 to 160 epochs over at most 4,000 images of mnist" in text
    )


def test_no_training_looks_at_held_out_images_before_its_end():
    """All of the training images are trained on, and there is nothing to choose by."""
    for experiment in EXPERIMENTS.values():
        for scale in experiment.scales.values():
            assert scale.training is None or scale.training.validation == 0


def test_a_second_report_is_made_of_the_same_rows(tiny, tmp_path, monkeypatch):
    experiment = tiny(EXPERIMENTS["agreement"])
    folder, lines = reproduce(experiment, out=tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    experiment = dataclasses.replace(experiment, compute=pytest.fail)
    assert reproduce(experiment, out=tmp_path / "out") == (folder, lines)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
