"""What a person may name as a model: a run folder, or a folder written by `save_pretrained`."""

from pathlib import Path

from torchcaps.errors import InputError
from torchcaps.models import Classifier, load_model
from torchcaps.training.config import TrainConfig, read_train_config

__all__ = ["load_checkpoint", "run_config"]


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
        return load_model(path)
    if not (path / "model").is_dir():
        raise InputError(
            f"the run {path} is not finished, so it has no model yet: "
            f"finish it with torchcaps train --resume {path}"
        )
    return load_model(path / "model")


def run_config(path: Path) -> TrainConfig | None:
    """The options that a model was trained with, where its run folder is still around it."""
    folder = path.resolve()
    for candidate in (folder, folder.parent):
        if _is_run(candidate):
            return read_train_config(candidate / "config.json")
    return None


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "run.json").is_file()
