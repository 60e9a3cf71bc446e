"""What a run leaves when its last step is done: the held-out figures, the model, the pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from torchcaps.errors import InputError
from torchcaps.models.pretrained import Pretrained
from torchcaps.plain_numbers import is_number, is_whole
from torchcaps.storage import atomic_path, write_json
from torchcaps.training.config import TrainConfig
from torchcaps.training.run_folder import RunFolder
from torchcaps.training.task import HeldOut, Model, Task

__all__ = ["finish", "save_model"]


@torch.no_grad()
def finish(
    folder: RunFolder,
    task: Task[Model, Any],
    model: Model,
    history: Sequence[Mapping[str, Any]],
    config: TrainConfig,
    weights: str,
) -> HeldOut:
    """Measure on the held-out data, once, and write model, pictures and result.json.

    `weights` says which epoch's the model has.
    """
    model.eval()
    held_out = task.measure_held_out(model, config)
    held_out = replace(held_out, lines=[*held_out.lines, f"weights: {weights}"])
    held_out = task.conclude(held_out, history)
    save_model(model, folder.model, finite({**held_out.metadata, "weights": weights}))
    of_run = {
        "weights": weights,
        "epochs": len(history),
        "seed": config.seed,
        "seconds": round(sum(row["seconds"] for row in history), 1),
    }
    if twice := [name for name in held_out.result if name in of_run]:
        raise InputError(
            f"the task's result has {twice[0]!r}, and result.json another field of that name: "
            "give it a name of its own"
        )
    task.draw(folder.path, model, held_out, history)
    write_json(folder.result, finite({**held_out.result, **of_run}))
    return held_out


def finite(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity: null in their place.

    Example:
        >>> finite({"rates": [0.5, float("nan")]})
        {'rates': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if is_number(value) and not is_whole(value) and not math.isfinite(value):
        return None
    return value


def save_model(model: nn.Module, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Save a model of this package as it saves itself, and of any other its weights alone."""
    if isinstance(model, Pretrained):
        model.metadata = dict(metadata)
        model.save_pretrained(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "model.safetensors") as path:
        safetensors.torch.save_model(model, str(path))
