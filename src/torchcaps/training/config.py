"""Everything a training run is told. Imports no torch, so that `--help` is quick."""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torchcaps.errors import InputError
from torchcaps.plain_numbers import MOST_ITERATIONS, is_number, plain_number
from torchcaps.storage import expand_user, read_json

__all__ = [
    "EPOCHS",
    "FIRST_VERSION",
    "USUAL_SHIFT",
    "MOST_THREADS",
    "NETWORK",
    "TrainConfig",
    "config_from_dict",
    "config_to_dict",
    "fixed_options",
    "read_train_config",
]

MOST_WORKERS = 256
MOST_EPOCHS = 1_000_000  # metrics.csv and every checkpoint hold a row for each that is done
USUAL_SHIFT = 2  # noted where nobody asked for one, before that was noted as null
EPOCHS = 20  # where nothing is said, and there are enough images
MOST_THREADS = 1024  # with far more, the system refuses to start them and the process dies

# What version 0.1 trained with, where this one has another default, or an option that it lacked.
FIRST_VERSION: dict[str, Any] = {
    "model": "capsnet_small",
    "epochs": EPOCHS,
    "reconstruct": True,
    "loss_scale": "paper",
    "schedule": "exponential",
    "warmup": 0.0,
    "final_learning_rate": 0.05,
    "clip": None,
    "augment": "digits",
    "max_shift": USUAL_SHIFT,
    "flip": "no",
}
# What may differ from one resume of a run to the next: its length, which of its weights are kept,
# where things lie, and how they are read. The data are known by their digest.
FREE = {
    "epochs", "patience", "keep", "out", "data", "data_dir", "init", "in_memory", "workers",
    "threads", "checkpoint_every", "tensorboard",
}  # fmt: skip
NETWORK = ("routing", "iterations", "loss_scale", "model_options", "reconstruct")
ADDED = "schedule"  # no run of version 0.1 has it; its config.json has all other options


