"""Folders whose images stay in their files train the same network as folders in memory."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.small_runs import NAMES, tiny_config, tiny_data, weights_of
from torchcaps.cli import main
from torchcaps.data import ImageFiles, channel_statistics, image_kind, load_data, memory_check
from torchcaps.errors import InputError, RunStopped
from torchcaps.explorer.held_out import images_of_run
from torchcaps.training.build import describe_data
from torchcaps.training.callback import Callback
from torchcaps.training.find_rate import find_learning_rate
from torchcaps.training.loop import images_and_model, resume, train
from torchcaps.training.read_ahead import ReadAhead
from torchcaps.training.run import Run
from torchcaps.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 34 images, in colour but for the first class."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    data = tiny_data(130, channels=3).train
    for number, (image, label) in enumerate(zip(data.images, data.labels.tolist())):
        pixels = image.permute(1, 2, 0).numpy()
        picture = Image.fromarray(pixels).convert("RGB" if label else "L")
        path = root / NAMES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


def options(folder: Path, **more: object) -> dict[str, object]:
    return {"data": str(folder), "validation": 0.1, "balance": True, "workers": 1, **more}


def test_the_same_images_in_the_same_order(folder: Path) -> None:
    memory, files = (load_data(str(folder), in_memory=held) for held in (True, False))
    for one, other in zip(memory, files):
        assert isinstance(other, ImageFiles)
        assert not isinstance(one, ImageFiles)
        assert (len(one), one.channels, one.image_size) == (
            len(other),
            other.channels,
            other.image_size,
        )
        assert (one.class_names, one.name) == (other.class_names, other.name)
        assert torch.equal(one.images, other.images)
        chosen = torch.tensor([3, 0, 3])
        for a, b in zip(one.batch(chosen), other.batch(chosen)):
            assert torch.equal(a, b)
        assert torch.equal(one[-1][0], other[-1][0])
        part = other.subset(chosen)
        assert isinstance(part, ImageFiles)
        assert torch.equal(part.images, one.subset(chosen).images)
        assert torch.equal(part.labels, one.subset(chosen).labels)
        assert channel_statistics(one) == channel_statistics(other)
        assert image_kind(one) == image_kind(other)


def test_resized_and_in_grey(folder: Path) -> None:
    memory, files = (
        load_data(str(folder), image_size=9, channels=1, in_memory=held) for held in (True, False)
    )
    assert torch.equal(memory.test.images, files.test.images)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_trained_weights_are_the_same(folder: Path, tmp_path: Path, workers: int) -> None:
    train(tiny_config(tmp_path / "memory", **options(folder, in_memory="yes")))
    train(
        tiny_config(
            tmp_path / "files", **options(folder, in_memory="no", workers=workers, jitter=0)
        )
    )
    assert weights_of(tmp_path / "memory") == weights_of(tmp_path / "files")
    # Continued from the middle of an epoch.
    first = sorted((tmp_path / "files" / "checkpoints").iterdir(), key=os.path.getmtime)[0]
    weights = weights_of(tmp_path / "files")
    resume(first)
    assert weights_of(tmp_path / "files") == weights


def test_a_folder_larger_than_memory_is_left_in_its_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "physical_memory", lambda: 10_000)
    assert isinstance(load_data(str(folder)).train, ImageFiles)
    with pytest.raises(InputError, match=r"would take .* GiB of memory"):
        load_data(str(folder), in_memory=True)
    with pytest.raises(InputError, match=r"would take .* GiB of memory"):
        load_data(str(folder)).train.images  # noqa: B018


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named_in_one_sentence(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    files = load_data(str(folder), in_memory=False).train
    assert isinstance(files, ImageFiles)
    damaged = tmp_path / "cut.png"
    damaged.write_bytes(Path(files.files[5]).read_bytes()[:200])
    files.files[5] = damaged  # type: ignore[index]
    ahead = ReadAhead(files, lambda step: torch.arange(step, step + 3), workers)
    ahead.batch(2)
    with pytest.raises(InputError, match=f"^{damaged} is truncated or damaged [^\n]*$"):
        ahead.batch(3)
    assert torch.equal(ahead.batch(6)[1], torch.tensor([6, 7, 8]))


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("done", ["replaced", "removed"])
def test_a_damaged_held_out_file_loses_nothing(folder: Path, tmp_path: Path, done: str) -> None:
    parts = tmp_path / "data"
    for part in ("train", "test"):
        shutil.copytree(folder, parts / part)
    config = tiny_config(tmp_path / "run", **options(parts, in_memory="no", workers=0))
    damaged = parts / "test" / "bee" / "a.jpg"
    Image.effect_noise((17, 17), 90).convert("RGB").save(damaged)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-40])
    told = rf"^{damaged} is truncated .* its last checkpoint is whole: .*train --resume /"
    with pytest.raises(InputError, match=told):
        train(config)
    damaged.unlink()
    if done == "replaced":
        damaged.write_bytes(whole)
    run_json = tmp_path / "run" / "run.json"
    with pytest.raises(InputError, match=f"or remove {run_json} to go on with the data as they"):
        resume(tmp_path / "run")
    run_json.unlink()
    resume(tmp_path / "run")
    train(tiny_config(tmp_path / "at once", **options(parts, in_memory="no", workers=0)))
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "at once")


def test_steps_in_any_order_and_no_draw_from_the_global_generator(folder: Path) -> None:
    files = load_data(str(folder), in_memory=False).train
    assert isinstance(files, ImageFiles)
    state = torch.get_rng_state()
    ahead = ReadAhead(files, lambda step: torch.arange(step, step + 2), 1)
    for step in (0, 1, 7, 8, 3):
        images, indices = ahead.batch(step)
        assert indices.tolist() == [step, step + 1]
        assert torch.equal(images, files.batch(indices)[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_workers_outlive_the_signal_that_the_run_answers(folder: Path) -> None:
    """Ctrl-C reaches them too; the step that is being done needs its batch."""
    files = load_data(str(folder), in_memory=False).train
    assert isinstance(files, ImageFiles)
    ahead = ReadAhead(files, lambda step: torch.arange(step, step + 2), 2)
    ahead.batch(0)
    for process in ahead._batches._workers:
        os.kill(process.pid, signal.SIGINT)
    for step in range(1, 20):
        assert ahead.batch(step)[1].tolist() == [step, step + 1]


class Killer(Callback):
    """Kills the processes that read images, as the system does where memory runs out."""

    def on_step(self, run: Run) -> None:
        if run.step == 3:
            for process in multiprocessing.active_children():
                process.kill()
            time.sleep(30)  # until their end is told


def test_a_killed_worker_ends_the_run_with_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "run", **options(folder, in_memory="no"))
    with pytest.raises(RunStopped, match=r"was killed.*go on with: torchcaps train --resume /"):
        train(config, callbacks=[Killer()])
    assert resume(tmp_path / "run").held_out is not None


def test_a_search_for_a_rate_tells_of_a_killed_worker(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path / "run", **options(folder, in_memory="no"))
    task, model = images_and_model(config, None, None)

    def killed(run: Run) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(Run, "do_step", killed)
    with pytest.raises(InputError, match=r"was killed.*with fewer --workers"):
        find_learning_rate(config, task, model)


def test_a_process_that_has_workers_ends_in_silence(folder: Path) -> None:
    code = f"""
