"""What a person may name as a model: a run folder, or a folder written by `save_pretrained`."""

from pathlib import Path
from typing import Any

from torchcaps.errors import InputError
from torchcaps.models import Classifier, load_model
from torchcaps.models.folder import is_run, model_folder
from torchcaps.training.run_folder import RunFolder

__all__ = ["load_checkpoint", "run_of_model"]


def load_checkpoint(path: Path) -> Classifier:
    """The model of a run folder or a model folder.

    Raises:
        InputError: neither, a run that is not finished, or metadata that the tool cannot use.
    """
    model = load_model(path)
    metadata: Any = model.metadata
    for name in ("border_brightness", "threshold"):
        if not isinstance(metadata, dict) or not _is_share(metadata.get(name, 0)):
            raise InputError(
                f"{model_folder(path) / 'config.json'}: metadata must be an object, and "
                f"{name} in it a number from 0 to 1: restore the file"
            )
    return model


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def run_of_model(path: Path) -> RunFolder | None:
    """The run folder in which a model was trained, where it is still around it."""
    folder = path.resolve()
    return next((RunFolder(f) for f in (folder, folder.parent) if is_run(f)), None)
