"""Resume state on disk: written atomically, verified by hash, never pickled.

A checkpoint is two files: `step-00000200.safetensors` with the tensors, and, written after it,
`step-00000200.json` with the counters and the SHA-256 of both. Without its JSON file a checkpoint
does not exist, so that a kill at any moment leaves the one before it as the last.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from torchcaps.errors import InputError
from torchcaps.storage import check_plain_file, read_json, write_bytes, write_json

__all__ = [
    "Checkpoint",
    "as_stored",
    "find_checkpoint",
    "restore",
    "run_of",
    "save_checkpoint",
    "snapshot",
]

KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: after which step, the tensors, and the counters of the run."""

    step: int
    tensors: dict[str, Tensor]
    counters: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, Tensor], counters: dict[str, Any]
) -> None:
    """Write the checkpoint of a step and drop all but it and the one before.

    Args:
        folder: of checkpoints; made if absent.
        step: number of steps done.
        tensors: of model and optimiser.
        counters: JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = safetensors.torch.save(tensors)
    write_bytes(_tensors_path(folder, step), content)
    record = {
        "step": step,
        "sha256": hashlib.sha256(content).hexdigest(),
        "counters_sha256": _digest(counters),
        "counters": counters,
    }
    write_json(_record_path(folder, step), record)
    # Later ones are of a run that was taken up again from before them, damaged perhaps.
    kept = [done for done in _steps(folder) if done <= step][-KEEP:]
    # Records first: tensors without one are no checkpoint, a record without tensors is a damaged
    # one.
    for suffix in (".json", ".safetensors"):
        for path in list(folder.glob(f"step-*{suffix}")):
            if _number(path) not in (None, *kept):
                path.unlink()


def run_of(path: Path) -> Path:
    """The run folder that a path names, itself or by one of its checkpoint files.

    Raises:
        InputError: there is nothing there, or a file that is no checkpoint.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: name the folder of a run, or a checkpoint in it")
    if not path.is_file():
        return path
    _step_of(path)
    return path.parent.parent


def find_checkpoint(run: Path) -> Checkpoint | None:
    """The newest checkpoint of a run folder, or the very one that a path names.

    Args:
        run: a run folder, or one checkpoint file within its folder `checkpoints`.

    Returns:
        The checkpoint, or None for a run that has none yet.

    Raises:
        InputError: the checkpoint is damaged; the message names it and the one before it.
    """
    if run.is_dir():
        folder = run / "checkpoints"
        steps = _steps(folder)
        if not steps:
            return None
        step = steps[-1]
    else:
        folder = run.parent
        step = _step_of(run)
    try:
        return _read(folder, step)
    except _Damaged as damage:
        raise InputError(_what_to_do(folder, step, str(damage))) from damage


class _Damaged(Exception):
    pass


def _read(folder: Path, step: int) -> Checkpoint:
    record_path, tensors_path = _record_path(folder, step), _tensors_path(folder, step)
    try:
        record = read_json(record_path)
        expected, counters = record["sha256"], record["counters"]
        if record["step"] != step:
            raise ValueError(f"it is of step {record['step']}: give it back its name")
        if record["counters_sha256"] != _digest(counters):
            raise ValueError("its SHA-256 is not the one recorded")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Damaged(f"{record_path} is damaged ({type(error).__name__}: {error})") from error
    try:
        content = check_plain_file(tensors_path).read_bytes()
    except OSError as error:
        raise _Damaged(f"{tensors_path} cannot be read ({error.strerror})") from error
    except InputError as error:
        raise _Damaged(str(error)) from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise _Damaged(
            f"{tensors_path} is truncated or damaged (its SHA-256 is not the one recorded)"
        )
    return Checkpoint(step, safetensors.torch.load(content), counters)


def _what_to_do(folder: Path, step: int, damage: str) -> str:
    for earlier in reversed([s for s in _steps(folder) if s < step]):
        try:
            _read(folder, earlier)
        except _Damaged:
            continue
        path = _tensors_path(folder, earlier)
        return f"{damage}; the one before it is whole: continue with --resume {path}"
    return f"{damage}, and no earlier one is whole: start the run anew"


def _digest(counters: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(counters).encode()).hexdigest()


def _step_of(path: Path) -> int:
    step = _number(path)
    if path.suffix not in {".json", ".safetensors"} or step is None:
        raise InputError(
            f"{path} is not a checkpoint: name a run folder, or a step-….safetensors in its "
            "folder checkpoints"
        )
    return step


def _number(path: Path) -> int | None:
    """The step in a file's name; None for files that are not ours ("step-00000200 copy.json")."""
    match = re.fullmatch(r"step-([0-9]{8,})", path.stem)
    return int(match[1]) if match else None


def _steps(folder: Path) -> list[int]:
    numbers = [_number(path) for path in folder.glob("step-*.json")]
    return sorted(number for number in numbers if number is not None)


def _tensors_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.safetensors"


def _record_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.json"


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors that training changes, by name."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, tensor in state.items():
            tensors[f"optimizer.{index}.{key}"] = tensor
    return as_stored(tensors)


def as_stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors stores them: with ordinary strides, and each in memory of its own.

    channels_last tensors are not contiguous, and tied weights are one tensor under two names: it is
    written under both, which gives both back.
    """
    stored: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        if copy.untyped_storage().data_ptr() in taken:
            copy = copy.clone()
        taken.add(copy.untyped_storage().data_ptr())
        stored[name] = copy
    return stored


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `snapshot` took."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    model.load_state_dict(parts["model"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    # A fused update walks over the weights and over what it remembers of them in the order in which
    # they lie in memory: both must have the same strides.
    for weight, remembered in optimizer.state.items():
        for key, tensor in remembered.items():
            if tensor.shape == weight.shape:
                remembered[key] = torch.empty_like(weight).copy_(tensor)
