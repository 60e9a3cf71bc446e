"""Runs that take less than a second: what the tests of training and of the command line share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchcaps.data import ImageData, TrainTest
from torchcaps.training.config import TrainConfig

NAMES = ("ant", "bee", "cow")
# The smallest images that the two 9×9 convolutions take.
SIDE = 17
STEPS = 10  # of `tiny_config` on `tiny_data`


def tiny_data(
    n: int = 120, *, size: tuple[int, int] = (SIDE, SIDE), channels: int = 1, seed: int = 0
) -> TrainTest:
    """Three classes, told apart by where a bright square lies; four fifths to train on."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % len(NAMES)
    images = draw.integers(0, 90, (n, channels, *size), dtype=np.uint8)
    for image, label in zip(images, labels):
        image[:, 5 * label : 5 * label + 5, 4:12] = 220
    parts = []
    for part in (slice(n // 5, None), slice(n // 5)):
        pair = torch.from_numpy(images[part].copy()), torch.from_numpy(labels[part].copy())
        parts.append(ImageData(*pair, NAMES, "tiny"))
    return TrainTest(*parts)


def write_npz(path: Path, data: TrainTest) -> Path:
    """The same images as a file for `--data`."""
    train, test = data
    np.savez(
        path,
        images=train.images.numpy(),
        labels=train.labels.numpy(),
        test_images=test.images.numpy(),
        test_labels=test.labels.numpy(),
        class_names=np.array(NAMES),
    )
    return path


def tiny_config(out: Path | None, **options: Any) -> TrainConfig:
    """Two epochs of five steps, with a checkpoint after every second step."""
    defaults: dict[str, Any] = {
        "model": "capsnet_small",  # without batch normalisation: the same in two processes
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 0.002,
        "iterations": 2,
        "checkpoint_every": 2,
        "threads": 1,
        "out": out,
    }
    return TrainConfig(**{**defaults, **options})


def arguments_of(config: TrainConfig) -> list[str]:
    """The options that differ from the defaults, as on the command line."""
    arguments = []
    for name, value in vars(config).items():
        option = name.replace("_", "-")
        if value == getattr(TrainConfig(), name):
            continue
        if isinstance(value, bool):
            arguments.append(f"--{option}" if value else f"--no-{option}")
        else:
            arguments += [f"--{option}", str(value)]
    return arguments


def weights_of(folder: Path) -> bytes:
    """The file of a run's weights, to be compared bit for bit."""
    return (folder / "model" / "model.safetensors").read_bytes()


def listing(folder: Path) -> dict[str, int]:
    """Every file under a folder, with its size."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
