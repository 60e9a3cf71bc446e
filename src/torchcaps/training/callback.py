"""What a person may add to a training run."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchcaps.training.run import Run
    from torchcaps.training.task import HeldOut

__all__ = ["Callback", "check_callbacks"]


class Callback:
    """Called while a run trains; a subclass overrides what it needs.

    It may read everything of the run: `run.model`, `run.step` (done so far), `run.total_steps`,
    `run.history` (the rows of metrics.csv), `run.config`, `run.folder.path`; and end it after the
    epoch with `run.stop()`. It is called in every process of a distributed run (`run.is_main` is
    true in one). After a kill, steps since the last checkpoint are done, and called, again; a
    callback's own state is not saved.

    Example:
        >>> class StopAt(Callback):
        ...     def __init__(self, accuracy: float) -> None:
        ...         self.accuracy = accuracy
        ...     def on_epoch(self, run, row):
        ...         if row.get("validation_accuracy", 0) >= self.accuracy:
        ...             run.stop()
    """

    def on_begin(self, run: "Run") -> None:
        """Before the first step, of a new run or a resumed one."""

    def on_step(self, run: "Run") -> None:
        """After each step; its time is not counted as training."""

    def on_epoch(self, run: "Run", row: Mapping[str, Any]) -> None:
        """After each epoch and its checkpoint; `row` is the epoch's of metrics.csv.

        Only the main process has the columns of validation.
        """

    def on_end(self, run: "Run", held_out: "HeldOut") -> None:
        """When the run folder is complete, in the main process."""


def check_callbacks(callbacks: object) -> list[Callback]:
    """The callbacks that a person gave, as a list.

    Raises:
        TypeError: it is no list of them, or one of them inherits from something else.
    """
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of Callback objects, got {type_name(callbacks)}")
    listed = list(callbacks)
    for callback in listed:
        if not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks must hold objects that inherit from Callback, got {type_name(callback)}"
            )
    return listed


def type_name(given: object) -> str:
    """What a person gave, in words: a class is named as such, for one of its objects was wanted."""
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
