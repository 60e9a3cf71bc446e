"""What a person may name as a model: a run folder, or a folder written by `save_pretrained`."""

from pathlib import Path
from typing import Any

from torchcaps.errors import InputError
from torchcaps.models import Classifier, load_model
from torchcaps.training.run_folder import RunFolder

__all__ = ["load_checkpoint", "run_of_model"]


def load_checkpoint(path: Path) -> Classifier:
    """The model of a run folder or a model folder.

    Raises:
        InputError: neither, or a run that is not finished.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: name the folder of a run or of a saved model")
    if path.is_file():
        raise InputError(
            f"{path} is a file: name the folder of a run (runs/…) or of a saved model, "
            "which holds config.json and model.safetensors"
        )
    if not _is_run(path):
        return _load(path)
    run = RunFolder(path)
    if not run.result.is_file():  # the last file that a run writes
        raise InputError(
            f"the run {path} is not finished, so it has no model yet: "
            f"finish it with torchcaps train --resume {path}"
        )
    return _load(run.model)


def run_of_model(path: Path) -> RunFolder | None:
    """The run folder in which a model was trained, where it is still around it."""
    folder = path.resolve()
    for candidate in (folder, folder.parent):
        if _is_run(candidate):
            return RunFolder(candidate)
    return None


def _load(folder: Path) -> Classifier:
    model = load_model(folder)
    metadata: Any = model.metadata
    border = metadata.get("border_brightness", 0) if isinstance(metadata, dict) else None
    if not (isinstance(border, int | float) and 0 <= border <= 1):
        raise InputError(
            f"{folder / 'config.json'}: metadata must be an object, and border_brightness in it a "
            "number from 0 to 1: restore the file"
        )
    return model


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "run.json").is_file()
