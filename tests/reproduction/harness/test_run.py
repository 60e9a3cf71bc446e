"""An experiment that is interrupted, taken up again, or given a folder that is not its own."""

import dataclasses
import errno
import io
import json
import os
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image

from reproduction.harness.cell import Cell, Outcome
from reproduction.harness.experiment import Report
from reproduction.harness.folder import ExperimentFolder, settings
from reproduction.harness.registry import EXPERIMENTS, find_experiment
from reproduction.harness.report_file import origins, shifts
from reproduction.harness.run import default_folder, reproduce
from reproduction.harness.scale import Scale, default_training, published_training
from reproduction.harness.training import Trained
from reproduction.iterations import experiment as iterations
from tests.small_runs import NAMES
from torchcaps import storage
from torchcaps.data import ImageData, augmentation_for
from torchcaps.errors import InputError, RunStopped
from torchcaps.storage import locked
from torchcaps.training import run as run_module
from torchcaps.training.free_cores import FreeCores
from torchcaps.training.run import Run

TIMES = {"seconds_per_step", "training_seconds"}


def rows(folder):
    """What every cell gave, but for times; and its arrays."""
    found = {}
    for path in sorted((folder / "cells").glob("*.json")):
        row = json.loads(path.read_text())["row"]
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            kept = {name: arrays[name].tolist() for name in arrays.files}
        found[path.stem] = {k: v for k, v in row.items() if k not in TIMES} | kept
    return found


@pytest.fixture
def small(tiny, no_run_pictures):
    return tiny(iterations.EXPERIMENT)


@pytest.fixture
def agreement(tiny):
    """An experiment of three cells without pictures: it takes no time."""
    experiment = tiny(EXPERIMENTS["agreement"])
    return dataclasses.replace(experiment, report=lambda results: Report(["done"], "all"))


def count_steps(monkeypatch, stop_at=None):
    """Steps that are done from now on; a person presses Ctrl-C before one of them."""
    done: list[int] = []
    do_step = Run.do_step

    def counted(self):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        do_step(self)
        done.append(self.step)

    monkeypatch.setattr(Run, "do_step", counted)
    return done


