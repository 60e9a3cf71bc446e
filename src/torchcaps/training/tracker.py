"""TensorBoard on request."""

from importlib import import_module
from pathlib import Path
from typing import Any

from accelerate.tracking import TensorBoardTracker

from torchcaps.errors import InputError

__all__ = ["check_tracker", "open_tracker"]


class NoTracker:
    """Keeps nothing; metrics.csv is written all the same."""

    def log(self, values: dict[str, Any], step: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


def check_tracker(wanted: bool) -> None:
    """Raise where TensorBoard is wanted and not installed, before a run has begun."""
    if not wanted:
        return
    try:
        import_module("tensorboard")
    except ImportError as error:
        raise InputError(
            f"--tensorboard needs tensorboard, which cannot be imported ({error}); "
            'install it with: pip install "torchcaps[tensorboard]"'
        ) from error


def open_tracker(wanted: bool, folder: Path) -> NoTracker | TensorBoardTracker:
    """A tracker that writes into `folder`/tensorboard, or one that writes nothing."""
    if not wanted:
        return NoTracker()
    tracker = TensorBoardTracker("tensorboard", logging_dir=folder)
    tracker.start()
    return tracker
