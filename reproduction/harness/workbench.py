"""What the cells of an experiment work with: the data, and trainings on them."""

import copy
import dataclasses
import shutil
from functools import cached_property
from pathlib import Path
from typing import Self

import torch

from reproduction.harness.cell import Cell
from reproduction.harness.folder import ExperimentFolder
from reproduction.harness.progress import ExperimentProgress
from reproduction.harness.scale import Scale
from reproduction.harness.training import AfterEpoch, Change, Trained, train_or_resume
from torchcaps.data import ImageData, TrainTest, load_data, stratified_split
from torchcaps.errors import InputError
from torchcaps.training.config import TrainConfig

__all__ = ["CIFAR10", "MOST_UNUSED", "Workbench"]

CIFAR10 = "cifar10"
SHARE_ASIDE = 1 / 3  # of the training images at most: for trials of learning rates
MOST_UNUSED = 30_000  # training images left out that are looked at in the end


class Workbench:
    """Data that are read when first asked for, and trainings that go on where they stopped.

    Args:
        folder: of the experiment.
        scale: how large it is run.
        data_dir: where the files of a data set lie.
        progress: what is told of steps.
    """

    def __init__(
        self,
        folder: ExperimentFolder,
        scale: Scale,
        data_dir: Path | None,
        progress: ExperimentProgress,
    ) -> None:
        self.folder = folder
        self.scale = scale
        self.data_dir = data_dir
        self.progress = progress

    @cached_property
    def parts(self) -> TrainTest:
        """The data as they lie on disk."""
        return load(self.scale.config.data, self.data_dir)

    @cached_property
    def whole(self) -> TrainTest:
        """All training images and held-out ones, as many as the scale says."""
        parts = self.parts
        counts = (self.scale.images, self.scale.held_out)
        if self.scale.unused and len(parts.train) <= (self.scale.images or 0):
            raise InputError(
                f"the scale takes {self.scale.images:,} training images and looks at others, and "
                f"{self.scale.config.data} has {len(parts.train):,}: take data with more"
            )
        return TrainTest(*(choice(part, count) for part, count in zip(parts, counts)))

    def check(self) -> None:
        """Raise where no cell could be trained on the data, before a folder is begun.

        Raises:
            InputError: images of several classes, too few images, or a class that is too small.
        """
        name = self.scale.config.data
        if self.whole.train.multi_label:
            raise InputError(
                f"{name} has images of several classes, and every experiment tells one class an "
                "image: name other data with --data"
            )
        images, batch = len(self.data.train), self.scale.config.batch_size
        if images < batch:
            raise InputError(
                f"{name} has {images} images to train on, and the experiment trains on batches of "
                f"{batch}: name data with more, or take another --scale"
            )

    @cached_property
    def unused(self) -> ImageData:
        """Of the training images that neither trainings nor trials see, so many."""
        train = self.parts.train
        left = order_of(train)[len(self.whole.train) :]
        return train.subset(left[:MOST_UNUSED].sort().values)

    @cached_property
    def data(self) -> TrainTest:
        """The images to learn from and the held-out ones.

        Where learning rates are tuned, the images to learn from are without those kept aside,
        unless the scale learns from them once the rates are chosen.
        """
        if not self.scale.rates or self.scale.learn_aside:
            return self.whole
        return TrainTest(self._learnt_and_aside.train, self.whole.test)

    @cached_property
    def for_trials(self) -> Self:
        """The same, with the training images kept aside in the place of the held-out ones."""
        data = self._learnt_and_aside
        other = copy.copy(self)
        other.data = data
        return other

    @cached_property
    def _learnt_and_aside(self) -> TrainTest:
        train = self.whole.train
        share = min(SHARE_ASIDE, self.scale.aside / len(train))
        advice = "name other data with --data"
        return TrainTest(*stratified_split(train, share, advice=advice))

    def config_of(self, cell: Cell) -> TrainConfig:
        """The scale's config with the cell's own options, its seed and its run folder."""
        return dataclasses.replace(
            self.scale.config,
            seed=cell.seed,
            out=self.folder.run_of(cell),
            data_dir=self.data_dir,
            threads=torch.get_num_threads(),  # what rows note does not follow the machine's load
            augment="digits",  # shifts alone, with zero padding, whatever the data: as in the paper
            **cell.options,
        )

    def train(
        self,
        cell: Cell,
        *,
        data: TrainTest | None = None,
        change: Change | None = None,
        after_epoch: AfterEpoch | None = None,
        look_every: int | None = None,
    ) -> Trained:
        """Train as `config_of` the cell says.

        Args:
            cell: what is trained, and where it is put down.
            data: what to train on in place of `self.data`.
            change: gives the model to train from the config's.
            after_epoch: looks at the model before training and after each epoch.
            look_every: steps after which it looks, in place of epochs.
        """
        trained = train_or_resume(
            self.config_of(cell),
            self.data if data is None else data,
            self.progress,
            change=change,
            after_epoch=after_epoch,
            look_every=look_every,
        )
        if change is not None:  # as saved, it would be loaded as the model that the config names
            shutil.rmtree(self.folder.run_of(cell) / "model")
        return trained


def load(name: str, data_dir: Path | None) -> TrainTest:
    """As `load_data`, and "cifar10" is the folder of class folders that `data_dir` names."""
    if name != CIFAR10:
        return load_data(name, data_dir)
    if data_dir is None:
        raise InputError(
            "cifar10 is not downloaded: name the folder that holds its images as "
            "train/CLASS/… and test/CLASS/… with --data-dir"
        )
    parts = load_data(str(data_dir))
    if parts.train.num_classes != 10 or parts.train.image_size != (32, 32):
        raise InputError(
            f"{data_dir} does not hold CIFAR-10: expected ten classes of 32×32 images, found "
            f"{parts.train}"
        )
    lossy = any(path.suffix.lower() in {".jpg", ".jpeg"} for path in data_dir.rglob("*.*"))
    title = "CIFAR-10 (JPEG)" if lossy else "CIFAR-10"
    return TrainTest(*(dataclasses.replace(part, name=title) for part in parts))


def choice(data: ImageData, count: int | None) -> ImageData:
    """So many of the images, always the same ones; all where there are no more."""
    if count is None or count >= len(data):
        return data
    return data.subset(order_of(data)[:count].sort().values)


def order_of(data: ImageData) -> torch.Tensor:
    """The order in which images are chosen."""
    return torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
