"""What is killed: trainings, exports, pages, answers, experiments; how each is begun, gone on with,
and judged.

All of it is as small as it can be, so that a kill costs a fraction of a second.
"""

import csv
import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reproduction.harness.experiment import Experiment
from reproduction.harness.registry import EXPERIMENTS
from reproduction.harness.run import reproduce
from tests.killed_runs import quick_picture, train_or_resume_images
from tests.kills.processes import (
    Process,
    command,
    fork,
    fork_two,
    two_processes_of_torchrun,
)
from tests.small_runs import arguments_of, tiny_config, tiny_data, write_npz
from torchcaps.cli import run
from torchcaps.explorer import write_explorer
from torchcaps.export import export_model, write
from torchcaps.models import Classifier, create_model
from torchcaps.training import pictures
from torchcaps.training.config import TrainConfig

__all__ = ["Work", "all_work"]

NETWORK = {"conv_channels": 4, "primary_types": 2, "decoder_hidden": [8]}
TIMED = {"seconds", "training_seconds", "images_per_second", "seconds_per_step"}
HOUR = 3600.0
PICTURES = ("learning_curves", "confusion", "mistakes", "reconstructions")

Files = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Work:
    """A kind of work.

    Attributes:
        name: in the count.
        share: of all kills, in relation to the others'.
        start: begin in a folder, or go on with what lies there.
        files: what is compared of a folder that is finished.
        mends: whether it goes on from what a kill left; else it begins anew, and what it left has
            to be whole.
        writes: how many files it writes, about.
        full_disk: it is not killed: its disk gets full.
    """

    name: str
    share: float
    start: Callable[[Path, Path], Process]
    files: Callable[[Path], Files]
    mends: bool = True
    writes: int = 20
    full_disk: bool = False


def all_work(folder: Path) -> list[Work]:
    """All kinds; `folder` holds the data."""
    data = str(write_npz(folder / "tiny.npz", tiny_data()))
    config = tiny_config(
        folder, data=data, model="capsnet", model_options=NETWORK, precision="fp32"
    )
    model = create_model("capsnet", image_size=17, num_classes=3, **NETWORK).eval()

    def train(out: Path) -> Callable[[], None]:
        return lambda: quickly(train_or_resume_images, dataclasses.replace(config, out=out))

    def experiment(out: Path) -> Callable[[], object]:
        chosen = shrunk(EXPERIMENTS["iterations"], config)
        return lambda: quickly(reproduce, chosen, "smoke", out=out)

    def training(name: str, share: float, **kind: Any) -> Work:
        return Work(name, share, lambda out, log: fork(train(out), log), files_of_run, **kind)

    def reproduction(name: str, share: float, **kind: Any) -> Work:
        return Work(
            name, share, lambda out, log: fork(experiment(out), log), files_of_experiment, **kind
        )

    # Done once here, so that children have imported, compiled and prepared what they need.
    quickly(train_or_resume_images, dataclasses.replace(config, out=folder / "warm"))
    quickly(reproduce, shrunk(EXPERIMENTS["iterations"], config), "smoke", out=folder / "warm too")
    images = [str(path) for path in image_files(folder / "images")]
    table = partial(answer, folder / "warm", images, True)
    picture = partial(answer, folder / "warm", images[:1], False)
    picture(folder / "warm" / "predictions")
    at_once = written_at_once(model, table, picture)
    return [
        training("train", 56),
        training("train on a full disk", 8, full_disk=True),
        Work("train, two processes", 8, lambda out, log: fork_two(train(out), log), files_of_run),
        reproduction("reproduce", 3),
        reproduction("reproduce on a full disk", 1, full_disk=True),
        *at_once,
        *(
            dataclasses.replace(
                work, name=f"{work.name} on a full disk", share=work.share / 6, full_disk=True
            )
            for work in at_once
        ),
        Work(
            "train, clock backwards",
            5,
            lambda out, log: fork(clock_backwards(train(out), out), log),
            files_of_run,
        ),
        Work(
            "reproduce, clock backwards",
            1,
            lambda out, log: fork(clock_backwards(experiment(out), out), log),
            files_of_experiment,
        ),
        Work(
            "command",
            1.2,
            lambda out, log: command(arguments(config, out), log),
            files_of_run,
        ),
        Work(
            "torchrun",
            0.4,
            lambda out, log: two_processes_of_torchrun(arguments(config, out)[1:], log),
            files_of_run,
        ),
    ]


def written_by(do: Callable[[Path], object], out: Path, log: Path) -> Process:
    """Write in a forked process."""
    return fork(lambda: do(out), log)


