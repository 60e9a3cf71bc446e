"""Every option of every command with values that nobody expects."""

import dataclasses
from pathlib import Path
from random import Random

from tests.fuzz.inputs import NETWORK, Arguments, Base, one_step
from tests.fuzz.mutate import mutate_json, odd_text
from torchcaps.cli.bench import Bench
from torchcaps.cli.eval import Eval
from torchcaps.cli.explore import Explore
from torchcaps.cli.export import Export
from torchcaps.cli.info import Info
from torchcaps.cli.predict import Predict
from torchcaps.cli.reproduce import Reproduce
from torchcaps.cli.train import Train

__all__ = ["json_options", "options"]

COMMANDS = {
    "train": Train, "eval": Eval, "predict": Predict, "explore": Explore, "export": Export,
    "info": Info, "bench": Bench, "reproduce": Reproduce,
}  # fmt: skip
POSITIONAL = {"checkpoint", "images"}
WORDS = (
    "cosine", "exponential", "constant", "yes", "no", "auto", "none", "photos", "drawings", "best",
    "capsnet", "em_capsnet", "baseline_cnn", "em", "variational", "paper", "bf16", "onnx", "train",
    "mnist5k", "mnist", "digits", "1", "2", "3", "0.5", "0", "16", "17", "28", "1e-3", "64",
)  # fmt: skip


def options(draw: Random, here: Path, base: Base) -> Arguments:
    """A command that would work, with one to three more options."""
    name = draw.choice([*COMMANDS, "train", "train", "train", "predict", "eval"])
    arguments = [name, *beginning(name, here, base)]
    fields = [field.name for field in dataclasses.fields(COMMANDS[name])]
    for _ in range(draw.randint(1, 3)):
        field = draw.choice([f for f in fields if f not in POSITIONAL] or ["help"])
        option = "--" + field.replace("_", "-")
        if draw.random() < 0.1:
            option = draw.choice(("--no" + option[1:], option[:-1], option.upper(), option + "="))
        value = draw.choice(WORDS) if draw.random() < 0.5 else odd_text(draw)
        ways = ([option, value], [option, value], [f"{option}={value}"], [option])
        arguments += draw.choice(ways)
    return [argument.replace("\x00", "0") for argument in arguments]


def beginning(name: str, here: Path, base: Base) -> Arguments:
    """What a command needs."""
    if name == "train":
        return [*one_step(base), "--data", str(base.data), "--out", "run"]
    if name == "predict":
        (here / "a.png").write_bytes(b"no image")
    return {
        "eval": [str(base.run)],
        "predict": [str(base.run), "a.png"],
        "explore": ["--no-open"],
        "export": [str(base.run)],
        "bench": ["--shapes", "mnist_b1"],
    }.get(name, [])


def json_options(draw: Random, here: Path, base: Base) -> Arguments:
    """--model-options and --routing, which take JSON."""
    texts = (
        '{"conv_channels": 4, "primary_types": 2, "kernel_size": 3, "primary_stride": 1}',
        '{"name": "em", "iterations": 2, "final_lambda": 0.02}',
        '{"name": "dynamic", "iterations": 2}',
    )
    arguments = ["train", "--data", str(base.data), "--epochs", "1", "--model", "capsnet"]
    for option in draw.sample(("--model-options", "--routing"), draw.randint(1, 2)):
        text = mutate_json(draw, draw.choice(texts)).decode(errors="surrogateescape")
        arguments += [option, text.replace("\x00", "0")[:100_000]]
    if "--model-options" not in arguments:
        arguments += ["--model-options", str(NETWORK).replace("'", '"')]
    return arguments
