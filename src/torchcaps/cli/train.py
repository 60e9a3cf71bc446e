"""`torchcaps train`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchcaps.errors import InputError
from torchcaps.training.config import TrainConfig, read_train_config

__all__ = ["Train", "train_defaults"]


@dataclass
class Train(TrainConfig):
    """Train a capsule network and leave a folder with the model, its figures and its pictures."""

    config: Path | None = None
    """Take the options from the config.json of an earlier run; those given besides it win."""
    resume: Path | None = None
    """Continue this interrupted run (its folder, or one of its checkpoint files), with its own
    options."""

    def __post_init__(self) -> None:
        """Nothing: `options` checks, so that a wrong value is answered in one sentence."""

    def run(self) -> None:
        """Train, and end by printing the held-out accuracy and the folder."""
        from torchcaps.training.loop import resume, train

        if self.resume is None:
            result = train(self.options())
        else:
            self._check_alone()
            result = resume(self.resume)
        if result.held_out is None:  # another process of a distributed run prints
            return
        low, high = result.held_out.interval
        print(
            f"held-out accuracy: {result.held_out.accuracy:.2%} of {len(result.held_out.labels)} "
            f"images (95 % interval {low:.2%} to {high:.2%})\n"
            f"folder: {result.folder}"
        )

    def options(self) -> TrainConfig:
        """The options alone, as config.json holds them."""
        names = [field.name for field in dataclasses.fields(TrainConfig)]
        return TrainConfig(**{name: getattr(self, name) for name in names})

    def _check_alone(self) -> None:
        """A resumed run has its options; others beside --resume would be silently ignored."""
        defaults = TrainConfig()
        for field in dataclasses.fields(TrainConfig):
            if getattr(self, field.name) != getattr(defaults, field.name) or self.config:
                name = "config" if self.config else field.name
                raise InputError(
                    f"--resume continues {self.resume} with that run's own options: "
                    f"leave out --{name.replace('_', '-')}"
                )


def train_defaults(arguments: Sequence[str]) -> Train:
    """What `train` starts from: its defaults, or the file after --config.

    The options are parsed over it, so it must be read before them.
    """
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name != "--config" or "train" not in arguments[:position]:
            continue
        if not value and position + 1 < len(arguments):
            value = arguments[position + 1]
        if value:
            options = dataclasses.replace(read_train_config(Path(value)), out=None)
            return Train(**vars(options), config=Path(value))
    return Train()