def test_an_interrupted_experiment_gives_the_same_rows(small, tmp_path, monkeypatch):
    whole, figures = reproduce(small, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        count_steps(patch, stop_at=27)  # 8 a cell: in the fourth, with random coupling
        with pytest.raises(RunStopped, match="stopped in random-seed0; what is done") as stopped:
            reproduce(small, out=tmp_path / "cut")
    assert stopped.value.exit_code == 130
    assert len(rows(tmp_path / "cut")) == 3
    assert not (tmp_path / "cut" / "report.md").exists()
    with monkeypatch.context() as patch:
        done = count_steps(patch)
        cut, again = reproduce(small, out=tmp_path / "cut")
    assert done == [3, 4, 5, 6, 7, 8]  # from the checkpoint after the second step
    assert rows(cut) == rows(whole)
    assert again == figures


def test_a_cell_whose_record_is_removed_is_computed_again(small, tmp_path, monkeypatch):
    """Its checkpoints were removed when it was finished."""
    folder, _ = reproduce(small, out=tmp_path / "out")
    before = rows(folder)
    (folder / "cells" / "r3-seed0.json").unlink()
    done = count_steps(monkeypatch)
    reproduce(small, out=folder)
    assert done == list(range(1, 9))
    assert rows(folder) == before


def test_the_threads_of_a_cell_do_not_follow_the_load(small, tmp_path, monkeypatch):
    """Whatever they are by then: nothing else says so, and rows note their number."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    asked = []
    monkeypatch.setattr(
        run_module, "FreeCores", lambda *, follow: asked.append(follow) or FreeCores(follow=False)
    )
    reproduce(small, out=tmp_path / "out")
    assert asked
    assert not any(asked)


def test_more_seeds_are_added_to_those_there(small, tmp_path, monkeypatch):
    reproduce(small, out=tmp_path / "out")
    done = count_steps(monkeypatch)
    folder, _ = reproduce(small, out=tmp_path / "out", seeds=2)
    assert len(done) == 4 * 8
    kept = rows(folder)
    assert len(kept) == 8
    for name in ("r1", "r3", "r10", "random"):
        assert kept[f"{name}-seed0"]["training_loss"] != kept[f"{name}-seed1"]["training_loss"]
    assert (folder / "results.csv").read_text().count("\n") == 9


def test_a_folder_of_another_experiment(small, agreement, tmp_path):
    reproduce(agreement, out=tmp_path / "out")
    message = "out holds the experiment agreement at the scale smoke: name another folder"
    with pytest.raises(InputError, match=message):
        reproduce(small, out=tmp_path / "out")


def test_a_folder_with_other_settings(tiny, no_run_pictures, tmp_path):
    reproduce(tiny(EXPERIMENTS["routing-logits"]), out=tmp_path / "out")
    message = "out holds this experiment with epochs = 2, and now it is 1: name another"
    with pytest.raises(InputError, match=message):
        reproduce(tiny(EXPERIMENTS["routing-logits"], epochs=1), out=tmp_path / "out")


def test_a_setting_that_the_folder_does_not_name_is_its_default(tiny, no_run_pictures, tmp_path):
    """As where the folder is older than an option."""
    experiment = tiny(EXPERIMENTS["routing-logits"])
    reproduce(experiment, out=tmp_path / "out")
    path = tmp_path / "out" / "experiment.json"
    facts = json.loads(path.read_text())

    def without(*names):
        kept = {k: v for k, v in facts["settings"].items() if k not in names}
        path.write_text(json.dumps(facts | {"settings": kept}))

    finished = dataclasses.replace(experiment, compute=pytest.fail)
    without("channels", "reconstruct", "max_shift", "network", "compared_iterations")
    reproduce(finished, out=tmp_path / "out")
    without("epochs")
    with pytest.raises(InputError, match="with epochs = 20, and now it is 2: name another folder"):
        reproduce(finished, out=tmp_path / "out")


def test_cells_of_other_options_are_not_joined(agreement, tmp_path):
    """As of another version of the code, of which the settings say nothing."""

    def of(options):
        cells = lambda scale: [Cell("capsule", seed, options) for seed in range(scale.seeds)]  # noqa: E731
        return dataclasses.replace(agreement, cells=cells, compute=lambda *_: Outcome({"a": 1}))

    before, now = {"routing": {"scale": (1, 2)}}, {"routing": {"scale": (1, 3)}}
    folder, _ = reproduce(of(before), out=tmp_path / "out", seeds=1)
    reproduce(of(before), out=folder, seeds=2)
    with pytest.raises(
        InputError, match=r"with the options .*\[1, 2\].* now they are .*\[1, 3\].*: r"
    ):
        reproduce(of(now), out=folder, seeds=3)
    for path in (folder / "cells").glob("*.json"):  # older ones have no options
        record = json.loads(path.read_text())
        assert record.pop("options") == {"routing": {"scale": [1, 2]}}
        path.write_text(json.dumps(record))
    reproduce(of(now), out=folder, seeds=3)


def test_a_report_of_several_commits_says_which_rows_are_of_which():
    same = {"cpu": "Intel", "torch": "2"}
    rows = [
        {"cell": cell, "seed": seed, "commit": commit, **same}
        for cell, seed, commit in [
            ("a-rate1", 1000, "old"), ("a", 0, "old"), ("a", 1, "old"), ("b", 0, "old"),
            ("b", 1, "new"),
        ]
    ]  # fmt: skip
    assert ["commit", "old, new"] in origins(rows)
    assert origins(rows)[-1] == [
        "of each commit", "old, Intel: b (seed 0), all of a, 1 trial; new, Intel: b (seed 1)"
    ]  # fmt: skip
    assert "of each commit" not in str(origins(rows[:3]))


def test_the_numbers_of_iterations_are_settings(tiny):
    scale = tiny(iterations.EXPERIMENT).scales["smoke"]
    other = dataclasses.replace(scale, iterations=(1, 3))
    assert settings(scale) != settings(other)
    assert settings(scale) == settings(dataclasses.replace(scale, seeds=7, minutes=3))
    trained = dataclasses.replace(scale.training, iterations=2)
    assert settings(scale) != settings(dataclasses.replace(scale, training=trained))


def test_data_that_have_changed(tiny, no_run_pictures, tmp_path):
    experiment = tiny(EXPERIMENTS["routing-logits"])
    folder, _ = reproduce(experiment, out=tmp_path / "out")
    labels = np.arange(100) % 3
    images = np.zeros((100, 17, 17), np.uint8)
    np.savez(tmp_path / "tiny.npz", images=images, labels=labels, class_names=np.array(NAMES))
    with pytest.raises(InputError, match=r"the data are not those .* began with \(tiny, 64 train"):
        reproduce(experiment, out=folder, seeds=2)


def test_folders_and_arguments_that_will_not_do(small, agreement, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    wrong = {
        "is a file: name a folder": {"out": tmp_path / "file"},
        "holds other things": {"out": tmp_path / "full"},
        "--seeds must be at least 1, got 0": {"seeds": 0},
        "agreement takes no data": {"data": "mnist"},
    }
    for message, options in wrong.items():
        with pytest.raises(InputError, match=message):
            reproduce(agreement, **{"out": tmp_path / "new", **options})
    with pytest.raises(InputError, match="cifar10 is not downloaded: name the folder"):
        reproduce(small, out=tmp_path / "cifar", data="cifar10")
    for name in ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png", "bee/3.png", "ant/3.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "images" / name)
    with pytest.raises(InputError, match="does not hold CIFAR-10"):
        reproduce(small, out=tmp_path / "cifar", data="cifar10", data_dir=tmp_path / "images")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in one process"):
        reproduce(agreement, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_first_write_that_fails_leaves_a_folder_to_begin_in(agreement, tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left on device"):
            reproduce(agreement, out=out)
    (out / ".partial-0.json").write_text("{")  # and what a kill leaves
    assert (reproduce(agreement, out=out)[0] / "report.md").is_file()


def test_a_cell_that_another_process_has_is_left_to_it(agreement, tmp_path):
    out = tmp_path / "out"
    computed: list[str] = []

    def compute(cell, workbench):
        computed.append(cell.name)
        return EXPERIMENTS["agreement"].compute(cell, workbench)

    watched = dataclasses.replace(agreement, compute=compute)
    folder = ExperimentFolder(out)
    folder.check(agreement.name, "smoke", agreement.scales["smoke"])
    folder.begin(None)
    with locked(out / "cells" / "capsule-seed0.lock") as mine:
        assert mine
        with pytest.raises(RunStopped, match=r"done, but 1 of 3 cells in .* another") as stopped:
            reproduce(watched, out=out)
    assert stopped.value.exit_code == 0
    assert len(computed) == 2
    assert not (out / "report.md").exists()
    reproduce(watched, out=out)
    assert computed[2:] == ["capsule"]
    assert (out / "report.md").exists()
    assert [path.name for path in (out / "cells").glob("*.lock")] == []


def test_a_cell_that_another_process_has_just_finished_is_not_computed_again(
    agreement, tmp_path, capsys
):
    """Between the list of what is left and the claim. Progress counts it, too."""
    out = tmp_path / "out"
    computed: list[str] = []

    def compute(cell, workbench):
        if not computed:  # a second process comes, and does everything else
            computed.append(cell.name)
            with pytest.raises(RunStopped, match="1 of 3 cells"):
                reproduce(watched, out=out)
        else:
            computed.append(cell.name)
        return EXPERIMENTS["agreement"].compute(cell, workbench)

    watched = dataclasses.replace(agreement, compute=compute)
    reproduce(watched, out=out)
    assert sorted(computed) == sorted(cell.name for cell in agreement.cells(None))
    said = [line.split("]")[0] for line in capsys.readouterr().out.splitlines() if "left" in line]
    assert said == ["[1/3", "[2/3", "[3/3"]


def test_only_temporary_files_that_are_nobodys_are_removed(agreement, tmp_path):
    folder, _ = reproduce(agreement, out=tmp_path / "out")
    old, new = folder / "cells" / ".partial-old.json", folder / "cells" / ".partial-new.json"
    for path, hours in ((old, -2), (new, 2)):
        path.write_text("{")
        os.utime(path, (time.time() + hours * 3600,) * 2)
    (folder / "cells" / "capsule-seed0.json").unlink()
    with storage.atomic_path(folder / "cells" / "another.npz") as held:
        os.utime(held, (0, 0))  # whatever the clock says
        reproduce(agreement, out=folder)
        assert held.exists()
    assert not old.exists()
    assert not new.exists()


def test_the_lock_that_a_kill_left_beside_a_finished_cell_is_removed(agreement, tmp_path):
    """The kill came after the cell's last file: nobody computes, or claims, that cell again."""
    folder, _ = reproduce(agreement, out=tmp_path / "run")
    cell = next((folder / "cells").glob("*.json"))
    left, held = cell.with_suffix(".lock"), folder / "cells" / "other.lock"
    left.touch()
    held.touch()  # of a cell that is not finished: another process may compute it
    reproduce(agreement, out=tmp_path / "run")
    assert not left.exists()
    assert held.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b'{"row": {}}', b"\xff", b"null", b'{"row": 5, "machine": {}}',
        b'{"row": {}, "machine": null}',
    ],
)  # fmt: skip
def test_a_damaged_cell_is_named(agreement, tmp_path, content):
    folder, _ = reproduce(agreement, out=tmp_path / "out")
    path = folder / "cells" / "capsule-seed0.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path} is damaged")):
        reproduce(agreement, out=folder)
    path.unlink()
    reproduce(agreement, out=folder)


