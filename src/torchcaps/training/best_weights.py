"""The weights of the best epoch, kept beside the checkpoints."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from torchcaps.errors import InputError
from torchcaps.storage import check_plain_file, read_json, write_bytes, write_json

__all__ = ["best_epoch", "check_best", "load_best", "save_best"]

TENSORS, RECORD = "best.safetensors", "best.json"


def best_epoch(history: Sequence[Mapping[str, Any]], score: str) -> int:
    """The epoch, counted from 1, with the highest score: the first of several; 0 for none.

    Example:
        >>> best_epoch([{"accuracy": 0.5}, {"accuracy": 0.7}, {"accuracy": 0.7}], "accuracy")
        2
    """
    scores = [row[score] for row in history]
    return 1 + scores.index(max(scores)) if scores else 0


def save_best(folder: Path, model: nn.Module, epoch: int) -> None:
    """Write the weights of an epoch over those kept before."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    content = safetensors.torch.save(tensors)
    write_bytes(folder / TENSORS, content)
    write_json(folder / RECORD, {"epoch": epoch, "sha256": hashlib.sha256(content).hexdigest()})


def check_best(folder: Path, history: Sequence[Mapping[str, Any]], score: str) -> None:
    """Raise, before a run goes on, where the weights of its best epoch so far are not there.

    Those of an epoch after these are of a run that was killed before its checkpoint: that epoch is
    done again.

    Raises:
        InputError: they are missing, or of another epoch, as where the run kept none until now.
    """
    epoch = best_epoch(history, score)
    try:
        there = read_json(folder / RECORD)["epoch"]
        found = there == epoch or there > len(history)
    except (OSError, ValueError, KeyError, TypeError):
        found = False
    if epoch and not found:
        raise lost(folder, epoch)


def lost(folder: Path, epoch: int) -> InputError:
    return InputError(
        f"{folder / TENSORS}, the weights of epoch {epoch}, the best, is missing or damaged: bring "
        'it back, or set "keep" to "last" in the config.json of the run'
    )


def load_best(folder: Path, model: nn.Module, epoch: int) -> None:
    """Put the weights that `save_best` wrote of this epoch into the model.

    Raises:
        InputError: they are damaged, or of another epoch.
    """
    try:
        content = check_plain_file(folder / TENSORS).read_bytes()
        record = read_json(folder / RECORD)
        whole = record == {"epoch": epoch, "sha256": hashlib.sha256(content).hexdigest()}
    except (OSError, ValueError):
        whole = False
    if not whole:
        raise lost(folder, epoch)
    model.load_state_dict(safetensors.torch.load(content))
