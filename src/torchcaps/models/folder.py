"""Which folder holds the model that a person names: a saved model, or a run that trained one."""

from pathlib import Path

from torchcaps.errors import InputError

__all__ = ["model_folder"]

# What a run folder holds (torchcaps.training.run_folder writes it).
RUN_FACTS, RUN_RESULT, RUN_MODEL = "run.json", "result.json", "model"


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run."""
    return (folder / "config.json").is_file() and (folder / RUN_FACTS).is_file()


def model_folder(path: Path) -> Path:
    """The folder written by `save_pretrained`: the one named, or that of the run named.

    Raises:
        InputError: there is none, or the run is not finished.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: name the folder of a run or of a saved model")
    if path.is_file():
        raise InputError(
            f"{path} is a file: name the folder of a run (runs/…) or of a saved model, "
            "which holds config.json and model.safetensors"
        )
    if not is_run(path):
        return path
    if not (path / RUN_RESULT).is_file():  # the last file that a run writes
        raise InputError(
            f"the run {path} is not finished, so it has no model yet: "
            f"finish it with torchcaps train --resume {path}"
        )
    return path / RUN_MODEL
