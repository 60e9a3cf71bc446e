"""Labelled images in memory: the one form every reader gives and every experiment takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from torchcaps.data.dataset_items import MapStyle, read_items
from torchcaps.data.unit_range import check_unit_range
from torchcaps.errors import InputError
from torchcaps.models.class_names import names_in_order

__all__ = ["ImageData", "as_float", "check_labels", "checked_names"]


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """Images, their labels and the names of the classes, all in memory.

    Args:
        images: [N, C, H, W], uint8, or float32 in [0, 1]. N, C, H and W are at least 1.
        labels: [N] int64, each in [0, len(class_names)); or [N, len(class_names)] int64 of 0 and 1,
            where an image may show any number of classes.
        class_names: one name per class, all different. A class may have no image here (a part of a
            data set keeps the names of the whole).
        name: what messages and tables call the data.

    Raises:
        InputError: a field has the wrong shape, dtype, range or number of entries.
        TypeError: `images` or `labels` is not a tensor, or a name is not a string.

    Example:
        >>> import torch
        >>> images = torch.full((4, 1, 28, 28), 255, dtype=torch.uint8)
        >>> data = ImageData(images, torch.tensor([0, 1, 1, 0]), ("zero", "one"), "toy")
        >>> data
        ImageData('toy': 4 images 1×28×28 uint8, 2 classes)
        >>> pixels, label = data[1]
        >>> pixels.dtype, pixels.max().item(), label
        (torch.float32, 1.0, 1)
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    name: str

    # The same images in their files, where `load_folder` read them. No field: a changed copy has
    # none.
    in_files: ClassVar[ImageData | None] = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name is {type(self.name).__name__}; expected a string")
        object.__setattr__(self, "class_names", checked_names(self.class_names, self.name))
        _check_images(self.images)
        check_labels(self.labels, self.images, self.class_names)

    @classmethod
    def from_dataset(
        cls,
        dataset: Iterable[Any] | MapStyle,
        class_names: Sequence[str] | None = None,
        name: str = "dataset",
        channels: int | None = None,
        *,
        multi_label: bool = False,
    ) -> ImageData:
        """Read every item of a data set that yields (image, label), such as torchvision's.

        Args:
            dataset: map-style (`__len__` and `__getitem__`) or any finite iterable. An image is a
                tensor or array [C, H, W] or [H, W], an array [H, W, C], or a PIL image; uint8, or
                float in [0, 1]; all of one size. A label is an integer from 0; or where images show
            several classes, an array or tensor [K] of 0 and 1.
            class_names: the names; without them `dataset.classes`, without that the numbers "0",
                "1", …, which must then all occur.
            name: what messages and tables call the data.
            channels: how many there are, where an array's shape leaves open which axis they are.
            multi_label: labels are several classes an image, though in each of these items there
                happens to be one, as in a small test part. Else that is refused: it is what one-hot
                labels look like.

        Returns:
            The images as they were stored: uint8 stays uint8, any float becomes float32.

        Raises:
            InputError: an item has a wrong shape, size, range or label; the item's index is named.
            TypeError: an item is not a pair of an image and an integer.

        Example:
            >>> import numpy as np
            >>> pairs = [(np.zeros((8, 8), np.uint8), 0), (np.ones((8, 8), np.uint8), 1)]
            >>> ImageData.from_dataset(pairs, class_names=["dark", "light"])
            ImageData('dataset': 2 images 1×8×8 uint8, 2 classes)
        """
        if class_names is None:
            class_names = getattr(dataset, "classes", None)
        images, labels = read_items(dataset, channels, multi_label=multi_label)
        if class_names is None and labels.ndim == 2:
            class_names = [str(k) for k in range(labels.shape[1])]
        if class_names is None:
            present = torch.unique(labels).tolist()
            gap = next((k for k, label in enumerate(present) if k != label), None)
            if gap is not None:
                raise InputError(
                    f"{name} has no item of class {gap} though some are of class {present[-1]}; "
                    "expected class numbers 0, 1, 2, … without gaps: number the classes so, or "
                    "give class_names, if this is a part that lacks some"
                )
            class_names = [str(k) for k in present]
        return cls(images, labels, checked_names(class_names, name), name)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        """One image, float32 [C, H, W] in [0, 1], and its label (or labels [K] of 0 and 1)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} images of {self.name!r}")
        # A copy: what a caller does to an image must not reach the data.
        label = self.labels[index].clone()
        return as_float(self.images[index].clone()), label if self.multi_label else int(label)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images at `indices` [B] int64, float32 [B, C, H, W] in [0, 1], and their labels."""
        return as_float(self.images[indices]), self.labels[indices]

    def subset(self, indices: Tensor | Sequence[int]) -> ImageData:
        """The images at `indices` [n], copied, under the same class names.

        Example:
            >>> import torch
            >>> images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
            >>> data = ImageData(images, torch.arange(3), ("a", "b", "c"), "toy")
            >>> data.subset([2, 0]).labels.tolist()
            [2, 0]
        """
        chosen = self.checked_positions(indices)
        return ImageData(self.images[chosen], self.labels[chosen], self.class_names, self.name)

    def checked_positions(self, indices: Tensor | Sequence[int]) -> Tensor:
        """Positions that a caller gave, int64 [n]; raises InputError for anything else."""
        chosen = torch.as_tensor(indices, device=self.labels.device)
        if chosen.ndim != 1 or (chosen.dtype != torch.int64 and len(chosen)):
            raise InputError(
                f"indices is {chosen.dtype} of shape {list(chosen.shape)}; "
                "expected a list or a 1-D int64 tensor of positions"
            )
        return chosen.to(torch.int64)

    def add_to_hash(self, digest: Any, *, of_files: bool | None = None) -> None:
        """Feed a hash object of `hashlib` with all that the data are: images and labels.

        Args:
            digest: it is updated.
            of_files: True takes in place of the pixels the paths and sizes of the files that they
                were read from, if there are any; False never does so; None does, where they are
                left in their files.
        """
        if of_files and self.in_files is not None:
            self.in_files.add_to_hash(digest, of_files=True)
            return
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().numpy().data)

    @property
    def multi_label(self) -> bool:
        """Whether an image may show any number of classes: labels are [N, K] of 0 and 1."""
        return self.labels.ndim == 2

    @property
    def num_classes(self) -> int:
        """How many classes there are names for."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """C: 1 for grey, 3 for RGB, or any other number."""
        return self.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.images.shape[2], self.images.shape[3]

    def __repr__(self) -> str:
        size = "×".join(map(str, self.images.shape[1:]))
        dtype = str(self.images.dtype).removeprefix("torch.")
        return (
            f"ImageData({self.name!r}: {len(self)} images {size} {dtype}, "
            f"{self.num_classes} classes)"
        )


def as_float(images: Tensor) -> Tensor:
    """uint8 as float32 in [0, 1]; floats as they are."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def checked_names(names: Sequence[str], source: str = "") -> tuple[str, ...]:
    """The names of classes as a tuple, checked as `ImageData` does; `source` is whose they are."""
    whose = f"class_names of {source}" if source else "class_names"
    names = tuple(names_in_order(names))
    if not names:
        raise InputError(f"{whose} is empty; expected one name per class")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"class_names holds {name!r} ({type(name).__name__}); expected strings")
        if not name.strip():
            raise InputError(f"{whose} holds the blank name {name!r}; give every class a name")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(f"{whose} holds {repeated[0]!r} twice; give every class its own name")
    return names


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images is {type(images).__name__}; expected a torch.Tensor [N, C, H, W]")
    if images.ndim != 4:
        raise InputError(
            f"images has shape {list(images.shape)}; expected [N, C, H, W] "
            "(for grey images without a channel axis use images.unsqueeze(1))"
        )
    if images.numel() == 0:
        raise InputError(
            f"images has shape {list(images.shape)}; expected at least one image with pixels"
        )
    if images.dtype == torch.uint8:
        return
    if images.dtype != torch.float32:
        raise InputError(
            f"images has dtype {images.dtype}; expected torch.uint8, or torch.float32 in [0, 1]"
        )
    low, high = (float(x) for x in images.aminmax())
    advice = "divide pixels by 255, or pass uint8"
    check_unit_range(low, high, "images holds float32", advice)


