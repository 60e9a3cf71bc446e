"""`fit`: training from Python, as the command line does it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchcaps.data import TrainTest
from torchcaps.data.load import check_data_dir
from torchcaps.errors import InputError
from torchcaps.models import Classifier
from torchcaps.training.callback import Callback, check_callbacks
from torchcaps.training.config import TrainConfig
from torchcaps.training.loop import RunResult, not_empty, train
from torchcaps.training.run_folder import RUNS, check_outside

__all__ = ["fit"]


def fit(
    data: TrainTest | str | os.PathLike[str],
    model: Classifier | str | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> RunResult:
    """Train a network on labelled images, and leave a run folder, as `torchcaps train` does.

    Args:
        data: what `--data` takes (a folder of class folders, an .npz file, "mnist", …), or images
            with labels, to train on and to be judged on.
        model: a name of `list_models`, or a network of one's own, which is then trained from the
            weights that it has. Default: "image_capsnet", for images of any size.
        callbacks: called while it trains.
        **options: of `TrainConfig`, the options of `torchcaps train`: `epochs`, `out`, ….

    Returns:
        The run folder, for `load_model`, and the answers on the held-out images.

    Raises:
        InputError: an option or a file is wrong. TypeError: an option that there is not, or data
            or a model of another type.
        RunStopped: interrupted, or a loss that is not finite; `resume` goes on.

    Example:
        >>> import tempfile
        >>> class Rates(Callback):
        ...     def on_epoch(self, run, row):
        ...         print("epoch", row["epoch"])
        >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
        ...     result = fit("mnist5k", callbacks=[Rates()], epochs=1, threads=1, out=Path(folder))
        image_capsnet ...
        >>> result.held_out.accuracy > 0.5
        True
    """
    check_kinds(data, model)
    callbacks = check_callbacks(callbacks)
    named: dict[str, Any] = {} if isinstance(data, TrainTest) else {"data": not_empty("data", data)}
    if isinstance(model, str):
        named["model"] = model
    for name in ("out", "data_dir", "init"):
        if isinstance(given := options.get(name), str | os.PathLike):
            options[name] = Path(not_empty(name, given))
    config = TrainConfig(**named, **options)
    if isinstance(data, TrainTest):
        check_read(config)
    else:
        check_data_dir(config.data, config.data_dir)
    check_outside(config.out or RUNS, config.data)  # before large data are read
    return train(
        config,
        data if isinstance(data, TrainTest) else None,
        model if isinstance(model, Classifier) else None,
        callbacks=callbacks,
    )


def check_read(config: TrainConfig) -> None:
    """Raise for options of reading beside images that are read already: they would change nothing.

    Raises:
        InputError: `image_size`, `channels`, `data_dir` or `in_memory` is given.
    """
    for name in ("image_size", "channels", "data_dir", "in_memory"):
        if (value := getattr(config, name)) != getattr(TrainConfig, name):
            raise InputError(
                f"{name} is {str(value)!r}, which is for images that are read here, and a "
                "TrainTest was given: leave it out, or give load_data that option"
            )


def check_kinds(data: object, model: object) -> None:
    """Raise for data or a model that would be taken for something else."""
    if not isinstance(data, TrainTest | str | os.PathLike):
        raise TypeError(
            "data must be a name, a path, or a TrainTest of images to train on and to be judged "
            f"on, got {type(data).__name__}"
        )
    if isinstance(model, type):
        raise TypeError(f"model must be a network, got the class {model.__name__}: make one of it")
    if not (model is None or isinstance(model, str | Classifier)):
        raise TypeError(
            "model must be a name, or a network that inherits from torchcaps.models.Classifier, "
            f"got {type(model).__name__}"
        )
