"""What a file says about the network in it."""

import json
from typing import Any

import torchcaps
from torchcaps.models import Classifier
from torchcaps.plain_numbers import plain_number
from torchcaps.storage import as_utf8

__all__ = ["as_json", "describe", "describe_as_text"]


def describe(model: Classifier) -> dict[str, Any]:
    """All that a person needs to use the network without this package, as JSON values.

    class_names; image_size [height, width]; channels; input_range, of the floats that it takes;
    mean and std by which the network itself standardises them (null: it does not), so that nobody
    else has to; threshold, the largest activation below which an image shows none of the classes;
    architecture; torchcaps_version; training: what the model's metadata says.

    Example:
        >>> from torchcaps import create_model
        >>> described = describe(create_model("capsnet_small", class_names=list("abcdefghij")))
        >>> described["image_size"], described["input_range"], described["threshold"]
        ([28, 28], [0.0, 1.0], 0.0)
    """
    config = model.config
    return {
        "class_names": list(model.class_names),
        "image_size": list(model.image_size),
        "channels": model.channels,
        "input_range": [0.0, 1.0],
        "mean": config.get("mean"),
        "std": config.get("std"),
        "threshold": float(model.metadata.get("threshold", 0)),
        "architecture": type(model).__name__,
        "torchcaps_version": torchcaps.__version__,
        "training": model.metadata,
    }


def describe_as_text(model: Classifier) -> dict[str, str]:
    """The same with every value as JSON."""
    return {name: as_json(value) for name, value in describe(model).items()}


def as_json(value: Any) -> str:
    """JSON that a file of UTF-8 can hold, though names of classes may have bytes that are none.

    Example:
        >>> as_json(["café", "caf\\udce9"])
        '["café", "caf\\\\udce9"]'
    """
    return as_utf8(json.dumps(value, ensure_ascii=False, default=plain_number))
