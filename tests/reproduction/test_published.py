"""docs/reproduction.md says what the rows in results/ say, and how rows get there."""

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.figure import Figure

from reproduction import page
from reproduction import publish as published
from reproduction.harness.cell import Cell, Outcome
from reproduction.harness.experiment import Experiment, Finding, Report
from reproduction.harness.folder import ExperimentFolder, settings
from reproduction.harness.registry import EXPERIMENTS
from reproduction.harness.run import write_up
from reproduction.harness.scale import Scale, published_training
from torchcaps.errors import InputError
from torchcaps.training.config import TrainConfig

RESULTS, PAGE = published.RESULTS, page.PAGE
TEXT = PAGE.read_text(encoding="utf-8")
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/experiment.json"))


@pytest.fixture
def not_drawn(monkeypatch):
    """Pictures are not what is compared here, and they take most of the time of a report."""
    monkeypatch.setattr(Figure, "savefig", lambda *arguments, **options: None)


# --- what is committed
@pytest.mark.usefixtures("not_drawn")
def test_the_page_is_made_of_the_published_rows():
    assert page.page(RESULTS) == TEXT, "python -m reproduction.page"


@pytest.mark.usefixtures("not_drawn")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_reports_are_made_of_their_rows(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / folder.name)
    (copy / "report.md").unlink()
    (copy / "results.csv").unlink()
    one = published.read(copy)
    write_up(one.folder, one.experiment, one.scale_name, one.scale, one.rows)
    for name in ("report.md", "results.csv"):
        assert (copy / name).read_text() == (folder / name).read_text(), f"publish {folder} again"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_was_published_before_an_option_was_there_is_read(folder, tmp_path):
    """Whichever option: all settings that have their default are left out."""
    copy = shutil.copytree(folder, tmp_path / folder.name)
    facts = json.loads((copy / "experiment.json").read_text())
    default = settings(Scale(minutes=0, training=published_training()))
    lacking = [k for k, v in facts["settings"].items() if v == json.loads(json.dumps(default[k]))]
    assert lacking
    for name in lacking:
        del facts["settings"][name]
    (copy / "experiment.json").write_text(json.dumps(facts))
    assert published.read(copy).cells == published.read(folder).cells


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_row_says_where_it_comes_from(folder):
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        for name in ("cell", "seed", "torchcaps", "commit", "python", "torch", "numpy", "cpu"):
            assert row[name], f"{row['cell']}, seed {row['seed']}: {name}"
        assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", row["commit"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_weights_are_published(folder):
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".npz", ".csv", ".md", ".png"}
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert sum(n for path, n in sizes.items() if path.suffix == ".npz") <= published.MOST_BYTES
    assert sum(sizes.values()) < 1_500_000
    assert not list(folder.rglob(".partial-*"))


def test_what_the_page_shows_is_there():
    shown = re.findall(r"\]\((\.\./[^)]+)\)", TEXT)
    assert {path for path in shown if path.endswith(".png")}
    for path in shown:
        assert (PAGE.parent / path).exists(), path
    for name in EXPERIMENTS:
        assert f"\n## {name}\n" in TEXT
        assert f"| [{name}](#{name}) |" in TEXT


@pytest.mark.usefixtures("not_drawn")
def test_the_trainings_of_an_older_method_are_named():
    """Iterations of few images have a rate each, and are not among them."""
    (named,) = re.findall(r"The trainings of ([^.]+)\sare\sstill the older ones", TEXT)
    untuned = [one.folder.path.name for one in published.all_published(RESULTS) if not one.tuned]
    assert "iterations-cpu" in untuned
    assert "iterations-few" not in untuned
    assert re.findall(r"`([\w-]+)`", named) == untuned


def test_the_images_of_trials_are_those_of_their_whole_batches():
    """As the trainings that the trials are of: they had as many epochs of as many images."""
    one = published.read(RESULTS / "efficiency-few")
    seen = {row["cell"]: row["images_seen"] for row in one.rows if "images_seen" in row}
    found = page.images_seen(one)
    assert len(seen) < len(found)
    assert found == [seen[cell.network] for cell in one.cells]


