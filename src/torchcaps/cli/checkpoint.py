"""What a person may name as a model: whatever `load_model` takes."""

from pathlib import Path
from typing import Any

from torchcaps.errors import InputError
from torchcaps.models import Classifier, load_model
from torchcaps.models.folder import find_pretrained, is_run
from torchcaps.training.run_folder import RunFolder

__all__ = ["load_checkpoint", "run_of_model"]


def load_checkpoint(source: str) -> Classifier:
    """The model of a run or model folder, of the package, or of a repository on the Hub.

    Raises:
        InputError: none of these, a run that is not finished, or metadata that the tool cannot use.
    """
    folder = find_pretrained(source, {})
    model = load_model(folder)
    metadata: Any = model.metadata
    for name in ("border_brightness", "threshold"):
        if not isinstance(metadata, dict) or not _is_share(metadata.get(name, 0)):
            raise InputError(
                f"{folder / 'config.json'}: metadata must be an object, and "
                f"{name} in it a number from 0 to 1: restore the file"
            )
    return model


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def run_of_model(source: str) -> RunFolder | None:
    """The run folder in which a model was trained, where it is still around it."""
    if not Path(source).exists():  # a name, around which is whatever folder one happens to be in
        return None
    folder = Path(source).resolve()
    return next((RunFolder(f) for f in (folder, folder.parent) if is_run(f)), None)
