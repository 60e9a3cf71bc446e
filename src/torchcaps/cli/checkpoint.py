"""What a person may name as a model: whatever `load_model` takes."""

from torchcaps.models import Classifier, load_model
from torchcaps.models.folder import find_pretrained, is_run
from torchcaps.storage import expand_user
from torchcaps.training.run_folder import RunFolder

__all__ = ["load_checkpoint", "run_of_model"]


def load_checkpoint(source: str) -> Classifier:
    """The model of a run or model folder, of the package, or of a repository on the Hub.

    Raises:
        InputError: none of these, or a run that is not finished.
    """
    return load_model(find_pretrained(source, {}))


def run_of_model(source: str) -> RunFolder | None:
    """The run folder in which a model was trained, where it is still around it."""
    path = expand_user(source)
    if not path.exists():  # a name, around which is whatever folder one happens to be in
        return None
    folder = path.resolve()
    return next((RunFolder(f) for f in (folder, folder.parent) if is_run(f)), None)
