"""The file that a model's weights are in: found, compared by its header, and read."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from torchcaps.errors import InputError
from torchcaps.storage import as_utf8

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "check_header",
    "find_weights",
    "first_difference",
    "first_not_finite",
    "load_weights",
    "shapes",
]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
FLOATS = ("F64", "F32", "F16", "BF16")  # what weights may be stored as


def find_weights(folder: Path) -> Path:
    """The safetensors file of a model folder; pickles beside it are refused by name."""
    path = folder / WEIGHTS
    if path.is_file():
        return path
    pickles = sorted(
        p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".pkl"}
    )
    if pickles:
        raise InputError(
            f"{folder / pickles[0]} is a pickle, which can run code of its author when read: "
            f"torchcaps reads only {WEIGHTS}; ask for the model in that format"
        )
    raise InputError(f"{folder} holds no {WEIGHTS}: the model in it is incomplete, save it again")


def check_header(model: nn.Module, path: Path) -> None:
    """Raise unless a safetensors file holds the tensors of `model`, by its header alone."""
    if as_utf8(str(path)) != str(path):
        raise InputError(
            f"{path} has a name that is not UTF-8, which safetensors cannot open: rename the folder"
        )
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: tuple(part.get_shape()) for name, part in slices.items()}
            kinds = {name: part.get_dtype() for name, part in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}): it is truncated, damaged, or of "
            "another format; copy it again from its source"
        ) from error
    expected = shapes(model.state_dict())
    if name := first_difference(expected, found):
        raise InputError(
            f"{path} does not fit the {type(model).__name__} of {CONFIG}: {name} should be "
            f"{expected.get(name, 'absent')} and is {found.get(name, 'absent')}; "
            "the two files are not from the same model"
        )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and kinds[name] not in FLOATS:
            raise InputError(
                f"{path} holds {name} as {kinds[name]}; expected one of {', '.join(FLOATS)}: "
                "save the model again"
            )


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a safetensors file whose header fits it.

    Raises:
        InputError: a tensor holds numbers that are not finite, with which every answer is wrong.
    """
    tensors = safetensors.torch.load_file(path)
    if name := first_not_finite(tensors):
        raise InputError(
            f"{path}: {name} holds numbers that are not finite: train the model anew, or copy "
            "it again from its source"
        )
    model.load_state_dict(tensors)


def first_not_finite(tensors: dict[str, torch.Tensor]) -> str | None:
    """The first name of a tensor that holds NaN or infinite numbers."""
    floats = ((name, tensor) for name, tensor in tensors.items() if tensor.is_floating_point())
    return next((name for name, tensor in floats if not tensor.isfinite().all()), None)


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def first_difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """The first name at which two mappings differ."""
    names = (name for name in {**expected, **found} if expected.get(name) != found.get(name))
    return next(names, None)
