"""The folder of a training run: what lies where in it."""

import csv
import dataclasses
import datetime
import io
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import torchcaps
from torchcaps.data import dataset_names
from torchcaps.errors import InputError
from torchcaps.models.folder import is_saved_model
from torchcaps.storage import (
    as_utf8,
    one_at_a_time,
    read_json,
    remove_abandoned,
    short_name,
    write_json,
    write_text,
)
from torchcaps.training.config import (
    USUAL_SHIFT,
    TrainConfig,
    config_to_dict,
    fixed_options,
)

__all__ = [
    "NOTES",
    "RUNS",
    "RunFolder",
    "check_outside",
    "data_may_have_moved",
    "describe_machine",
    "with_whole_paths",
]

RUNS = Path("runs")  # in which a run lies that is not told where
NOTES = 2  # in run.json: its options are null where nobody asked for a shift
# What a run writes, config.json apart.
WRITTEN = (
    "run.json", "metrics.csv", "result.json", "model", "checkpoints", "explorer.html",
    "learning_curves.png", "confusion.png", "mistakes.png", "reconstructions.png",
)  # fmt: skip


class RunFolder:
    """Paths in a run folder, and the small files that are rewritten as a whole.

    config.json (the resolved options), run.json (versions, machine, data), metrics.csv (a row an
    epoch), result.json (the held-out accuracy), model/ (for `load_model`), checkpoints/ (for
    `--resume`), and the pictures.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.run = path / "run.json"
        self.metrics = path / "metrics.csv"
        self.result = path / "result.json"
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, config: TrainConfig, name: str) -> "RunFolder":
        """A new folder, where the config asks for it or NAME-… under runs/, with its config.json.

        Raises:
            InputError: there is a run in it already, it is a file, or it lies among the images that
                are trained on.
        """
        path = config.out
        if path is None:
            now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
            path = RUNS / f"{short_name(name)}-{now}-{os.getpid()}"
        folder = cls(path)
        if as_utf8(str(path)) != str(path):
            raise InputError(
                f"--out {path} is not UTF-8, and safetensors could not open the model in it: name "
                "another folder"
            )
        if str(path).startswith("~"):  # `TrainConfig` puts users' folders in its place
            raise InputError(
                f"--out {path} names the folder of a user, and there is none called "
                f"{path.parts[0][1:]}: for a folder of that name write {path.absolute()}"
            )
        if os.path.lexists(path) and not path.is_dir():
            raise InputError(f"--out {path} is a file: name a folder")
        check_outside(path, config.data)
        path.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(path):  # of two runs that begin at once, one is the first
            if is_saved_model(path):
                raise InputError(
                    f"{path} holds a saved model, not a run: name another folder with --out (and "
                    f"to begin with its weights, --init {path})"
                )
            if folder.config.exists():
                raise InputError(
                    f"{path} already holds a run: continue it with --resume {path}, "
                    "or name another folder with --out"
                )
            folder.check_empty()
            folder.tidy()
            write_json(folder.config, config_to_dict(config))
        return folder

    def check_empty(self) -> None:
        """Raise where a new run would replace files that another run, or somebody, left here."""
        for name in WRITTEN:
            there = self.path / name
            if os.path.lexists(there) and not (there.is_dir() and not any(there.iterdir())):
                raise InputError(
                    f"{self.path} holds {name} already, and a run would write its own there: name "
                    "another folder with --out, or move it away"
                )

    def clear(self) -> None:
        """Remove what a run wrote, and nothing else that lies there."""
        for name in (self.config.name, *WRITTEN):
            there = self.path / name
            if there.is_dir() and not there.is_symlink():
                shutil.rmtree(there)
            else:
                there.unlink(missing_ok=True)

    def found_again(self, config: TrainConfig) -> TrainConfig:
        """The run's config, with paths that lead to its data from here.

        They are taken as they stand; where there is nothing, from the folder that the run was begun
        in. A shift that an older version noted though nobody asked for it is none.
        """
        try:
            facts = read_json(self.run)
            began_in, notes = Path(facts["working_folder"]), facts.get("notes")
        except (OSError, ValueError, KeyError, TypeError, InputError):  # of an older version
            return config

        def lies(path: str | Path) -> str:
            here, then = os.path.expanduser(path), began_in / os.path.expanduser(path)
            return str(then) if not os.path.lexists(here) and os.path.lexists(then) else str(path)

        paths = {
            name: Path(lies(path)) if (path := getattr(config, name)) is not None else None
            for name in ("data_dir", "init")
        }
        data = config.data if config.data in dataset_names() else lies(config.data)
        if notes != NOTES and config.max_shift == USUAL_SHIFT:
            config = dataclasses.replace(config, max_shift=None)
        return dataclasses.replace(
            config, data=data, data_dir=paths["data_dir"], init=paths["init"]
        )

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is anything that a run could go on from."""
        return any(self.checkpoints.glob("step-*.json"))

    @property
    def has_results(self) -> bool:
        """Whether there is what only comes after a checkpoint: metrics, a model, a result."""
        if self.result.exists() or any(self.model.glob("[!.]*")):
            return True
        # Its first line names the columns.
        return self.metrics.is_file() and len(self.metrics.read_bytes().splitlines()) > 1

    def check_config(self, config: TrainConfig, began_with: Mapping[str, Any]) -> None:
        """Raise where config.json was edited; a run of an older version has not noted it.

        Args:
            config: as it is now.
            began_with: the `fixed_options` of the run, as run.json or a checkpoint has them.
        """
        now = fixed_options(config)
        if now["max_shift"] is None and began_with.get("max_shift") == USUAL_SHIFT:
            began_with = {**began_with, "max_shift": None}  # of an older version
        for name in sorted(set(now) & set(began_with)):
            if now[name] != began_with[name]:
                raise InputError(
                    f"{self.config} has {name} {now[name]!r}, and the run began with "
                    f"{began_with[name]!r}: put that back, or start a new run"
                )

    def tidy(self) -> None:
        """Remove the temporary files that a kill left behind, none that is being written.

        Commands beside the run, such as `explore`, write into its folder too.
        """
        for folder in (self.path, self.model, self.checkpoints):
            for partial in list(folder.glob(".partial-*")):
                if partial.is_symlink():
                    partial.unlink(missing_ok=True)
                elif partial.is_dir():
                    shutil.rmtree(partial)
                else:
                    remove_abandoned(partial)

    def read_data_facts(
        self, needed: Iterable[str] = ("name", "train", "sha256")
    ) -> dict[str, Any]:
        """What run.json says of the data that the run began with (see `Task.describe_data`).

        Args:
            needed: facts without which the file counts as damaged.

        Raises:
            InputError: the file is damaged, or missing.
        """
        try:
            facts: dict[str, Any] = read_json(self.run)["data"]
            if lacking := set(needed) - set(facts):
                raise KeyError(f"data lacks {', '.join(sorted(lacking))}")
        except FileNotFoundError as error:
            raise InputError(
                f"{self.run}, which says what data the run was trained on, is missing: torchcaps "
                f"train --resume {self.path} writes it again"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.run} is damaged ({error}): restore it, or remove it to go on with the data "
                "as they are now"
            ) from error
        return facts

    def read_config_began_with(self) -> dict[str, Any]:
        """The options that run.json says the run began with; none, where it is older than that.

        Raises:
            InputError: the file is damaged.
        """
        try:
            options = read_json(self.run).get("config", {})
            if not isinstance(options, dict):
                raise ValueError("config is not an object")
        except (ValueError, AttributeError) as error:
            raise InputError(
                f"{self.run} is damaged ({error}): restore it, or remove it to go on with the data "
                "as they are now"
            ) from error
        return options

    def read_network(self) -> dict[str, Any] | None:
        """What run.json says of a network that began with another's weights; None if nothing."""
        try:
            network: dict[str, Any] | None = read_json(self.run).get("network")
        except (OSError, ValueError, AttributeError):  # whatever needs the file says what is wrong
            return None
        return network

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write metrics.csv anew: a row an epoch, and a column for whatever any of them has."""
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in history for name in row))
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_text(self.metrics, text.getvalue())


@contextmanager
def data_may_have_moved(data: str, whose: object) -> Iterator[None]:
    """Within it, what a run says of its data that are not there any more; `whose` names it.

    Raises:
        InputError: as it was raised, with what to do where the path leads to nothing.
    """
    try:
        yield
    except InputError as error:
        if data in dataset_names() or os.path.lexists(os.path.expanduser(data)):
            raise
        raise InputError(
            f"the data of {whose} cannot be had ({error}): say with --data where they lie now"
        ) from error


def with_whole_paths(config: TrainConfig) -> TrainConfig:
    """The config with paths that are the same from any working folder."""

    def whole(path: Path | None) -> Path | None:
        there = path is not None and os.path.lexists(path)
        return Path(os.path.abspath(path)) if path is not None and there else path

    data = config.data
    if data not in dataset_names() and os.path.lexists(os.path.expanduser(data)):
        data = os.path.abspath(os.path.expanduser(data))
    return dataclasses.replace(
        config, data=data, data_dir=whole(config.data_dir), init=whole(config.init)
    )


def check_outside(path: Path, data: str) -> None:
    """Raise where a run would lie among its own data, of which its pictures would be images.

    Raises:
        InputError: so it would.
    """
    folder = Path(os.path.expanduser(data))
    if data in dataset_names() or not folder.is_dir():
        return
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise InputError(
            f"the run would lie in {path}, within {data}, the folder of its images: name a folder "
            "elsewhere with --out"
        )


def describe_machine() -> dict[str, Any]:
    """Versions and hardware, for the record."""
    return {
        "torchcaps": torchcaps.__version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "accelerate": _version("accelerate"),
        "platform": platform.platform(),
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source this runs from, where that is a git checkout."""
    source = Path(__file__).resolve().parent
    try:
        # Only a checkout of this package counts, not one that happens to lie around an installed
        # copy: git must know this very file.
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", Path(__file__).name],
            cwd=source, capture_output=True, check=True, timeout=5,
        )  # fmt: skip
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=source, capture_output=True, text=True, check=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