def written_at_once(
    model: Classifier, table: Callable[[Path], None], picture: Callable[[Path], None]
) -> list[Work]:
    """Files that are there whole, or not at all."""
    program = write.export_program(model)  # which takes ten times as long as all the rest

    def export(out: Path, to: str) -> None:
        write.export_program = lambda model: program
        export_model(model, out / f"model.{to}", to)

    return [
        Work(
            name,
            share,
            partial(written_by, do),
            all_files,
            mends=False,
            writes=1,
        )
        for name, share, do in (
            ("explore", 15, lambda out: write_explorer(model, out / "explorer.html")),
            ("predict, a table", 2, table),
            ("predict, a picture", 1, picture),
            ("export pt2", 5, lambda out: export(out, "pt2")),
            ("export onnx", 0.4, lambda out: export(out, "onnx")),
        )
    ]


def image_files(folder: Path) -> list[Path]:
    """Two images."""
    folder.mkdir()
    paths = [folder / "a.png", folder / "b.png"]
    for path, image in zip(paths, tiny_data().test.images):
        Image.fromarray(image[0].numpy()).save(path)
    return paths


def answer(model: Path, images: Sequence[str], as_table: bool, out: Path) -> None:
    """A table of what images show, or a picture."""
    to = ["--to", str(out / "table.csv")] if as_table else ["--out", str(out)]
    run(["predict", str(model), *images, *to])


def clock_backwards(work: Callable[[], object], out: Path) -> Callable[[], None]:
    """Work while the clock of the system is set back by hours, again and again.

    What lies there already was written in the future.
    """

    def do() -> None:
        later = time.time() + 5 * HOUR
        for path in out.rglob("*"):
            os.utime(path, (later, later))
        now, calls = time.time, count()
        time.time = lambda: now() - HOUR * next(calls)
        work()

    return do


def quickly(work: Callable[..., object], *arguments: object, **options: object) -> None:
    """Without the pictures of a run, which take longer than the run."""
    for name in PICTURES:
        setattr(pictures, f"draw_{name}", quick_picture)
    work(*arguments, **options)


def shrunk(experiment: Experiment, config: TrainConfig) -> Experiment:
    """An experiment of four trainings, each a second of this machine."""
    scale = experiment.scales["smoke"]
    training = dataclasses.replace(config, out=None, validation=0.0, epochs=1)
    scale = dataclasses.replace(scale, seeds=1, training=training, images=64, held_out=20)
    return dataclasses.replace(experiment, scales={"smoke": scale})


def arguments(config: TrainConfig, out: Path) -> list[str]:
    """Of `python`, to begin a run in a folder or to go on with it."""
    if (out / "config.json").exists():
        return ["-m", "torchcaps", "train", "--resume", str(out)]
    options = dataclasses.replace(config, out=out, model_options=None)
    return [
        *["-m", "torchcaps", "train", *arguments_of(options)],
        *["--model-options", json.dumps(NETWORK)],
    ]


def all_files(folder: Path) -> Files:
    """Every file under a folder, its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def files_of_run(folder: Path) -> Files:
    """Of a finished run: every file but checkpoints, without the times that it took.

    A checkpoint more than usual stays where no save came after the kill.
    """
    files = all_files(folder)
    files = {k: v for k, v in files.items() if "checkpoints/step-0" not in k}
    for name in list(files):
        if name.endswith(("metrics.csv", "results.csv")):
            rows = csv.DictReader(files[name].decode().splitlines())
            files[name] = [{k: v for k, v in row.items() if k not in TIMED} for row in rows]
        elif name.endswith(("result.json", "config.json", "run.json")):
            values = json.loads(files[name])
            files[name] = {k: v for k, v in values.items() if k not in {*TIMED, "out", "machine"}}
    last = max(folder.glob("checkpoints/*.safetensors"), default=None)
    return files | ({"last checkpoint": last.read_bytes()} if last else {})


def files_of_experiment(folder: Path) -> Files:
    """Of a finished experiment; pictures and report say how long it took."""
    files = {k: v for k, v in files_of_run(folder).items() if not k.endswith((".png", "report.md"))}
    for name in list(files):
        if name.startswith("cells/") and name.endswith(".json"):
            row = json.loads(files[name])["row"]
            files[name] = {k: v for k, v in row.items() if k not in TIMED}
        elif name.endswith(".npz"):
            with np.load(folder / name) as arrays:
                files[name] = {key: arrays[key].tobytes() for key in arrays.files}
    return files