@dataclass
class TrainConfig:
    """Train a capsule network and leave a folder with the model, its figures and its pictures."""

    data: str = "mnist5k"
    """mnist5k (comes with the package), mnist, fashion-mnist, a folder of class folders with images
    (or with train/ and test/ inside), or an .npz file with `images` and `labels`."""
    data_dir: Path | None = None
    """Folder that holds the files of mnist or fashion-mnist; without it they are downloaded."""
    image_size: int | None = None
    """Resize images to this many pixels a side; default: their own size."""
    channels: int | None = None
    """1 turns images to grey, 3 to RGB; default: as they are. Any other number says how many there
    are in an .npz whose shape leaves that open."""
    in_memory: Literal["auto", "yes", "no"] = "auto"
    """Read a folder's images into memory, or from their files as they are needed: auto does so
    where memory is too small. The trained network is the same."""
    workers: int | None = None
    """Processes that read images as they are needed; 0: none besides the one that trains; default:
    one a core, up to 4."""
    model: str = "image_capsnet"
    """image_capsnet (for any images), capsnet (the paper's, 8.2 million parameters), capsnet_small,
    baseline_cnn, or a network of another paper: `torchcaps info` lists them."""
    model_options: dict[str, Any] | None = None
    """Arguments of the network over its defaults, such as kernel sizes and strides (see `torchcaps
    info`); on the command line as JSON: '{"kernel_size": 7, "primary_stride": 2}'."""
    routing: str | dict[str, Any] | None = None
    """How class capsules are found: the name of a routing algorithm; default: the model's, dynamic.
    In a file also an object with its name and options: {"name": "em", "final_lambda": 0.02}."""
    iterations: int | None = None
    """Routing iterations of a capsule network, at least 1; default: the algorithm's, 3."""
    reconstruct: bool | None = None
    """Train a decoder that draws the image from the pose of its class; default: for grey images."""
    loss_scale: Literal["paper", "authors"] | None = None
    """Weights of the losses: the paper's, or those of the authors' released code; default: the
    network's own."""
    epochs: int | None = None
    """Passes over the training images; default: 20, or for few images as many as make 500 steps, at
    most 100."""
    batch_size: int = 64
    """Images a step, over all processes together; the paper has 128. Smaller ones
    are taken where the training images make up less than one batch, or than four of the default."""
    learning_rate: float = 0.003
    """Of Adam, after the warm-up."""
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = 0.05
    """Fraction of the steps over which the learning rate rises from 0."""
    final_learning_rate: float = 0.01
    """What is left of the learning rate at the end, as a fraction."""
    weight_decay: float = 0.0
    """Of AdamW: the fraction, times the learning rate, that a step takes of every weight."""
    clip: float | None = 5.0
    """Largest norm of the gradient: a larger one is shortened to it; none in a file: as it is."""
    augment: Literal["auto", "none", "digits", "drawings", "photos"] = "auto"
    """How training images are varied at random: digits (on black) are shifted; drawings (on a plain
    ground) too, their edge repeated; photos more, their mirror image at the edge, and those with
    colour are flipped. auto tells the kind from the images' borders; none varies nothing."""
    max_shift: int | None = None
    """Shift each training image by up to this many pixels, 0 turns it off; default: 2, and photos
    by an eighth of their side where that is more."""
    flip: Literal["auto", "yes", "no"] = "auto"
    """Exchange left and right in half of the training images: auto in colour photos. Say no where
    classes differ by it, as some road signs do."""
    max_rotation: float = 0.0
    """Turn each training image by up to this many degrees to either side."""
    jitter: float = 0.0
    """Change brightness, contrast and saturation of each training image by up to this fraction."""
    balance: bool = False
    """Show every class equally often in training, however few images it has."""
    validation: float = 0.1
    """Fraction of the training images kept aside to follow progress; the test images are looked at
    once, after the last epoch. 0 trains on all."""
    keep: Literal["last", "best"] = "last"
    """Which weights the model has at the end: of the last epoch, or of the one with the highest
    validation accuracy."""
    patience: int | None = None
    """Stop after so many epochs without a higher validation accuracy; default: never."""
    init: Path | None = None
    """Begin with the weights of this run or model, as far as they fit; the network is that one's
    (fine-tuning). Also digits, or owner/name of a repository on the Hugging Face Hub."""
    seed: int = 0
    """Of weights, order and shifts; the same seed gives the same run (bit for bit, on as many
    threads)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto takes bf16 for the convolutions where the hardware has it, else fp32."""
    threads: int | None = None
    """CPU threads; default: what torch takes, or as many as the container has cores, and fewer
    while other processes keep cores busy."""
    checkpoint_every: int = 200
    """Steps between checkpoints, besides one after each epoch."""
    tensorboard: bool = False
    """Write TensorBoard logs into the run folder too (needs the extra `tensorboard`)."""
    out: Path | None = None
    """Folder for the run; default: a new one under runs/."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # NumPy's numbers are numbers too
            if is_number(value):
                setattr(self, name, plain_number(value))
            if isinstance(value, Path):  # else a folder called ~ would be made
                setattr(self, name, expand_user(value))
        _check_types(self)
        _at_least(1, self, "batch_size", "checkpoint_every")
        _at_least(0, self, "max_shift", "seed", "workers")
        _at_least(1, self, "epochs", "image_size", "channels", "iterations", "threads", "patience")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise _bad("threads", self.threads, f"at most {MOST_THREADS}")
        if self.epochs is not None and self.epochs > MOST_EPOCHS:
            raise _bad("epochs", self.epochs, f"at most {MOST_EPOCHS}")
        if self.iterations is not None and self.iterations > MOST_ITERATIONS:
            raise _bad("iterations", self.iterations, f"at most {MOST_ITERATIONS}")
        if self.workers is not None and self.workers > MOST_WORKERS:
            raise _bad("workers", self.workers, f"at most {MOST_WORKERS}")
        _positive(self, "learning_rate", most=1e30)  # a step must not overflow in float32
        _positive(self, "final_learning_rate", most=1)
        if self.clip is not None:
            _positive(self, "clip", most=1e30)
        if not 0 <= self.weight_decay <= 1:
            raise _bad("weight_decay", self.weight_decay, "a number from 0 to 1")
        for name in ("validation", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise _bad(name, getattr(self, name), "a fraction from 0 up to, not including, 1")
        if not 0 <= self.max_rotation <= 180:
            raise _bad("max_rotation", self.max_rotation, "degrees from 0 to 180")
        if not 0 <= self.jitter <= 1:
            raise _bad("jitter", self.jitter, "a fraction from 0 to 1")


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON values, in the order of its fields.

    Example:
        >>> config_to_dict(TrainConfig(epochs=3))["epochs"]
        3
    """
    values = dataclasses.asdict(config)
    return {key: str(v) if isinstance(v, Path) else v for key, v in values.items()}


