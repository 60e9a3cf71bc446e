"""Trainings, begun or taken up again: of images by their options, or of a task of one's own."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from torchcaps.data import ImageData, TrainTest
from torchcaps.data.load import check_data_dir
from torchcaps.data.split import check_parts
from torchcaps.errors import InputError
from torchcaps.models import Classifier
from torchcaps.storage import expand_user
from torchcaps.training.build import build_model, check_iterations, load_data_of
from torchcaps.training.callback import Callback, check_callbacks
from torchcaps.training.checkpoint import run_of
from torchcaps.training.config import (
    EPOCHS,
    NETWORK,
    TrainConfig,
    read_train_config,
)
from torchcaps.training.epochs import TaskResult, run_to_the_end
from torchcaps.training.fine_tuning import network_of
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.metrics import Evaluation
from torchcaps.training.multi_label import MultiLabelClassification
from torchcaps.training.run import OtherModel, Run
from torchcaps.training.run_folder import RunFolder, data_may_have_moved, with_whole_paths
from torchcaps.training.settings import apply_settings, settings_given_back
from torchcaps.training.task import Model, Task

__all__ = ["RunResult", "TaskResult", "resume", "resume_task", "train", "train_task"]

COMMAND = "torchcaps train --resume {folder}"


@dataclass(frozen=True)
class RunResult:
    """A finished run of `train`.

    Attributes:
        folder: of the run.
        held_out: what the weights that were kept answered on the held-out images (None on the
            other processes of a distributed run).
        test: those images (None there too).
    """

    folder: Path
    held_out: Evaluation | None
    test: ImageData | None = None


def train_task(
    config: TrainConfig,
    task: Task[Model, Any],
    model: Model,
    *,
    callbacks: Sequence[Callback] = (),
) -> TaskResult:
    """Train one's own model for one's own task, in a new run folder.

    Args:
        config: `epochs`, `batch_size`, `learning_rate` and what else there is of optimisation,
            `keep`, `patience`, `seed`, `precision`, `threads`, `checkpoint_every`, `tensorboard`
            and `out`; its options of images and networks are not used.
        task: what is trained.
        model: trained from the weights that it has; it is changed.
        callbacks: called while it trains.

    Returns:
        The run folder, and what the task measured on its held-out data.

    Raises:
        InputError: an option is wrong.
        RunStopped: interrupted, or a loss that is not finite.
    """
    with settings_given_back(config):
        return run_to_the_end(Run(config, task, model, callbacks=callbacks))


def resume_task(
    path: Path | str,
    task: Task[Model, Any],
    model: Model,
    *,
    epochs: int | None = None,
    callbacks: Sequence[Callback] = (),
) -> TaskResult:
    """Continue an interrupted run of `train_task` from its last checkpoint.

    On the same device with the same number of threads, the weights at the end are, bit for bit,
    those of a run that was never interrupted. (Without `threads` the number falls while other
    processes keep cores busy.)

    Args:
        path: the run folder, or one checkpoint file in its folder `checkpoints`.
        task, model: as the run began with them; the weights come from the checkpoint, where there
            is one yet.
        epochs: of the whole run, where it is to be longer than it was (see `resume`).
        callbacks: called while it trains.

    Raises:
        InputError: no run there, a damaged checkpoint (the one before it is named), other data.
        RunStopped: as in `train_task`.
    """
    path = expand_user(path)
    config = config_of_run(path, epochs)
    with settings_given_back(config):
        return run_to_the_end(Run(config, task, model, callbacks=callbacks), path)


def train(
    config: TrainConfig,
    data: TrainTest | None = None,
    model: Classifier | None = None,
    *,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train as `config` says, in a new run folder.

    Args:
        config: the options of `torchcaps train`.
        data: labelled images to use instead of those that `config.data` names.
        model: to train, from the weights that it has, instead of the one that `config.model` names.
        callbacks: called while it trains.

    Returns:
        The run folder and the answers on the held-out images, which are looked at once, after the
        last epoch; the weights are those of the last epoch, unless `config.keep` is "best".

    Raises:
        InputError: an option or a file is wrong.
        RunStopped: interrupted, or a loss that is not finite.
    """
    callbacks = check_callbacks(callbacks)
    check_iterations(config)
    if model is not None:
        check_built(model, config)
    with settings_given_back(config):
        task, model = images_and_model(config, data, model)
        run = Run(task.fitted(config), task, model, callbacks=callbacks, resume_by=COMMAND)
        return image_result(run_to_the_end(run), task)


