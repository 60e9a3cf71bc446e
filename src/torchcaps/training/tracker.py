"""TensorBoard on request."""

from pathlib import Path
from typing import Any

from accelerate.tracking import TensorBoardTracker

from torchcaps.data.extra import require

__all__ = ["open_tracker"]


class NoTracker:
    """Keeps nothing; metrics.csv is written all the same."""

    def log(self, values: dict[str, Any], step: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


def open_tracker(wanted: bool, folder: Path) -> NoTracker | TensorBoardTracker:
    """A tracker that writes into `folder`/tensorboard, or one that writes nothing."""
    if not wanted:
        return NoTracker()
    require("tensorboard", "tensorboard", "--tensorboard")
    tracker = TensorBoardTracker("tensorboard", logging_dir=folder)
    tracker.start()
    return tracker