def fixed_options(config: TrainConfig) -> dict[str, Any]:
    """The options that a run keeps from its first step to its last, as JSON gives them back.

    Example:
        >>> options = fixed_options(TrainConfig(seed=3))
        >>> options["seed"], "epochs" in options
        (3, False)
    """
    values = json.loads(json.dumps(config_to_dict(config), default=plain_number))
    return {name: value for name, value in values.items() if name not in FREE}


def config_from_dict(values: dict[str, Any], source: str = "the config") -> TrainConfig:
    """The config that `config_to_dict` made; `source` is named where a value is wrong.

    Raises:
        InputError: an unknown field, a value of the wrong type or out of range.

    Example:
        >>> config_from_dict({"epochs": 3}).epochs
        3
    """
    known = {field.name: field for field in dataclasses.fields(TrainConfig)}
    for name in values:
        if name not in known:
            raise InputError(
                f"{source}: there is no option {name!r}; known are {', '.join(sorted(known))}"
            )
    paths = {"data_dir", "out", "init"}
    values = {k: Path(v) if k in paths and isinstance(v, str) else v for k, v in values.items()}
    try:
        return TrainConfig(**values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def read_train_config(path: Path) -> TrainConfig:
    """Read the config.json of a run.

    Raises:
        InputError: a file that is missing, not JSON, or not such a config.
    """
    if path.is_dir():
        path = path / "config.json"
    try:
        values = read_json(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: name the config.json of a run") from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold an object of options, as the config.json of a run does")
    if "architecture" in values:
        model, run = path.parent, path.parent.parent
        its_run = f"name its run, {run}, or " if (run / path.name).is_file() else ""
        raise InputError(
            f"{model} holds a saved model, not a run: {its_run}begin with its weights by --init "
            f"{model}"
        )
    if "final_learning_rate" in values and ADDED not in values:
        values = {**FIRST_VERSION, **values}
    return config_from_dict(values, source=str(path))


def _check_types(config: TrainConfig) -> None:
    for name, hint in typing.get_type_hints(TrainConfig).items():
        value = getattr(config, name)
        union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        kinds = typing.get_args(hint) if union else (hint,)
        choices = [c for k in kinds if typing.get_origin(k) is Literal for c in typing.get_args(k)]
        if choices:
            if value not in choices and (value is not None or types.NoneType not in kinds):
                raise _bad(name, value, f"one of {', '.join(choices)}")
            continue
        kinds = tuple(typing.get_origin(kind) or kind for kind in kinds)  # dict[str, Any] → dict
        if float in kinds:
            kinds = (*kinds, int)
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
            names = " or ".join("null" if k is types.NoneType else k.__name__ for k in kinds)
            raise _bad(name, value, names)


def _at_least(least: int, config: TrainConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise _bad(name, value, f"at least {least}")


def _positive(config: TrainConfig, name: str, most: float) -> None:
    value = getattr(config, name)
    if not 0 < value <= most:  # also false for NaN
        raise _bad(name, value, f"a positive number, at most {most:g}")


def _bad(name: str, value: object, expected: str) -> InputError:
    option = "--" + name.replace("_", "-")
    return InputError(f"{option} must be {expected}, got {value!r}")
