"""Whether a run that goes on has the data that it began with."""

import json
from collections.abc import Mapping
from typing import Any

from torchcaps.errors import InputError
from torchcaps.training.run_folder import RunFolder
from torchcaps.training.task import Task

__all__ = ["check_same_data", "data_facts"]

NEEDED = ("name", "train")  # of what describes the data: messages say them
SHAPE = ("image", "classes")  # in what describes images: a network is made for it


def data_facts(task: Task[Any, Any]) -> dict[str, Any]:
    """What identifies a task's data, as JSON gives it back."""
    facts: dict[str, Any] = json.loads(json.dumps(task.describe_data()))
    if not set(NEEDED) <= set(facts):
        raise ValueError(f"describe_data must give {' and '.join(NEEDED)}, got {facts}")
    return facts


def check_same_data(folder: RunFolder, task: Task[Any, Any]) -> None:
    """Raise unless a task has the data that the run of this folder began with.

    Raises:
        InputError: it has others, or they changed.
    """
    began_with, now = folder.read_data_facts(NEEDED), data_facts(task)
    # Their name is that of the file or folder, which may have been moved.
    changed = {k for k in {*began_with, *now} - {"name"} if began_with.get(k) != now.get(k)}
    if changed == {"sha256"} and task.has_digest(began_with["sha256"]):
        return
    if not changed:
        return
    said = (
        f"the data are not those that the run {folder.path} began with "
        f"({began_with['name']}, {began_with['train']} training {task.examples})"
    )
    if misfit := describe_misfit(began_with, now):
        raise InputError(
            f"{said}, and do not fit it: {misfit}; bring them back, or start a new run"
        )
    others = "" if began_with["train"] == now["train"] else " (others may be held out then)"
    raise InputError(
        f"{said}: bring them back, start a new run, or remove {folder.run} to go on with "
        f"the data as they are now{others}"
    )


def describe_misfit(began_with: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Why images cannot go on with the weights of a run; nothing where they could.

    Args:
        began_with, now: what describes the data (see `describe_data` of images).
    """
    if not all(isinstance(facts.get(key), list) for key in SHAPE for facts in (began_with, now)):
        return ""  # of something else than images
    (image, classes), (other_image, others) = ([f[key] for key in SHAPE] for f in (began_with, now))
    if image != other_image:
        had, have = ("×".join(map(str, shape)) for shape in (image, other_image))
        return f"its images are {had} (channels×height×width), and these are {have}"
    if len(classes) != len(others):
        return f"it has {len(classes)} classes, and these have {len(others)}"
    for number, (one, other) in enumerate(zip(classes, others), 1):
        if one != other:
            return (
                f"its class {number} is {one!r}, and theirs is {other!r} (call it {one!r} again if "
                "it is the same)"
            )
    return ""