import torch
from torchcaps.data import load_data
from torchcaps.training.read_ahead import ReadAhead
data = load_data({str(folder)!r}, in_memory=False).train
ahead = ReadAhead(data, lambda step: torch.arange(step, step + 2), 2)
ahead.batch(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_data_are_told_by_their_names_and_sizes(folder: Path, tmp_path: Path) -> None:
    def facts(root: Path) -> str:
        return str(describe_data(load_data(str(root), in_memory=False))["sha256"])

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    before = facts(folder)
    assert facts(copy) == before
    sized = load_data(str(folder), image_size=17, channels=3, in_memory=False)  # as eval asks
    assert describe_data(sized)["sha256"] == before
    one = next((copy / "bee").iterdir())
    one.write_bytes(one.read_bytes() + b" ")
    longer = facts(copy)
    one.rename(one.with_name("other.png"))
    assert len({before, longer, facts(copy)}) == 3


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("first", "then"), [("yes", "no"), ("no", "yes")])
def test_a_run_knows_its_folder_in_memory_and_in_files(
    folder: Path, tmp_path: Path, first: str, then: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which it is may depend on how much memory a machine has."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    run = tmp_path / "run"
    train(tiny_config(run, **options(copy, in_memory=first, workers=0)))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"in_memory": then, "workers": 0}))
    assert resume(run).held_out is not None
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["eval", str(run)])
    found, why = images_of_run(RunFolder(run))
    assert isinstance(found, ImageFiles) is (then == "no"), why
    one = next((copy / "bee").iterdir())
    Image.new("RGB", (17, 17)).save(one)
    with pytest.raises(InputError, match="the data are not those that the run"):
        resume(run)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["eval", str(run)])
    assert "does not hold the images" in capsys.readouterr().err
    assert images_of_run(RunFolder(run))[0] is None


def test_what_is_no_folder_is_read_into_memory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mnist5k is no folder of images, and only these can be"):
        load_data("mnist5k", in_memory=False)
    with pytest.raises(InputError, match="unknown data 'tiger'"):
        load_data("tiger", in_memory=False)
    with pytest.raises(InputError, match=r"tiger/cubs does not exist; expected a folder"):
        load_data(str(tmp_path / "tiger" / "cubs"), in_memory=False)


def test_files_of_other_sizes_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    Image.new("RGB", (20, 17)).save(copy / "bee" / "999.png")
    with pytest.raises(InputError, match=r"differ in size: .* is 17×17 and .*999\.png is 17×20"):
        load_data(str(copy), in_memory=False)
    assert load_data(str(copy), image_size=17, in_memory=False).train.image_size == (17, 17)
