"""How the vector files of layers with windows are asked of this package: see `vector_cases`."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from torchcaps import Windows

Tensors = dict[str, Tensor]
Settings = Mapping[str, Any]


def windows_of(settings: Settings, size: Sequence[int]) -> Windows:
    """Square windows of a map."""
    fields = (settings["kernel"], settings["stride"], settings.get("padding", 0))
    kernel, stride, padding = ((field, field) for field in fields)
    return Windows((size[0], size[1]), kernel, stride, padding)


def types_first(x: Tensor, windows: Windows, axis: int) -> Tensor:
    """An axis of children (y, x, type) in the order (type, y, x) of this package."""
    return x.unflatten(axis, (windows.cells, -1)).transpose(axis - 1, axis).flatten(axis - 1, axis)