def test_the_images_of_an_older_row_are_those_of_its_cell_in_other_seeds():
    """Those kept aside for trials are not learnt from."""
    one = published.read(RESULTS / "league-cpu")
    assert not all("images_seen" in row for row in one.rows)
    seen = [(cell, found) for cell, found in zip(one.cells, page.images_seen(one))]
    for name in {cell.network for cell in one.cells}:
        trained = {n for cell, n in seen if cell.trial_of is None and cell.network == name}
        assert len(trained) == 1, name


# --- how results are published
def toy(report=None, slim=dict):
    """Two cells a seed, and a report of them."""

    def cells(scale):
        return [Cell(name, seed) for seed in range(scale.seeds) for name in ("a", "b")]

    def made(results):
        values = [row["value"] for row in results.rows]
        arrays = sum(int(results.arrays(row)["kept"].sum()) for row in results.rows)
        (results.folder / "all.png").write_bytes(b"picture")
        found = Finding("it is claimed", "1", f"{sum(values)}", "borne out")
        body = "![All of it](all.png)\n\n| a | b |\n|---|---|\n\n## More\n\nmore of it"
        return Report([f"values {values}, arrays {arrays}"], body, [found])

    config = TrainConfig(data="mnist", epochs=2)
    return Experiment(
        name="toy",
        about="Shows something.\n\nClaims something.",
        scales={
            "smoke": Scale(1, 2, config),
            "cpu": Scale(1, 2, config),
            "paper": Scale(90, 3, config, wanted="at most 1 %"),
        },
        cells=cells,
        compute=None,
        report=report or made,
        differs=lambda scale: ["in everything"],
        slim=slim,
    )


@pytest.fixture
def finish(tmp_path, monkeypatch):
    """Give a folder in which these cells of a toy experiment are finished."""

    def make(cells, experiment=None, data=None, **arrays):
        experiment = experiment or toy()
        monkeypatch.setitem(EXPERIMENTS, "toy", experiment)
        scale = experiment.scales["cpu"]
        if data is not None:
            training = dataclasses.replace(scale.training, data=data)
            scale = dataclasses.replace(scale, training=training)
        folder = ExperimentFolder(tmp_path / "run")
        folder.check(experiment.name, "cpu", scale)
        facts = {"name": data or "MNIST", "train": 5, "test": 4, "image": [1, 28, 28]}
        folder.begin(facts)
        for k, (name, seed) in enumerate(cells):
            kept = {"kept": np.arange(3), **arrays}
            folder.keep(Cell(name, seed), Outcome({"value": k}, kept))
        (folder.path / "runs" / "a-seed0").mkdir(parents=True, exist_ok=True)
        (folder.path / "runs" / "a-seed0" / "model.safetensors").write_bytes(b"weights")
        return folder.path

    return make


