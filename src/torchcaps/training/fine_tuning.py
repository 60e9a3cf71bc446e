"""A network that begins with the weights of another, for other classes perhaps."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torchcaps.data import ImageData
from torchcaps.errors import InputError
from torchcaps.models import Classifier, load_model
from torchcaps.models.registry import ARCHITECTURES
from torchcaps.plain_numbers import plain_number

__all__ = ["Begun", "begin_from", "network_of", "settings_of"]


class Begun(NamedTuple):
    """A network that begins with another's weights.

    Attributes:
        model: the network.
        anew: names of the weights that do not fit and were drawn anew.
    """

    model: Classifier
    anew: Sequence[str]


def begin_from(
    folder: Path, data: ImageData, check: Callable[[Classifier], None] = lambda trial: None
) -> Begun:
    """The network of a run or model folder for the images and classes of `data`.

    Its settings are those of the saved network, standardisation among them. Weights that fit are
    taken; with other classes those of the class capsules and of the decoder are drawn anew.

    Args:
        folder: of a finished run, or written by `save_pretrained`; or a name that `load_model`
            takes.
        data: to be trained on.
        check: called with the network on the meta device, before it takes memory; it may raise.

    Raises:
        InputError: no network there, or one for images of other channels, which has seen nothing
            that would help.
    """
    saved = load_model(str(folder))  # as a str it may be a name
    if saved.channels != data.channels:
        advice = f"begin with a network for images of {data.channels}"
        if saved.channels in (1, 3) and data.channels in (1, 3):
            advice = f"give --channels {saved.channels}"
        raise InputError(
            f"the network of --init {folder} is for images of {saved.channels} channels, and "
            f"{data.name} has {data.channels}: {advice}"
        )
    settings = {
        **saved.config,
        "image_size": list(data.image_size),
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
    }
    try:
        with torch.device("meta"):
            trial = type(saved)(**settings)
    except ValueError as error:
        raise InputError(f"{data.name} does not fit the network of {folder}: {error}") from error
    check(trial)
    model = type(saved)(**settings)
    # A class keeps its capsule only if all classes are the same ones in the same order.
    same_classes = saved.class_names == model.class_names
    theirs, ours = saved.state_dict(), model.state_dict()
    anew = [
        name
        for name, weight in ours.items()
        if name not in theirs
        or theirs[name].shape != weight.shape
        or (not same_classes and name.startswith(("classes.", "decoder.")))
    ]
    model.load_state_dict({name: ours[name] if name in anew else theirs[name] for name in ours})
    return Begun(model, anew)


def settings_of(model: Classifier) -> dict[str, Any]:
    """What a run notes of a network that began with another's weights, as JSON values.

    By these it goes on, where the other network is not to be had any more.
    """
    settings: dict[str, Any] = json.loads(json.dumps(model.config, default=plain_number))
    return {"architecture": type(model).__name__, **settings}


def network_of(settings: Mapping[str, Any], source: Path) -> Classifier:
    """The network of which `settings_of` gave this; its weights come from a checkpoint.

    Raises:
        InputError: `source`, in which the settings stand, is damaged.
    """
    try:
        arguments = dict(settings)
        model: Classifier = ARCHITECTURES[arguments.pop("architecture")](**arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source} is damaged (its network: {error}): restore it, or remove it"
        ) from error
    return model