def test_what_a_cell_lacks_is_named(tiny, tmp_path):
    agreement = tiny(EXPERIMENTS["agreement"])
    folder, _ = reproduce(agreement, out=tmp_path / "out")
    path = folder / "cells" / "capsule-seed0.json"
    path.write_text('{"row": {}, "machine": {}}')
    with pytest.raises(InputError, match=re.escape(f"{path} is damaged (it lacks 'largest")):
        reproduce(agreement, out=folder)


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": 5}, {"settings": "abc"}, {"settings": None}, {"scale": 3}, {"experiment": []},
        {"data": {}}, {"data": 3},
    ],
)  # fmt: skip
def test_a_damaged_experiment_is_named(agreement, tmp_path, wrong):
    folder, _ = reproduce(agreement, out=tmp_path / "out")
    path = folder / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(InputError, match=re.escape(f"{path} is damaged (it")):
        reproduce(agreement, out=folder)


def test_data_that_the_folder_does_not_name(tiny, no_run_pictures, tmp_path):
    experiment = tiny(EXPERIMENTS["routing-logits"])
    folder, _ = reproduce(experiment, out=tmp_path / "out")
    path = folder / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": None}))
    with pytest.raises(InputError, match=r"began with: bring them back, or name another folder"):
        reproduce(experiment, out=folder, seeds=2)