TWO_SEEDS = [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_a_published_folder_makes_its_report_again(finish, tmp_path):
    run, results = finish(TWO_SEEDS), tmp_path / "results"
    folder = published.publish(run, results)
    assert folder == results / "toy-cpu"
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    cells = [f"cells/{name}-seed{s}.{end}" for name in "ab" for s in (0, 1)
             for end in ("json", "npz")]  # fmt: skip
    assert files == ["all.png", *cells, "experiment.json", "report.md", "results.csv"]
    shutil.rmtree(run)
    (one,) = published.all_published(results)
    assert one.report(tmp_path).figures == ["values [0, 1, 2, 3], arrays 12"]
    assert "- values [0, 1, 2, 3], arrays 12\n" in (folder / "report.md").read_text()
    (folder / "old.png").write_bytes(b"")
    published.publish(folder, results)  # again, in place of what was there
    assert not (folder / "old.png").exists()
    assert [path.name for path in results.iterdir()] == ["toy-cpu"]


def test_only_whole_seeds_are_published(finish, tmp_path):
    folder = published.publish(finish([("a", 0), ("b", 0), ("a", 1)]), tmp_path / "results")
    assert [path.name for path in sorted((folder / "cells").glob("*.json"))] == [
        "a-seed0.json", "b-seed0.json"
    ]  # fmt: skip
    assert (folder / "results.csv").read_text().count("\n") == 3
    shutil.rmtree(tmp_path / "run")
    unfinished = finish([("a", 0)])
    with pytest.raises(InputError, match="is not finished, it lacks b-seed0: go on"):
        published.publish(unfinished, tmp_path / "results")


def test_more_seeds_than_the_scale_has(finish, tmp_path):
    cells = [(name, seed) for seed in range(4) for name in "ab"]
    folder = published.publish(finish(cells), tmp_path / "results")
    assert published.read(folder).scale.seeds == 4


def test_what_the_report_does_not_need_is_left_out(finish, tmp_path):
    slim = lambda arrays: {"kept": arrays["kept"]}  # noqa: E731
    run = finish(TWO_SEEDS, toy(slim=slim), other=np.random.default_rng(0).random(100_000))
    folder = published.publish(run, tmp_path / "results")
    assert published.read(folder).folder.arrays({"cell": "a", "seed": 0}).keys() == {"kept"}
    big = finish(TWO_SEEDS[:2], toy(), other=np.random.default_rng(0).random(100_000))
    with pytest.raises(
        InputError, match=r"run take .* bytes, more than 300,000: let the `slim` of"
    ):
        published.publish(big, tmp_path / "results")
    assert published.read(tmp_path / "results" / "toy-cpu").scale.seeds == 2  # as it was


def test_settings_that_have_changed_since(finish, tmp_path, monkeypatch):
    folder = published.publish(finish(TWO_SEEDS), tmp_path / "results")
    later = toy()
    training = dataclasses.replace(later.scales["cpu"].training, epochs=3)
    scales = {**later.scales, "cpu": dataclasses.replace(later.scales["cpu"], training=training)}
    monkeypatch.setitem(EXPERIMENTS, "toy", dataclasses.replace(later, scales=scales))
    with pytest.raises(InputError, match="with epochs = 2, and now it is 3"):
        published.read(folder)


def test_a_folder_that_holds_none(tmp_path):
    with pytest.raises(InputError, match=r"holds no experiment.json: name a folder of an exp"):
        published.publish(tmp_path, tmp_path / "results")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "experiment.json is damaged"),
        (b"{}", "experiment.json is damaged .it lacks 'experiment'"),
        (b"\xff", "experiment.json is damaged"),
        ({"scale": "big"}, "experiment.json: toy has no scale 'big': its scales are"),
        ({"experiment": "toi"}, "experiment.json: no experiment is called 'toi'"),
        ({"settings": None}, "experiment.json is damaged .its settings is None"),
    ],
)
def test_a_damaged_folder_is_not_published(finish, tmp_path, content, message):
    run = finish(TWO_SEEDS)
    path = run / "experiment.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content).encode()
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        published.publish(run, tmp_path / "results")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: cut(path)])
def test_arrays_that_cannot_be_read_are_named_where_they_lie(finish, tmp_path, damage):
    run, results = finish(TWO_SEEDS), tmp_path / "results"
    damage(run / "cells" / "b-seed1.npz")
    with pytest.raises(InputError, match=re.escape(f"{run}/cells/b-seed1.npz cannot be read")):
        published.publish(run, results)
    assert not list(results.iterdir())


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_a_part_of_the_page(finish, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "EXPERIMENTS", {"toy": toy()})
    results = tmp_path / "results"
    assert "| [toy](#toy) |  | Shows something. |  |  |  | open |" in page.page(results)
    published.publish(finish(TWO_SEEDS[:2], data="cifar10"), results)
    monkeypatch.setattr(page, "EXPERIMENTS", EXPERIMENTS)
    text = page.page(results, link="there")
    for line in (
        "| [toy](#toy) | cifar10, cpu | it is claimed | 1 | 1 | `image_capsnet`, not the paper’s "
        "network | borne out |",
        "Claims something.",
        "- values [0, 1], arrays 6",
        "![All of it](there/toy-cpu-cifar10/all.png)",
        "python -m reproduction toy --scale cpu --data cifar10 --data-dir FOLDER --seeds 1",
        "| data | cifar10: 5 training and 4 held-out images of 1×28×28 |",
        "| seeds | 1 |",
        "- in everything",
    ):
        assert f"\n{line}\n" in text, line
    assert "Wanted: at most 1 %." in text
    assert "--scale smoke" not in text
    assert "more of it" not in text  # it stands after the first heading


