"""Which folder holds the model that a person names: a saved model, or a run that trained one."""

import difflib
import re
from pathlib import Path
from typing import Any

import torchcaps
from torchcaps.errors import InputError
from torchcaps.models.weights_file import CONFIG
from torchcaps.storage import as_utf8, expand_user, read_json

__all__ = [
    "check_free",
    "find_pretrained",
    "is_run",
    "is_saved_model",
    "list_pretrained",
    "model_folder",
]

PACKAGE = Path(torchcaps.__file__).parent
# Networks that come with the package: name → folder in it.
SHIPPED = {"digits": "explorer/shipped", "digit-pairs": "explorer/shipped_pairs"}
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
HUB_OPTIONS = ("revision", "cache_dir", "token", "force_download", "local_files_only")

# What a run folder holds besides config.json (torchcaps.training.run_folder writes it).
RUN_FACTS, RUN_RESULT = "run.json", "result.json"
RUN_MODEL, RUN_CHECKPOINTS = "model", "checkpoints"


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run.

    Its run.json may be gone: a person is told to remove it to go on with other data.
    """
    if not (folder / CONFIG).is_file():
        return False
    if (folder / RUN_FACTS).is_file():
        return True
    parts = (RUN_RESULT, RUN_MODEL, RUN_CHECKPOINTS)
    of_a_run = {"batch_size", "learning_rate"} <= config_keys(folder)
    return of_a_run and any((folder / part).exists() for part in parts)


def is_saved_model(folder: Path) -> bool:
    """Whether `save_pretrained` wrote a folder, by what its config.json says."""
    return "architecture" in config_keys(folder)


def check_free(folder: Path) -> None:
    """Raise where a model saved in a folder would replace what is no saved model.

    Raises:
        InputError: it is a file, its name is not UTF-8, or its config.json is that of a run or of
            something else.
    """
    if as_utf8(str(folder)) != str(folder):
        raise InputError(
            f"{folder} has a name that is not UTF-8, from which safetensors could not load the "
            "model again: name another folder"
        )
    if folder.is_file():
        raise InputError(f"{folder} is a file: name a folder to save the model in")
    if is_run(folder):
        raise InputError(
            f"{folder} holds a run, whose {CONFIG} a model saved there would replace: name another "
            f"folder, or {folder / RUN_MODEL} to replace the model of the run"
        )
    if (folder / CONFIG).exists() and not is_saved_model(folder):
        raise InputError(
            f"{folder / CONFIG} is not that of a saved model, and one saved there would replace "
            "it: name another folder, or remove it"
        )


def config_keys(folder: Path) -> set[str]:
    """The names in a folder's config.json; none where it is not there or damaged, for whatever
    needs it says so."""
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return set()
    return set(config) if isinstance(config, dict) else set()


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


def list_pretrained() -> list[str]:
    """The trained networks that come with the package, by the names that `load_pretrained` takes.

    Example:
        >>> list_pretrained()
        ['digit-pairs', 'digits']
    """
    return sorted(SHIPPED)


def find_pretrained(source: str | Path, options: dict[str, Any]) -> Path:
    """The folder of a model that a person names; one on the Hugging Face Hub is downloaded.

    Args:
        source: a folder; the name of a network of the package; or, as a str, the name of a
            repository on the Hub. A folder comes first.
        options: keyword arguments of `from_pretrained`. Those that are about the Hub are taken out.

    Raises:
        InputError: neither, a run that is not finished, or a repository that cannot be had.
    """
    hub = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
    path, name = expand_user(source), str(source)
    if path.exists():
        return model_folder(path)
    if name in SHIPPED:
        return PACKAGE / SHIPPED[name]
    if isinstance(source, str) and may_be_repository(source):
        return download(source, hub)
    if near := difflib.get_close_matches(name, SHIPPED, n=1):
        raise InputError(f"{name} does not exist: did you mean {near[0]}?")
    return model_folder(path)


def may_be_repository(source: str) -> bool:
    """Whether a str has the form owner/name, and is not a path into a folder that is here."""
    return REPOSITORY.fullmatch(source) is not None and not Path(source).parent.exists()


def download(repository: str, options: dict[str, Any]) -> Path:
    """The model folder of a repository on the Hub, in its cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["config.json", "model.safetensors"]
    try:
        folder = snapshot_download(repository, allow_patterns=wanted, **options)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{repository} is no folder here, and the Hugging Face Hub does not give it "
            f"({first.rstrip('.')}): check the name, or download it and name its folder"
        ) from error
    return model_folder(Path(folder))
