"""The columns of metrics.csv: the loop's own, a task's measures, and what its `validate` gives."""

from collections.abc import Mapping
from typing import Any

from torchcaps.errors import InputError
from torchcaps.plain_numbers import is_number, plain_number
from torchcaps.training.config import TrainConfig
from torchcaps.training.task import Task

__all__ = ["check_columns", "plain_measures"]


def own_columns(task: Task[Any, Any]) -> set[str]:
    """Those that the loop fills, besides what the task measures."""
    per_second = f"{task.examples}_per_second"
    return {"epoch", "step", "learning_rate", "loss", "seconds", per_second}


def check_columns(task: Task[Any, Any], config: TrainConfig) -> None:
    """Raise, before anything is trained, where measures share a name, or no score is there.

    Raises:
        InputError: as it says.
    """
    asked = {"--keep best": config.keep == "best", "--patience": config.patience}
    for option, given in asked.items():
        if given and task.score is None:
            raise InputError(
                f"{option} needs data kept aside to compare epochs by: for images give "
                "--validation a fraction above 0; in a task of your own set Task.score to a "
                "column that its validate returns"
            )
    names = list(task.measures)
    for name in names:
        if name in own_columns(task) or names.count(name) > 1:
            raise InputError(
                f"the task has a measure called {name!r}, and metrics.csv another column of "
                "that name: give it a name of its own"
            )


def plain_measures(
    measured: Mapping[str, Any], task: Task[Any, Any], config: TrainConfig
) -> dict[str, Any]:
    """What a task's `validate` gave, with plain numbers: of NumPy too, which JSON has not.

    Raises:
        InputError: a column of that name is there, what it gave is no number, or it left out the
            score that epochs are to be compared by.
    """
    plain = dict(measured)
    for name, value in measured.items():
        if name in own_columns(task) or name in task.measures:
            raise InputError(
                f"validate of the task gave {name!r}, and metrics.csv has another column of "
                f"that name: call it validation_{name}, or another name of its own"
            )
        if is_number(value):
            plain[name] = plain_number(value)
        elif value is not None and not isinstance(value, bool):
            raise InputError(
                f"validate of the task gave {name!r} as a {type(value).__name__}; expected a "
                "number, or None"
            )
    compared = config.keep == "best" or config.patience is not None
    if compared and task.score not in plain:
        raise InputError(
            f"the score of the task is {task.score!r}, and its validate gave "
            f"{', '.join(plain) or 'nothing'}: name one of these, or give {task.score} "
            "too (None in an epoch that does not measure it)"
        )
    return plain