# --- make reproduce
FAKE = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$CALLS"
if [[ $* == "-m reproduction --list" ]]; then
	printf '%s: it shows this\\n  smoke  about 3 s\\n' first second-one cifar-loss iterations
fi
[[ $* != *"${FAILS:-nothing}"* ]]
"""


@pytest.fixture
def run_all(tmp_path):
    """Run scripts/reproduce.sh with programs that only write down how they are called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text(FAKE)
    (programs / "python").chmod(0o755)

    def run(**variables):
        calls = tmp_path / "calls"
        calls.write_text("")
        inherited = {k: v for k, v in os.environ.items() if k not in {"TORCHCAPS_DATA", "SCALE"}}
        done = subprocess.run(
            [published.ROOT / "scripts" / "reproduce.sh"],
            env={**inherited, "PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls),
                 "RUNS": "kept", **variables},
            capture_output=True, text=True,
        )  # fmt: skip
        return done, calls.read_text().splitlines()[1:]

    return run


def test_everything_is_run_and_published(run_all, tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "fashion-mnist").mkdir()
    (tmp_path / "cifar10-jpg" / "train").mkdir(parents=True)
    done, calls = run_all(TORCHCAPS_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    mnist = f"--data-dir {tmp_path}/mnist"
    fashion = f"--data fashion-mnist --data-dir {tmp_path}/fashion-mnist"
    cifar = f"--data cifar10 --data-dir {tmp_path}/cifar10-jpg"
    assert calls == [
        f"python -m reproduction first --scale cpu --out kept/first-cpu {mnist}",
        f"python -m reproduction second-one --scale cpu --out kept/second-one-cpu {mnist}",
        f"python -m reproduction iterations --scale cpu --out kept/iterations-cpu {mnist}",
        f"python -m reproduction cifar-loss --scale cpu --out kept/cifar-loss-cpu {cifar}",
        f"python -m reproduction iterations --scale cpu --out kept/iterations-cpu-cifar10 {cifar}",
        f"python -m reproduction league --scale cpu --out kept/league-cpu-cifar10 {cifar}",
        f"python -m reproduction league --scale cpu --out kept/league-cpu-fashion-mnist {fashion}",
        "python -m reproduction.publish kept/first-cpu kept/second-one-cpu kept/iterations-cpu "
        "kept/cifar-loss-cpu kept/iterations-cpu-cifar10 kept/league-cpu-cifar10 "
        "kept/league-cpu-fashion-mnist",
        "python -m reproduction.page",
    ]


def test_without_data_what_can_be_downloaded_is_run(run_all):
    done, calls = run_all()
    assert done.returncode == 0
    assert done.stdout.count("== left out: CIFAR-10 (set TORCHCAPS_DATA to a folder with") == 1
    assert not [call for call in calls if "cifar" in call or "data" in call]
    assert calls[-1] == "python -m reproduction.page"


def test_smoke_publishes_nothing(run_all):
    done, calls = run_all(SCALE="smoke")
    assert done.returncode == 0
    assert "python -m reproduction cifar-loss --scale smoke --out kept/cifar-loss-smoke" in calls
    assert not [call for call in calls if "reproduction." in call]


def test_it_stops_where_an_experiment_does(run_all):
    done, calls = run_all(FAILS="second-one")
    assert done.returncode == 1
    assert len(calls) == 2