def resume(
    path: Path | str,
    data: TrainTest | str | os.PathLike[str] | None = None,
    model: Classifier | None = None,
    *,
    data_dir: Path | str | None = None,
    epochs: int | None = None,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Continue an interrupted run from its last checkpoint, or a finished one for more epochs.

    On the same device with the same number of threads, the weights at the end are, bit for bit,
    those of a run that was never interrupted. (Without `threads` the number falls while other
    processes keep cores busy.)

    Args:
        path: the run folder, or one checkpoint file in its folder `checkpoints`.
        data, model: the labelled images, and the model, where the run was given some; or where the
            images lie now that the run began with.
        data_dir: where the files of mnist or fashion-mnist lie now.
        epochs: of the whole run, where it is to be longer than it was. The learning rate goes on
            where the longer run's schedule is by then: on a cosine it rises again.
        callbacks: called while it trains.

    Raises:
        InputError: no run there, a damaged checkpoint (the one before it is named), other data.
        RunStopped: as in `train`.
    """
    callbacks = check_callbacks(callbacks)
    path = expand_user(path)
    config, folder = config_of_run(path, epochs), RunFolder(run_of(path))
    if folder.run.exists():  # before the data are read with an option that was edited
        folder.check_config(config, folder.read_config_began_with())
    if isinstance(data, str | os.PathLike):
        config = with_whole_paths(dataclasses.replace(config, data=not_empty("data", data)))
    if data_dir is not None:
        data_dir = expand_user(not_empty("data_dir", data_dir))
        if isinstance(data, TrainTest):
            raise InputError(
                f"data_dir is {str(data_dir)!r}, which is for images that are read here, and a "
                "TrainTest was given: leave it out"
            )
        check_data_dir(config.data, data_dir)
        config = with_whole_paths(dataclasses.replace(config, data_dir=data_dir))
    with settings_given_back(config):
        with data_may_have_moved(config.data, folder.config):
            named = data is None or isinstance(data, str | os.PathLike)
            images = load_data_of(config) if named else cast(TrainTest, data)
        if model is None and config.init is not None:
            model = begun_network(path)
        task, model = images_and_model(config, images, model)
        run = Run(task.fitted(config), task, model, callbacks=callbacks, resume_by=COMMAND)
        try:
            return image_result(run_to_the_end(run, path), task)
        except OtherModel as error:
            now = task.training
            shape = "×".join(map(str, (now.channels, *now.image_size)))
            raise InputError(
                f"{run.folder.checkpoints} holds the checkpoints of another model than "
                f"{run.folder.config} describes for images of {shape} in {now.num_classes} "
                "classes: bring back the file, or the data, that the run began with"
            ) from error


def begun_network(path: Path) -> Classifier | None:
    """The network of a run that began with another's weights, which all stand in its checkpoints.

    None where it has none yet, or is older than the note of it.
    """
    folder = RunFolder(run_of(path))
    saved = path.is_file() or folder.has_checkpoints
    network = folder.read_network() if saved else None
    return None if network is None else network_of(network, folder.run)


def images_and_model(
    config: TrainConfig, data: TrainTest | None, model: Classifier | None
) -> tuple[ImageClassification, Classifier]:
    """What the options of `torchcaps train` name, or what was given in its place."""
    if data is None:
        data = load_data_of(config)
    check_parts(data)  # before anything is asked of them
    apply_settings(config)
    kind = MultiLabelClassification if data.train.multi_label else ImageClassification
    task = kind.from_config(config, data)
    if model is None:
        model = build_model(config, task.training)
        if config.init is not None:  # its network is not the one that `config.model` names
            task.model_name = type(model).__name__
    else:
        check_fits(model, task.training)
        task.model_name = type(model).__name__
    task.check_model(model)
    return task, model


def check_built(model: Classifier, config: TrainConfig) -> None:
    """Raise for options of a network beside one that is given: they would change nothing."""
    for name in (*NETWORK, "init"):
        if (value := getattr(config, name)) is not None:
            raise InputError(
                f"{name} is {str(value)!r}, which is for a network that is built here, and a "
                f"{type(model).__name__} was given: leave it out, or give the name of a network"
            )


def check_fits(model: Classifier, data: ImageData) -> None:
    """Raise unless a model that was given takes these images and has their classes."""
    for what, has, needs in (
        ("image size", tuple(model.image_size), tuple(data.image_size)),
        ("channels", model.channels, data.channels),
        ("class names", list(model.class_names), list(data.class_names)),
    ):
        if has != needs:
            raise InputError(f"{data.name} has {what} {needs}, and the model {has}")
    formats = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if formats and torch.float32 not in formats:  # of several it may cast to each itself
        raise InputError(
            f"the model has weights of {', '.join(sorted(map(str, formats)))}, and images come as "
            "torch.float32: convert it with model.float() (--precision chooses bf16)"
        )


def not_empty(name: str, given: str | os.PathLike[str]) -> str:
    """A name or a path that was given as an argument, as text.

    Raises:
        InputError: it is empty, which as a path would be the current folder.
    """
    if not (text := os.fsdecode(given)):
        raise InputError(f"{name} is empty: give it a value (. is the current folder)")
    return text


def image_result(result: TaskResult, task: ImageClassification) -> RunResult:
    """The result of `train`."""
    if result.held_out is None:
        return RunResult(result.folder, None)
    return RunResult(result.folder, result.held_out.answers, task.data.test)


def config_of_run(path: Path, epochs: int | None = None) -> TrainConfig:
    """The config of the run that a path names, with its folder in `out`, for so many epochs.

    Raises:
        InputError: no run there, or fewer epochs than it was to have.
    """
    folder = RunFolder(run_of(path))
    if not folder.config.is_file():
        raise InputError(f"{folder.path} is not the folder of a run: it holds no config.json")
    config = folder.found_again(read_train_config(folder.config))
    config = dataclasses.replace(config, out=folder.path)
    had = EPOCHS if config.epochs is None else config.epochs
    if epochs is None or epochs == had:
        return config
    if epochs < had:
        raise InputError(
            f"--epochs {epochs} is less than the {had} of the run {folder.path}: name "
            "the number of all its epochs, those that are done among them"
        )
    return dataclasses.replace(config, epochs=epochs)