def test_data_that_no_cell_can_be_trained_on(small, tmp_path):
    images, labels = np.zeros((40, 17, 17), np.uint8), np.arange(40) % 2
    wrong = {
        r"has images of several classes, and every": np.stack([labels, labels * 0 + 1], 1),
        r"has 12 images to train on, and the experiment trains on batches of 16": labels[:16],
    }
    for message, some in wrong.items():
        np.savez(tmp_path / "a.npz", images=images[: len(some)], labels=some)
        with pytest.raises(InputError, match=message):
            reproduce(small, out=tmp_path / "out", data=str(tmp_path / "a.npz"))

    def refuse(workbench):
        raise InputError(f"{len(workbench.data.train)} images are too few")

    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    asking = dataclasses.replace(small, check=refuse)
    with pytest.raises(InputError, match="images are too few"):
        reproduce(asking, out=tmp_path / "out", data=str(tmp_path / "a.npz"))
    tuned = dataclasses.replace(small.scales["smoke"], rates=(0.001, 0.002))
    small = dataclasses.replace(small, scales={"smoke": tuned})
    np.savez(tmp_path / "a.npz", images=images, labels=[*labels[:38].tolist(), 2, 2])
    with pytest.raises(InputError, match=r"a: class '2' has 1 image: .*or name other data with"):
        reproduce(small, out=tmp_path / "out", data=str(tmp_path / "a.npz"))
    assert not (tmp_path / "out").exists()


def without_votes(content):
    with np.load(io.BytesIO(content)) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "votes"}
    file = io.BytesIO()
    np.savez(file, **kept)
    return file.getvalue()


def flipped(content):
    spoilt = bytearray(content)
    spoilt[60] ^= 255  # in what is compressed
    return bytes(spoilt)


@pytest.mark.parametrize("damage", [lambda c: b"PK", lambda c: c[:-40], flipped, without_votes])
def test_damaged_arrays_are_named(tiny, tmp_path, damage):
    agreement = tiny(EXPERIMENTS["agreement"])
    folder, _ = reproduce(agreement, out=tmp_path / "out")
    path = folder / "cells" / "capsule-seed0.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"capsule-seed0.npz cannot be read .*: remove capsule-se"):
        reproduce(agreement, out=folder)


def test_names():
    assert find_experiment("iterations") is iterations.EXPERIMENT
    with pytest.raises(InputError, match="'iteration': did you mean iterations\\? known are agree"):
        find_experiment("iteration")
    assert default_folder("iterations", "cpu", None).as_posix() == "runs/iterations-cpu"
    assert default_folder("a", "cpu", "/data/b.npz").as_posix() == "runs/a-cpu-b"


def test_the_time_of_a_step_is_that_of_the_quickest_epoch():
    history = [{"seconds": 10.0}, {"seconds": 4.0}]
    assert Trained(None, None, history, steps=8, budget={}).seconds_per_step == 1


def test_the_default_training_shifts_photos_by_their_size_and_says_so() -> None:
    """As it did before a shift that nobody asks for was noted as null: its folders are known."""
    config = default_training(data="mnist5k")
    photos = ImageData(torch.rand(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64), ("a",), "p")
    assert augmentation_for(photos, config.augment, max_shift=config.max_shift).max_shift == 4
    assert shifts(config) == "up to 2 pixels; of photos up to an eighth of their side"
    assert shifts(published_training(max_shift=4)) == "up to 4 pixels"
    assert settings(Scale(1.0, 1, config))["max_shift"] == 2
