"""What a run is built from: the data and the model that a config names."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from torchcaps.data import ImageData, TrainTest, channel_statistics, load_data
from torchcaps.data.memory_check import physical_memory
from torchcaps.errors import InputError
from torchcaps.models import Classifier, create_model
from torchcaps.models.registry import default_of, takes_argument
from torchcaps.models.summary import count_parameters
from torchcaps.routing.registry import create_routing
from torchcaps.seeding import mix_seed
from torchcaps.training.config import NETWORK, TrainConfig
from torchcaps.training.fine_tuning import begin_from
from torchcaps.training.first_step import check_step
from torchcaps.training.small_sets import fit_to_size

__all__ = [
    "IN_MEMORY",
    "build_model",
    "check_iterations",
    "describe_data",
    "has_digest",
    "load_data_of",
    "model_options",
]

# Arguments of networks that something else decides.
OF_DATA = "comes from the data: leave it out"
OWNED = {
    "image_size": "comes from the data: take --image-size",
    "channels": "comes from the data: take --channels",
    "num_classes": OF_DATA,
    "class_names": OF_DATA,
    "routing": "has an option of its own: take --routing",
    "reconstruct": "has an option of its own: take --reconstruct",
    "loss_scale": "has an option of its own: take --loss-scale",
}
IN_MEMORY = {"auto": None, "yes": True, "no": False}  # the option → the argument of `load_data`


def load_data_of(config: TrainConfig) -> TrainTest:
    """The training and held-out images that a config names."""
    return load_data(
        config.data,
        config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        in_memory=IN_MEMORY[config.in_memory],
    )


def build_model(config: TrainConfig, data: ImageData) -> Classifier:
    """The model that a config names, for the shape and classes of the data, with seeded weights."""
    if config.init is not None:
        return begun_model(config.init, config, data)
    shape = {
        "image_size": list(data.image_size),
        "channels": data.channels,
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
    }
    if takes_argument(config.model, "mean"):
        mean, std = channel_statistics(data)
        shape |= {"mean": rounded(mean), "std": rounded(std)}
        # A drawing of a photo from 16 numbers is a blur, and costs as much as the rest.
        shape["reconstruct"] = data.channels == 1
    try:
        with torch.device("meta"):
            trial = create_model(config.model, **{**shape, **model_options(config)})
        options = model_options(config)
    except InputError:
        raise
    except ValueError as error:
        if options_are_wrong(config, shape):
            raise InputError(f"--model-options do not fit {config.model}: {error}") from error
        raise InputError(f"{data.name} does not fit {config.model}: {error}") from error
    except (TypeError, RuntimeError) as error:
        if not config.model_options:
            raise
        raise InputError(f"--model-options do not fit {config.model}: {error}") from error
    check_weights_fit(trial)
    check_step(trial, fit_to_size(config, len(data))[0])
    torch.manual_seed(mix_seed("weights", config.seed))
    return create_model(config.model, **{**shape, **options})


def options_are_wrong(config: TrainConfig, shape: dict[str, Any]) -> bool:
    """Whether a network that cannot be built could be with none of its `model_options`."""
    if not config.model_options:
        return False
    plain = replace(config, model_options=None)
    try:
        with torch.device("meta"):
            create_model(config.model, **{**shape, **model_options(plain)})
    except ValueError:
        return False
    return True


def check_iterations(config: TrainConfig) -> None:
    """Raise where a new run is told two numbers of iterations.

    One that began with both goes on: `iterations` has always won.
    """
    given = config.routing.get("iterations") if isinstance(config.routing, dict) else None
    if None not in (given, config.iterations) and given != config.iterations:
        raise InputError(
            f"--routing has iterations {given} and --iterations is {config.iterations}: leave out "
            "one"
        )


def begun_model(folder: Path, config: TrainConfig, data: ImageData) -> Classifier:
    """The model of a folder for the classes of the data; says which weights are new."""
    asked = any(getattr(config, name) is not None for name in NETWORK)
    if asked or config.model != TrainConfig().model:
        raise InputError(
            f"--init {folder} has the settings of the network too: leave out --model, "
            "--model-options, --routing, --iterations, --reconstruct and --loss-scale"
        )

    def check(trial: Classifier) -> None:
        check_weights_fit(trial)
        check_step(trial, fit_to_size(config, len(data))[0])

    torch.manual_seed(mix_seed("weights", config.seed))
    model, anew = begin_from(folder, data, check)
    print(f"beginning with the weights of {folder}; drawn anew: {', '.join(anew) or 'none'}")
    return model


def rounded(numbers: Iterable[float]) -> list[float]:
    """As they stand in a config: digits that no network can tell apart are left out."""
    return [float(f"{number:.6g}") for number in numbers]


def check_weights_fit(model: Classifier) -> None:
    """Raise where training could not even hold the weights: no batch is small enough for that.

    Args:
        model: perhaps on the meta device, where its weights take no memory.

    Raises:
        InputError: weights, gradients and the two averages of Adam exceed the memory.
    """
    count, there = count_parameters(model), physical_memory()
    needed = 4 * 4 * count  # float32
    if there is not None and needed > there:
        height, width = model.image_size
        raise InputError(
            f"a {type(model).__name__} for images of {height}×{width} has {count:,} weights, for "
            f"which training needs {needed / 2**30:.1f} GiB of memory at any batch size, and this "
            f"machine has {there / 2**30:.1f}: take a smaller --image-size"
        )


def model_options(config: TrainConfig) -> dict[str, Any]:
    """The arguments of the model that a config states, beside the shape and classes of the data.

    Raises:
        InputError: a routing or loss scale for a network that has none, an unknown routing, or an
            option that it does not have.
    """
    chosen = dict(config.model_options or {})
    if owned := [name for name in chosen if name in OWNED]:
        raise InputError(f"--model-options has {owned[0]!r}, which {OWNED[owned[0]]}")
    if strange := [name for name in chosen if not takes_argument(config.model, name)]:
        raise InputError(
            f"--model-options has {strange[0]!r}, which {config.model} does not have: "
            "`torchcaps info` lists the networks, and the documentation their arguments"
        )
    capsules = takes_argument(config.model, "routing")
    if not capsules:
        asked = (config.routing, config.iterations, config.loss_scale)
        if asked[:2] != (None, None) or config.loss_scale not in (None, "paper"):
            raise InputError(
                f"--routing, --iterations and --loss-scale are for capsule networks, and "
                f"{config.model} is none: leave them out"
            )
        return chosen
    options = {} if config.iterations is None else {"iterations": config.iterations}
    wanted = default_of(config.model, "routing") if config.routing is None else config.routing
    chosen["routing"] = create_routing(wanted, **options)
    for name in ("reconstruct", "loss_scale"):
        value = getattr(config, name)
        if takes_argument(config.model, name):
            chosen |= {} if value is None else {name: value}
        elif value not in (None, False, "paper"):
            option = name.replace("_", "-")
            raise InputError(f"--{option} is not for {config.model}, which has none: leave it out")
    return chosen


def has_digest(data: TrainTest, sha256: str) -> bool:
    """Whether data are those of which `describe_data` gave this.

    A folder is read into memory or left in its files, as a machine has room: each has a digest of
    its own, of pixels or of files.
    """
    return any(digest_of(data, of_files) == sha256 for of_files in (True, False))


def digest_of(data: TrainTest, of_files: bool | None = None) -> str:
    """A hash over both parts (see `ImageData.add_to_hash`)."""
    digest = hashlib.sha256()
    for part in data:
        part.add_to_hash(digest, of_files=of_files)
    return digest.hexdigest()


def describe_data(data: TrainTest) -> dict[str, Any]:
    """What identifies the data of a run: counts, shape, classes and a hash over all of it."""
    return {
        "name": data.train.name,
        "train": len(data.train),
        "test": len(data.test),
        "image": [data.train.channels, *data.train.image_size],
        "classes": list(data.train.class_names),
        "sha256": digest_of(data),
    }
