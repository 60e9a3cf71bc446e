"""Models by name."""

import difflib
import inspect
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

from torchcaps.errors import InputError
from torchcaps.models.attention_capsnet import AttentionCapsNet
from torchcaps.models.capsnet import CapsNet
from torchcaps.models.classifier import Classifier
from torchcaps.models.cnn import BaselineCNN
from torchcaps.models.deepcaps import DeepCaps
from torchcaps.models.efficient_capsnet import EfficientCapsNet
from torchcaps.models.em_capsnet import EMCapsNet
from torchcaps.models.folder import find_pretrained
from torchcaps.models.image_capsnet import ImageCapsNet
from torchcaps.models.pretrained import read_config
from torchcaps.models.segcaps import SegCaps
from torchcaps.models.self_routing_capsnet import SelfRoutingCapsNet
from torchcaps.models.variational_capsnet import VariationalCapsNet

__all__ = ["create_model", "list_models", "load_model", "load_pretrained"]


class Recipe(NamedTuple):
    """An architecture with the arguments that make it the named size."""

    architecture: type[Classifier]
    arguments: dict[str, Any]


RECIPES = {
    "capsnet": Recipe(CapsNet, {}),
    "capsnet_small": Recipe(CapsNet, {"conv_channels": 64, "primary_types": 8}),
    "image_capsnet": Recipe(ImageCapsNet, {}),
    "em_capsnet": Recipe(EMCapsNet, {}),
    "em_capsnet_small": Recipe(
        EMCapsNet, {"conv_channels": 64, "primary_types": 8, "types": (16, 16)}
    ),
    "efficient_capsnet": Recipe(EfficientCapsNet, {}),
    "attention_capsnet": Recipe(AttentionCapsNet, {}),
    "attention_capsnet_small": Recipe(
        AttentionCapsNet, {"widths": (32, 64), "blocks": (1, 1), "types": 16}
    ),
    "deepcaps": Recipe(DeepCaps, {}),
    "deepcaps_small": Recipe(DeepCaps, {"conv_channels": 32, "types": 8}),
    "self_routing_capsnet": Recipe(SelfRoutingCapsNet, {}),
    "variational_capsnet": Recipe(VariationalCapsNet, {}),
    "baseline_cnn": Recipe(BaselineCNN, {}),
}
ARCHITECTURES = {recipe.architecture.__name__: recipe.architecture for recipe in RECIPES.values()}


def list_models() -> list[str]:
    """The names that `create_model` takes, of networks that tell classes ("segcaps" makes masks).

    Example:
        >>> list_models()[2:5]
        ['baseline_cnn', 'capsnet', 'capsnet_small']
    """
    return sorted(RECIPES)


@overload
def create_model(name: Literal["segcaps"], **arguments: Any) -> SegCaps: ...
@overload
def create_model(name: str, **arguments: Any) -> Classifier: ...
def create_model(name: str, **arguments: Any) -> Classifier | SegCaps:
    """Build a model by name.

    Args:
        name: "image_capsnet" (for images of any size), "capsnet" (the paper's, 8,215,568
            parameters), "capsnet_small" (64 convolution channels and 8 primary types: 2.1 million),
            "em_capsnet" (matrix capsules: 319,028), "em_capsnet_small" (68,572),
            "variational_capsnet" (68,404), "efficient_capsnet" (161,824), "deepcaps" (8,441,920),
            "deepcaps_small"; for CIFAR-10 "self_routing_capsnet" (931,664), "attention_capsnet"
            (1,828,817), "attention_capsnet_small"; "baseline_cnn" (35,445,522); or, for masks in
            the place of classes, "segcaps" (1,425,649).
        **arguments: of the architecture (`ImageCapsNet`, `CapsNet`, …), over those of the name.

    Raises:
        InputError: an unknown name, answered with the nearest.
        TypeError: an argument that the architecture does not have.

    Example:
        >>> model = create_model("capsnet_small", image_size=32, channels=3, routing="em")
        >>> model.image_size, model.classes.routing.name
        ((32, 32), 'em')
    """
    if name == "segcaps":
        return SegCaps(**arguments)
    architecture, defaults = find_recipe(name)
    return architecture(**{**defaults, **arguments})


def takes_argument(name: str, argument: str) -> bool:
    """Whether the architecture of a model has this argument.

    Raises:
        InputError: an unknown name.

    Example:
        >>> takes_argument("capsnet", "routing"), takes_argument("baseline_cnn", "routing")
        (True, False)
    """
    return argument in inspect.signature(find_recipe(name).architecture).parameters


def default_of(name: str, argument: str) -> Any:
    """The value that an argument of a model has where none is given.

    Raises:
        InputError: an unknown name.

    Example:
        >>> default_of("capsnet", "routing"), default_of("capsnet_small", "primary_types")
        ('dynamic', 8)
    """
    architecture, arguments = find_recipe(name)
    stated = inspect.signature(architecture).parameters[argument].default
    return arguments.get(argument, stated)


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        InputError: an unknown name, answered with the nearest.
    """
    if name == "segcaps":
        raise InputError(
            "segcaps makes masks and tells no classes: train create_model('segcaps') with a task "
            "of your own (torchcaps.training.task)"
        )
    if name not in RECIPES:
        near = difflib.get_close_matches(str(name), RECIPES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"no model is called {name!r}: {hint}known are {', '.join(list_models())}")
    return RECIPES[name]


def load_model(folder: str | Path, **kwargs: Any) -> Classifier:
    """Load whichever architecture a folder, or a repository on the Hugging Face Hub, holds.

    Args:
        folder: of a training run that is finished, or written by `save_pretrained`; the name of a
            network of the package (`list_pretrained`); or, as a str, that of a repository
            ("owner/name"). A folder comes first.
        **kwargs: as in `from_pretrained`, `map_location` among them; for a repository
            huggingface_hub's own too (`revision`, `cache_dir`, `token`, `local_files_only`, …).

    Returns:
        The model, in evaluation mode.

    Raises:
        InputError: no such folder, a run that is not finished, a repository that cannot be had, or
            one of these that holds no readable model of this package.
    """
    folder = find_pretrained(folder, kwargs)
    name = read_config(folder)["architecture"]
    if name == SegCaps.__name__:
        raise InputError(
            f"{folder} holds a SegCaps, which makes masks and tells no classes: load it with "
            "torchcaps.SegCaps.from_pretrained"
        )
    if name not in ARCHITECTURES:
        raise InputError(
            f"{folder} holds a {name}, which this version of torchcaps does not have "
            f"(it has {', '.join(sorted(ARCHITECTURES))}): use the version that wrote it"
        )
    return ARCHITECTURES[name].from_pretrained(folder, **kwargs)


def load_pretrained(name: str | Path = "digits", **kwargs: Any) -> Classifier:
    """A trained network: by default the digits network that comes with the package.

    Args:
        name: as `list_pretrained` has them: "digits", trained on single digits of MNIST, or
            "digit-pairs", on images of one or two; or whatever else `load_model` takes.
        **kwargs, returns and raises: as `load_model`.

    Example:
        >>> load_pretrained("digits")
        CapsNet(image_size=(28, 28), channels=1, num_classes=10, routing=dynamic, 1,280,720 parameters)
    """  # noqa: E501
    return load_model(name, **kwargs)