def check_labels(labels: Tensor, images: Tensor, names: tuple[str, ...]) -> None:
    """Check labels as `ImageData` does, against as many images."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels is {type(labels).__name__}; expected a torch.Tensor [N] int64")
    if labels.dtype != torch.int64:
        raise InputError(
            f"labels has dtype {labels.dtype}; expected torch.int64 class numbers (labels.long())"
        )
    several = labels.ndim == 2 and labels.shape == (len(images), len(names))
    if labels.shape != images.shape[:1] and not several:
        raise InputError(
            f"labels has shape {list(labels.shape)} but images holds {len(images)} images; "
            "expected one label per image"
        )
    if labels.device != images.device:
        raise InputError(
            f"labels is on {labels.device} and images on {images.device}; put both on one device"
        )
    if labels.numel() == 0:
        raise InputError("labels is empty; expected at least one image")
    low, high = int(labels.min()), int(labels.max())
    if several and (low < 0 or high > 1):
        raise InputError(
            f"labels [N, {len(names)}] holds {low if low < 0 else high}; expected 0 and 1, whether "
            "each class is there"
        )
    if low < 0 or high >= len(names):
        wrong = low if low < 0 else high
        raise InputError(
            f"labels holds {wrong}; expected 0 to {len(names) - 1}, "
            f"for the {len(names)} names in class_names"
        )
