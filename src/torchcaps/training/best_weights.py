"""The weights of the best epoch, kept beside the checkpoints."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from torchcaps.errors import InputError
from torchcaps.storage import check_plain_file, read_json, write_bytes, write_json
from torchcaps.training.checkpoint import as_stored

__all__ = ["best_epoch", "check_best", "drop_earlier", "load_best", "save_best"]

TENSORS, RECORD = "best.safetensors", "best.json"


def best_epoch(history: Sequence[Mapping[str, Any]], score: str) -> int:
    """The epoch, counted from 1, with the highest score: the first of several; 0 for none.

    An epoch without a score, or whose score is NaN, is never the best.

    Example:
        >>> best_epoch([{"accuracy": 0.5}, {"accuracy": 0.7}, {"accuracy": 0.7}], "accuracy")
        2
    """
    best, highest = 0, -math.inf
    for epoch, row in enumerate(history, 1):
        found = row.get(score)
        if found is not None and found > highest:  # NaN is not
            best, highest = epoch, found
    return best


def save_best(folder: Path, model: nn.Module, epoch: int) -> None:
    """Write the weights of an epoch, and set aside those kept before: a checkpoint may need them.

    A run can be taken up again from before this epoch, and then go another way.
    """
    before = _epoch_kept(folder / RECORD)
    kept = None if before in (None, epoch) else _whole(folder / TENSORS, folder / RECORD)
    if before is not None and kept is not None:
        write_bytes(_of_epoch(folder / TENSORS, before), kept)
        write_bytes(_of_epoch(folder / RECORD, before), (folder / RECORD).read_bytes())
    content = safetensors.torch.save(as_stored(model.state_dict()))
    write_bytes(folder / TENSORS, content)
    write_json(folder / RECORD, {"epoch": epoch, "sha256": hashlib.sha256(content).hexdigest()})


def drop_earlier(folder: Path, history: Sequence[Mapping[str, Any]], score: str) -> None:
    """Remove weights set aside that neither of the two checkpoints kept would go back to."""
    needed = {best_epoch(history[:length], score) for length in (len(history), len(history) - 1)}
    for suffix in (".json", ".safetensors"):
        wanted = {f"best-{epoch:08d}{suffix}" for epoch in needed}
        for path in list(folder.glob(f"best-{8 * '[0-9]'}{suffix}")):
            if path.name not in wanted:
                path.unlink()


def _of_epoch(path: Path, epoch: int) -> Path:
    """Where the weights of an epoch, or their record, lie once those of a later one are best."""
    return path.with_stem(f"{path.stem}-{epoch:08d}")


def _epoch_kept(record: Path) -> int | None:
    """Whose weights a record is of; None where there is none that can be read."""
    try:
        epoch = read_json(record)["epoch"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return epoch if isinstance(epoch, int) else None


def _whole(tensors: Path, record: Path) -> bytes | None:
    """The content of a file of weights, where its record has its SHA-256."""
    try:
        content = check_plain_file(tensors).read_bytes()
        noted = read_json(record)["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if noted == hashlib.sha256(content).hexdigest() else None


def check_best(folder: Path, history: Sequence[Mapping[str, Any]], score: str) -> None:
    """Raise, before a run goes on, where the weights of its best epoch so far are not there.

    Those of an epoch after these are of a run that was killed before its checkpoint: that epoch is
    done again.

    Raises:
        InputError: they are missing, or of another epoch, as where the run kept none until now.
    """
    epoch = best_epoch(history, score)
    there = _epoch_kept(folder / RECORD)
    redone = there is not None and there > len(history)
    aside = _epoch_kept(_of_epoch(folder / RECORD, epoch)) == epoch
    if epoch and there != epoch and not redone and not aside:
        raise lost(folder, epoch)


def lost(folder: Path, epoch: int) -> InputError:
    there = _epoch_kept(folder / RECORD)
    replaced = there not in (None, epoch)
    what = f"missing (those of epoch {there} lie there)" if replaced else "missing or damaged"
    return InputError(
        f"{folder / TENSORS}, the weights of epoch {epoch}, the best, is {what}: bring "
        'it back, or set "keep" to "last" in the config.json of the run'
    )


def load_best(folder: Path, model: nn.Module, epoch: int) -> None:
    """Put the weights that `save_best` wrote of this epoch into the model.

    Raises:
        InputError: they are damaged, or of another epoch.
    """
    last = folder / TENSORS, folder / RECORD
    for tensors, record in (last, tuple(_of_epoch(path, epoch) for path in last)):
        content = _whole(tensors, record)
        if content is not None and _epoch_kept(record) == epoch:
            model.load_state_dict(safetensors.torch.load(content))
            return
    raise lost(folder, epoch)
