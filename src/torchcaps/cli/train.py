"""`torchcaps train`."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from torchcaps.cli.paths import expanded
from torchcaps.cli.stray_words import begins_as_option, spelt
from torchcaps.cli.streams import one_line
from torchcaps.cpu_threads import set_threads
from torchcaps.errors import InputError
from torchcaps.routing.registry import list_routings
from torchcaps.storage import parse_json
from torchcaps.training.config import TrainConfig, read_train_config

if TYPE_CHECKING:
    from torchcaps.training.loop import RunResult

__all__ = ["Train", "train_defaults"]


BESIDE_RESUME = ("--resume", "--epochs", "--data", "--data-dir", "--find-rate")
YES_NO: tyro.constructors.PrimitiveConstructorSpec[bool | None] = (
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{auto,yes,no}",
        choices=("auto", "yes", "no"),
        instance_from_str=lambda words: {"auto": None, "yes": True, "no": False}[words[0]],
        is_instance=lambda value: value is None or isinstance(value, bool),
        str_from_instance=lambda value: [{None: "auto", True: "yes", False: "no"}[value]],
    )
)


@dataclass
class Train(TrainConfig):
    """Train a capsule network and leave a folder with the model, its figures and its pictures."""

    routing: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"How class capsules are found: {', '.join(list_routings())}, or name and options "
            """as JSON: '{"name": "em", "final_lambda": 0.02}'; default: the model's, dynamic."""
        ),
    ] = None
    # As JSON here, as an object in the config.
    model_options: Annotated[
        str | None,
        tyro.conf.arg(
            help="Arguments of the network over its defaults, as JSON: "
            """'{"kernel_size": 7, "primary_stride": 2}'."""
        ),
    ] = None  # type: ignore[assignment]
    reconstruct: Annotated[
        bool | None,
        YES_NO,
        tyro.conf.arg(
            help="Train a decoder that draws the image from the pose of its class; auto: where "
            "images are grey."
        ),
    ] = None
    config: Path | None = None
    """Take the options from the config.json of an earlier run; those given besides it win."""
    resume: Path | None = None
    """Continue this interrupted run (its folder, or one of its checkpoint files), with its own
    options; or a finished one, with more --epochs. --data says where its data lie now."""
    find_rate: bool = False
    """Only search for a learning rate, in 200 steps, and print it; nothing is written."""

    def __post_init__(self) -> None:
        """Nothing: `options` checks, so that a wrong value is answered in one sentence."""

    def run(self) -> None:
        """Train, and end by printing the explorer's page and the folder."""
        from torchcaps.training.fit import fit
        from torchcaps.training.loop import resume

        if self.find_rate:
            self._find_rate()
            return
        if self.resume is None:
            result = fit(**vars(self.options()))
        else:
            data = self.data or None
            result = resume(self.resume, data, data_dir=self.data_dir, epochs=self.epochs)
        if result.held_out is None:  # another process of a distributed run prints
            return
        set_threads(self.threads)  # which training gave back
        for line in (page_of(result), f"folder: {result.folder}"):
            if line:
                print(one_line(line))

    def _find_rate(self) -> None:
        """Search for a learning rate and print it."""
        from torchcaps.training.build import check_iterations
        from torchcaps.training.find_rate import find_learning_rate
        from torchcaps.training.loop import images_and_model

        if self.resume is not None:
            raise InputError("--find-rate is for new runs: leave out --resume")
        config = self.options()
        check_iterations(config)
        task, model = images_and_model(config, None, None)
        config = task.fitted(config)
        print(task.describe(model))
        print(find_learning_rate(config, task, model))

    def options(self) -> TrainConfig:
        """The options alone, as config.json holds them."""
        from torchcaps.data.load import check_data_dir
        from torchcaps.data.mnist import FAMILY

        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(TrainConfig)}
        if self.config is None:
            check_data_dir(self.data, self.data_dir)
        elif self.data not in FAMILY and self.data_dir == config_at(self.config).data_dir:
            values["data_dir"] = None  # it stands in the config, for the data there
        else:
            check_data_dir(self.data, self.data_dir)
        values["routing"] = json_option("routing", self.routing, '{"name": "em", "iterations": 3}')
        if self.model_options is not None:
            example = '{"kernel_size": 7, "primary_stride": 2}'
            options = json_option("model-options", self.model_options, example)
            if not isinstance(options, dict):
                raise InputError(
                    f"--model-options must be an object such as {example}, got {options!r}"
                )
            values["model_options"] = options
        return TrainConfig(**values)


def json_option(name: str, value: str | None, example: str) -> str | dict[str, Any] | None:
    """What an option says that may be an object written as JSON."""
    if value is None or not value.lstrip().startswith("{"):
        return value
    try:
        found: dict[str, Any] = parse_json(value)
    except ValueError as error:
        raise InputError(
            f"--{name} {value} is not valid JSON ({error}): write an object such as {example}"
        ) from error
    return found


def page_of(result: "RunResult") -> str:
    """Write the explorer of a capsule network into its run folder; what to say of it.

    The run is done and its files are there: where the page cannot be made, that is only said.
    """
    from torchcaps.cli.explore import PAGE
    from torchcaps.explorer import write_explorer
    from torchcaps.models import load_model
    from torchcaps.models.capsule_classifier import CapsuleClassifier

    assert result.held_out is not None
    if result.test is not None and result.test.multi_label:
        return ""
    path = result.folder / PAGE
    try:
        model = load_model(result.folder / "model")
        if not isinstance(model, CapsuleClassifier):
            return ""
        write_explorer(model, path, result.test, result.held_out.predictions)
    except (InputError, OSError) as error:
        return f"explorer: none ({error})"
    return f"explorer: {path}"


def train_defaults(arguments: Sequence[str]) -> Train:
    """What `train` starts from: its defaults, or the file after the last --config.

    The options are parsed over it, so it must be read before them. A resumed run has its options,
    but its data may have been moved, which are known by their digest: they are "" unless given.

    Raises:
        InputError: there is no such file, it is not such a config, or an option stands beside
            --resume that would be ignored.
    """
    given = values_given(arguments)
    if given.get("--resume") and {"-h", "--help"}.isdisjoint(given):
        if others := [option for option in given if option not in BESIDE_RESUME]:
            raise InputError(
                f"--resume continues {given['--resume']} with that run's own options: leave out "
                f"{', '.join(others)}"
            )
        return Train(data="")
    if not given.get("--config"):
        return Train()
    path = expanded("config", Path(given["--config"]))
    values = vars(dataclasses.replace(config_at(path), out=None))
    for name in ("routing", "model_options"):
        if isinstance(values[name], dict):
            values[name] = json.dumps(values[name])
    return Train(**values, config=path)


def values_given(arguments: Sequence[str]) -> dict[str, str]:
    """Each option that `train` was given, and its last value; "" where none follows."""
    given = dict[str, str]()
    words = list(takewhile(lambda word: word != "--", arguments[1:]))
    for word, following in zip(words, [*words[1:], ""]):
        written, _, value = word.partition("=")
        if arguments[0] == "train" and begins_as_option(word):
            given[spelt(written)] = value or ("" if begins_as_option(following) else following)
    return given


def config_at(path: Path) -> TrainConfig:
    """That of a file, or of the run whose folder is named, with paths that lead to its data."""
    from torchcaps.training.run_folder import RunFolder

    folder = RunFolder(path if path.is_dir() else path.parent)
    return folder.found_again(read_train_config(path))
