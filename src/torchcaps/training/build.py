"""What a run is built from: the data and the model that a config names."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from torchcaps.data import ImageData, TrainTest, load_data
from torchcaps.errors import InputError
from torchcaps.models import Classifier, create_model, list_models
from torchcaps.seeding import mix_seed
from torchcaps.training.config import TrainConfig

__all__ = ["border_brightness", "build_model", "describe_data", "load_data_of"]


def load_data_of(config: TrainConfig) -> TrainTest:
    """The training and held-out images that a config names."""
    return load_data(
        config.data, config.data_dir, image_size=config.image_size, channels=config.channels
    )


def build_model(config: TrainConfig, data: ImageData) -> Classifier:
    """The model that a config names, for the shape and classes of the data, with seeded weights."""
    options: dict[str, Any] = {}
    if config.model.startswith("capsnet"):
        options = {"reconstruct": config.reconstruct, "loss_scale": config.loss_scale}
        if config.iterations is not None:
            options["iterations"] = config.iterations
    elif config.model in list_models() and (
        config.iterations is not None or config.loss_scale != "paper"
    ):
        raise InputError(
            f"--iterations and --loss-scale are for capsule networks, and {config.model} is none: "
            "leave them out"
        )
    torch.manual_seed(mix_seed("weights", config.seed))
    try:
        return create_model(
            config.model,
            image_size=list(data.image_size),
            channels=data.channels,
            num_classes=data.num_classes,
            class_names=list(data.class_names),
            **options,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{data.name} does not fit {config.model}: {error}") from error


def describe_data(data: TrainTest) -> dict[str, Any]:
    """What identifies the data of a run: counts, shape, classes and a hash over all of it."""
    digest = hashlib.sha256()
    for part in data:
        for tensor in (part.images, part.labels):
            digest.update(tensor.contiguous().numpy().data)
    return {
        "name": data.train.name,
        "train": len(data.train),
        "test": len(data.test),
        "image": [data.train.channels, *data.train.image_size],
        "classes": list(data.train.class_names),
        "sha256": digest.hexdigest(),
    }


def border_brightness(images: Tensor) -> float:
    """Mean value of the outermost pixels of `[..., H, W]`: 0 for digits drawn white on black."""
    inner = images[..., 1:-1, 1:-1]
    return float((images.sum() - inner.sum()) / (images.numel() - inner.numel()))
