"""Items of a data set of (image, label) pairs, checked one by one and stacked."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from torchcaps.data.channel_axis import channels_last
from torchcaps.data.image_file import to_pixels
from torchcaps.data.unit_range import check_unit_range
from torchcaps.errors import InputError

__all__ = ["MapStyle", "read_items"]


class MapStyle(Protocol):
    """A data set that is read by its index, as torch's and torchvision's are."""

    def __len__(self) -> int:
        """The number of items."""

    def __getitem__(self, index: int, /) -> Any:
        """The pair (image, label) at `index`."""


def read_items(
    dataset: Iterable[Any] | MapStyle, channels: int | None = None, *, multi_label: bool = False
) -> tuple[Tensor, Tensor]:
    """Images [N, C, H, W] (uint8 or float32) and labels [N] or [N, K] of everything in `dataset`.

    Raises:
        InputError: an image or label is wrong, images differ in size or dtype, or there are none.
        TypeError: an item is not an (image, label) pair, or its parts have a wrong type.

    Example:
        >>> images, labels = read_items([(torch.zeros(1, 4, 4), 0), (torch.ones(4, 4), 1)])
        >>> list(images.shape), labels.tolist()
        ([2, 1, 4, 4], [0, 1])
    """
    images: list[Tensor] = []
    labels: list[int | list[int]] = []
    for index, item in enumerate(_each(dataset)):
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise TypeError(f"item {index} is {_describe(item)}; expected a pair (image, label)")
        image = _image(item[0], f"item {index}: the image", channels)
        labels.append(_label(item[1], index))
        _check_kind(labels, item[1])
        if images and (image.shape != images[0].shape or image.dtype != images[0].dtype):
            raise InputError(
                f"item {index}: the image is {_kind(image)} but item 0 is {_kind(images[0])}; "
                "bring all images to one size, number of channels and dtype first"
            )
        images.append(image.clone())  # a data set may use one buffer for all of them
    if not images:
        raise InputError("the dataset is empty; expected at least one (image, label) pair")
    if multi_label and not isinstance(labels[0], list):
        raise TypeError(
            f"item 0: the label is {labels[0]}; expected integers [K] of 0 and 1, with multi_label"
        )
    one_hot = isinstance(labels[0], list) and all(sum(label) == 1 for label in labels)  # type: ignore[arg-type]
    if one_hot and not multi_label:
        raise TypeError(
            f"item 0: the label is {_describe(torch.tensor(labels[0]))}; expected an integer, for "
            "every item is of one class: of one-hot labels take .argmax(), or say multi_label=True"
        )
    return torch.stack(images), torch.tensor(labels)


def _each(dataset: Any) -> Iterator[Any]:
    if isinstance(dataset, Mapping):
        raise TypeError(
            "dataset is a mapping; expected an iterable that yields (image, label), such as the "
            "list of its values"
        )
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        # a map-style data set need not raise IndexError at its end, so iter() could run for ever
        return (dataset[index] for index in range(len(dataset)))
    if isinstance(dataset, Iterable):
        return iter(dataset)
    raise TypeError(
        f"dataset is {_describe(dataset)}; expected an iterable, or an object with __len__ and "
        "__getitem__, that yields (image, label)"
    )


def _image(image: Any, what: str, channels: int | None) -> Tensor:
    """uint8 or float32 [C, H, W]."""
    if type(image).__module__.partition(".")[0] == "PIL":
        return torch.from_numpy(np.ascontiguousarray(to_pixels(image, what)))
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and channels_last(image.shape, what, channels):
            image = image.transpose(2, 0, 1)
        if image.dtype.kind not in "uif":
            raise InputError(f"{what} has dtype {image.dtype}; expected uint8 or float in [0, 1]")
        image = torch.from_numpy(np.ascontiguousarray(image, image.dtype.newbyteorder("=")))
    if not isinstance(image, Tensor):
        raise TypeError(
            f"{what} is {_describe(image)}; expected a tensor, a numpy array or a PIL image"
        )
    if image.ndim not in (2, 3) or image.numel() == 0:
        raise InputError(
            f"{what} has shape {list(image.shape)}; expected [C, H, W] or [H, W] with pixels"
            + (" (of a DataLoader pass its .dataset)" if image.ndim == 4 else "")
        )
    pixels: Tensor = image.detach().cpu()
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise InputError(f"{what} has dtype {pixels.dtype}; expected uint8 or float in [0, 1]")
    pixels = pixels.to(torch.float32)
    low, high = (float(x) for x in pixels.aminmax())
    advice = "leave out a normalising transform, or divide by 255"
    check_unit_range(low, high, f"{what} holds numbers", advice)
    return pixels


def _label(label: Any, index: int) -> int | list[int]:
    """A class number, or of several classes a list of 0 and 1."""
    if isinstance(label, (Tensor, np.ndarray)) and label.shape == (1,):
        raise TypeError(
            f"item {index}: the label is {_describe(label)}; expected an integer: take int(label)"
        )
    if isinstance(label, (Tensor, np.ndarray)) and label.ndim == 1:
        flags: list[Any] = label.tolist()
        if not flags or not all(flag in (0, 1) and not isinstance(flag, float) for flag in flags):
            raise TypeError(
                f"item {index}: the label is {_describe(label)}; expected an integer, or integers "
                "[K] of 0 and 1, whether each class is there"
            )
        return [int(flag) for flag in flags]
    if isinstance(label, (Tensor, np.ndarray)) and label.ndim == 0:
        label = label.item()
    if isinstance(label, (bool, np.bool_)) or not isinstance(label, (int, np.integer)):
        raise TypeError(f"item {index}: the label is {_describe(label)}; expected an integer")
    if not 0 <= label < 2**31:
        raise InputError(f"item {index}: the label is {label}; expected a class number from 0")
    return int(label)


def _check_kind(labels: list[int | list[int]], last: Any) -> None:
    """Raise unless the last label is of the kind and length of the first."""
    first, here = (len(x) if isinstance(x, list) else 0 for x in (labels[0], labels[-1]))
    if first != here:
        raise InputError(
            f"item {len(labels) - 1}: the label is {_describe(last)} but that of item 0 is "
            f"{f'one of {first} flags' if first else 'a class number'}; expected one kind"
        )


def _describe(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, (Tensor, np.ndarray)):
        return f"a {type(value).__name__} of shape {list(value.shape)}"
    if isinstance(value, (bool, int, float, str)):
        return f"{type(value).__name__} {value!r:.40}"
    return f"of type {type(value).__name__}"


def _kind(image: Tensor) -> str:
    return f"{'×'.join(map(str, image.shape))} {str(image.dtype).removeprefix('torch.')}"
