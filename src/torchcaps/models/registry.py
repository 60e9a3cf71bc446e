"""Models by name."""

import difflib
from pathlib import Path
from typing import Any, NamedTuple

from torchcaps.errors import InputError
from torchcaps.models.capsnet import CapsNet
from torchcaps.models.cnn import BaselineCNN
from torchcaps.models.interface import Classifier
from torchcaps.models.pretrained import read_config

__all__ = ["create_model", "list_models", "load_model"]


class Recipe(NamedTuple):
    """An architecture with the arguments that make it the named size."""

    architecture: type[Classifier]
    arguments: dict[str, Any]


RECIPES = {
    "capsnet": Recipe(CapsNet, {}),
    "capsnet_small": Recipe(CapsNet, {"conv_channels": 64, "primary_types": 8}),
    "baseline_cnn": Recipe(BaselineCNN, {}),
}
ARCHITECTURES = {recipe.architecture.__name__: recipe.architecture for recipe in RECIPES.values()}


def list_models() -> list[str]:
    """The names that `create_model` takes.

    Example:
        >>> list_models()
        ['baseline_cnn', 'capsnet', 'capsnet_small']
    """
    return sorted(RECIPES)


def create_model(name: str, **arguments: Any) -> Classifier:
    """Build a model by name.

    Args:
        name: "capsnet" (the paper's, 8,215,568 parameters), "capsnet_small" (64 convolution
            channels and 8 primary types: 2.1 million) or "baseline_cnn" (35,445,522).
        **arguments: of the architecture (`CapsNet`, `BaselineCNN`), over those of the name.

    Raises:
        InputError: an unknown name, answered with the nearest.
        TypeError: an argument that the architecture does not have.

    Example:
        >>> model = create_model("capsnet_small", image_size=32, channels=3)
        >>> model.image_size
        (32, 32)
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(str(name), RECIPES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"no model is called {name!r}: {hint}known are {', '.join(list_models())}")
    architecture, defaults = RECIPES[name]
    return architecture(**{**defaults, **arguments})


def load_model(folder: str | Path, **kwargs: Any) -> Classifier:
    """Load whichever architecture a folder written by `save_pretrained` holds.

    Args:
        folder: holds config.json and model.safetensors.
        **kwargs: as in `from_pretrained`, `map_location` among them.

    Returns:
        The model, in evaluation mode.

    Raises:
        InputError: no such folder, or one that holds no readable model of this package.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name one written by save_pretrained")
    name = read_config(folder)["architecture"]
    if name not in ARCHITECTURES:
        raise InputError(
            f"{folder} holds a {name}, which this version of torchcaps does not have "
            f"(it has {', '.join(sorted(ARCHITECTURES))}): use the version that wrote it"
        )
    return ARCHITECTURES[name].from_pretrained(folder, **kwargs)
