"""Labelled images that stay in their files: for folders that are larger than memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchcaps.data.image_file import Pixels, read_pixels
from torchcaps.data.image_options import size_advice
from torchcaps.data.images import ImageData, as_float, check_labels, checked_names
from torchcaps.data.memory_check import check_fits
from torchcaps.data.thread_pool import in_threads
from torchcaps.errors import InputError

__all__ = ["ImageFiles"]

CHUNK = 512  # images that are read at a time, where all are read one after the other


class ImageFiles(ImageData):
    """Images that are read from their files whenever they are asked for, and their labels.

    It does what `ImageData` does; only `images`, where somebody asks for it, reads all of them into
    memory.

    Args:
        root: the folder in which all files lie; their paths in it tell them apart.
        files: a path for each image, at least one.
        labels: [N] int64, each in [0, len(class_names)).
        class_names: one name per class, all different.
        name: what messages and tables call the data.
        shape: (C, H, W) of every image as it is given; C is 1 or 3.
        resize: whether files may have another size, and are resized; otherwise such a file is
            refused.

    Raises:
        InputError: labels or names are wrong; and wherever images are read, a file that cannot be.
    """

    root: Path
    files: Sequence[Path]
    shape: tuple[int, int, int]
    resize: bool

    def __init__(
        self,
        root: Path,
        files: Sequence[Path],
        labels: Tensor,
        class_names: Sequence[str],
        name: str,
        *,
        shape: tuple[int, int, int],
        resize: bool,
    ) -> None:
        names = checked_names(class_names)
        check_labels(labels, torch.empty(len(files), 0), names)
        self.__dict__.update(root=root, files=files, labels=labels, class_names=names, name=name)
        self.__dict__.update(shape=shape, resize=resize)

    @property
    def images(self) -> Tensor:
        """All images, uint8 [N, C, H, W], read into memory.

        Raises:
            InputError: they do not fit.
        """
        size = len(self) * int(np.prod(self.shape))
        check_fits(size, f"{self.root}: {self!r}", "take them a batch at a time")
        return self._read(torch.arange(len(self)))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} images of {self.name!r}")
        pixels = torch.from_numpy(np.ascontiguousarray(self.read_file(index)))
        return as_float(pixels), int(self.labels[index])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return as_float(self._read(indices)), self.labels[indices]

    def subset(self, indices: Tensor | Sequence[int]) -> ImageFiles:
        chosen = self.checked_positions(indices)
        return ImageFiles(
            self.root,
            [self.files[k] for k in chosen.tolist()],
            self.labels[chosen],
            self.class_names,
            self.name,
            shape=self.shape,
            resize=self.resize,
        )

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        return self.shape[1:]

    def read_file(self, index: int) -> Pixels:
        """The image with a number, uint8 [C, H, W].

        Raises:
            InputError: its file cannot be read, or is of another size and not to be resized.
        """
        channels, *size = self.shape
        height, width = size
        pixels = read_pixels(self.files[index], (height, width) if self.resize else None, channels)
        if pixels.shape != self.shape:
            raise InputError(
                f"{self.files[index]} is {pixels.shape[1]}×{pixels.shape[2]}, and other images of "
                f"{self.root} are {height}×{width} (height×width); "
                f"{size_advice((height, width), pixels.shape[1:])}"
            )
        return pixels

    def add_to_hash(self, digest: Any, *, of_files: bool | None = None) -> None:
        """Labels, and of each file its path and its size in bytes: its content is not read.

        Unless `of_files` is False: then all pixels, a few images at a time.
        """
        if of_files is False:
            for chosen in torch.arange(len(self)).split(CHUNK):
                digest.update(self._read(chosen).numpy().data)
            digest.update(self.labels.contiguous().numpy().data)
            return
        for file in self.files:
            digest.update(f"{file.relative_to(self.root).as_posix()}\0".encode("utf-8", "replace"))
            digest.update(f"{file.stat().st_size}\0".encode())
        digest.update(repr(self.shape).encode())
        digest.update(self.labels.contiguous().numpy().data)

    def _read(self, indices: Tensor) -> Tensor:
        images = np.empty((len(indices), *self.shape), np.uint8)

        def read(place: int) -> None:
            images[place] = self.read_file(int(indices[place]))

        in_threads(read, range(len(indices)), "Reading")
        return torch.from_numpy(images)

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        return f"ImageFiles({self.name!r}: {len(self)} images {size}, {self.num_classes} classes)"
