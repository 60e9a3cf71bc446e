"""The folder a model is saved in: model.safetensors, config.json and a model card; never pickle."""

import inspect
import json
import math
import tempfile
from copy import deepcopy
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

import safetensors.torch
import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import nn

import torchcaps
from torchcaps.errors import InputError
from torchcaps.models.arguments import SEVERAL, arguments_of, takes_any
from torchcaps.models.folder import HUB_OPTIONS, check_free, download
from torchcaps.models.weights_file import (
    CONFIG,
    WEIGHTS,
    check_header,
    find_weights,
    first_difference,
    first_not_finite,
    load_weights,
    shapes,
)
from torchcaps.plain_numbers import is_number, is_whole, plain_number
from torchcaps.routing.base import Routing
from torchcaps.storage import as_utf8, expand_user, read_json, write_bytes, write_json
from torchcaps.types import Paper

__all__ = ["Pretrained", "read_config"]

WRITTEN_BY = ("architecture", "torchcaps_version")  # what a file is, which nobody can change
NOT_ARGUMENTS = (*WRITTEN_BY, "metadata")
CARD = """---
{{ card_data }}
---

# {{ architecture }}, a model of torchcaps

{{ summary }}

```python
{{ usage }}
```

{{ facts }}

## Training and measured accuracy

{{ training }}

## Settings

```json
{{ settings }}
```

## Published in

{{ papers }}
"""


class Pretrained(
    nn.Module,
    ModelHubMixin,
    library_name="torchcaps",
    license="apache-2.0",
    model_card_template=CARD,
):
    """`save_pretrained`, `from_pretrained` and `push_to_hub`, through huggingface_hub's mixin.

    Only safetensors are read or written, each file atomically. A subclass states `config`, and what
    its card says; tags are keywords of its class statement, as for the mixin.

    Attributes:
        paper: where the architecture was published.
        metadata: a dict that is saved in config.json beside the architecture: what the model was
            trained on and how well it did. Whatever JSON can hold; threshold and border_brightness
            in it are numbers from 0 to 1.
    """

    paper: ClassVar[Paper | None] = None
    metadata: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this model again as it stands now (JSON values).

        Those that it was built with; a subclass puts in their place what can be changed on it.

        Raises:
            InputError: it was changed into something that no arguments describe.
        """
        given = self._hub_mixin_config
        if not isinstance(given, dict):
            return {}
        # The mixin calls what `*args` takes "args", too.
        taken = inspect.signature(type(self)).parameters
        several = {name for name, value in taken.items() if value.kind in SEVERAL}
        return {name: value for name, value in given.items() if name not in several}

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A config.json of an earlier version, as this version would have written it."""
        return values

    def card_usage(self) -> str:
        """Lines of Python that load the model and call it."""
        return 'import torchcaps\n\nmodel = torchcaps.load_model("path/to/this/folder")'

    def card_facts(self) -> dict[str, str]:
        """What the card says of this model, by name."""
        return {"Parameters": f"{sum(p.numel() for p in self.parameters()):,}"}

    def papers(self) -> list[Paper]:
        """Where the architecture, and what it is made of, was published."""
        made_of = [module.paper for module in self.modules() if isinstance(module, Routing)]
        return list(dict.fromkeys(([self.paper] if self.paper else []) + made_of))

    def check_savable(self) -> dict[str, Any]:
        """The config of this model, if a model built from it is this one but for its weights.

        Raises:
            InputError: it is not, or its weights or metadata are such that `load_model` would
                refuse them; the message names what is wrong.
        """
        config = json.loads(json.dumps(self.config, default=plain_number))
        try:
            with torch.device("meta"):
                again = type(self)(**config)
        except (TypeError, ValueError) as error:
            raise InputError(f"this {type(self).__name__} cannot be saved: {error}") from error
        expected, found = shapes(again.state_dict()), shapes(self.state_dict())
        if name := first_difference(expected, found):
            raise InputError(
                f"this {type(self).__name__} cannot be saved: its {name} is "
                f"{found.get(name, 'absent')}, and one built from its settings has "
                f"{expected.get(name, 'none')}; change it back, or make a class of its own for it"
            )
        for module, copy in zip(self.modules(), again.modules()):
            if isinstance(module, Routing) and isinstance(copy, Routing):
                copy.backend = module.backend  # where routing runs is not saved
        for has, built in zip(lines(self), lines(again)):
            if has != built:
                raise InputError(
                    f"this {type(self).__name__} cannot be saved: it has {has.strip()}, and one "
                    f"built from its settings {built.strip()}; change it back, or make a class of "
                    "its own for it"
                )
        if name := first_not_finite(self.state_dict()):
            raise InputError(
                f"this {type(self).__name__} cannot be saved: its {name} holds numbers that are "
                "not finite, with which every answer is wrong: train it anew"
            )
        try:
            check_metadata(self.metadata)
            check_json(self.metadata, "metadata")
        except RecursionError:
            raise InputError(
                f"this {type(self).__name__} cannot be saved: its metadata is nested too deeply"
            ) from None
        except ValueError as error:
            raise InputError(f"this {type(self).__name__} cannot be saved: its {error}") from error
        return dict(config)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Save to a folder; keyword arguments as in huggingface_hub (`push_to_hub`, `repo_id`, …).

        A folder that already holds a model is replaced file by file, each atomically.

        Raises:
            InputError: the model was changed into something that its settings do not describe, or
                that could not be loaded; or the folder holds a run, or a config.json of something
                else. Nothing is written then.
        """
        save_directory = expand_user(save_directory)
        check_free(save_directory)
        self.check_savable()
        if kwargs.get("push_to_hub"):
            return super().save_pretrained(save_directory, **kwargs)
        folder = save_directory
        folder.mkdir(parents=True, exist_ok=True)
        # The mixin deletes config.json before it writes; done aside, nobody sees that moment.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as aside:
            super().save_pretrained(aside, **kwargs)
            for source in sorted(Path(aside).iterdir()):
                write_bytes(folder / source.name, source.read_bytes())
        return None

    def _save_pretrained(self, save_directory: Path) -> None:
        weights = {  # one that two layers share is written under both names
            name: tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in self.state_dict().items()
        }
        safetensors.torch.save_file(weights, save_directory / WEIGHTS)
        write_json(
            save_directory / CONFIG,
            {
                "architecture": type(self).__name__,
                "torchcaps_version": torchcaps.__version__,
                **self.config,
                "metadata": self.metadata,
            },
        )

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README.md of the folder, from the model's class, config and metadata."""
        training = {key.replace("_", " "): value for key, value in self.metadata.items()}
        texts = {
            "architecture": type(self).__name__,
            "summary": (type(self).__doc__ or "").strip().split("\n")[0],
            "usage": self.card_usage(),
            "facts": bullets(self.card_facts()),
            "training": bullets(training) or "Not recorded.",
            "settings": json.dumps(self.config, indent=2, ensure_ascii=False, default=plain_number),
            "papers": "\n".join(f"- {paper}" for paper in self.papers()) or "Not published.",
        }
        card: ModelCard = ModelCard.from_template(
            card_data=self._hub_mixin_info.model_card_data,
            template_str=CARD,
            **{name: as_utf8(text) for name, text in texts.items()},
        )
        return card

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        map_location: str = "cpu",
        **arguments: Any,
    ) -> Self:
        folder = Path(model_id)
        config, weights = read_config(folder), find_weights(folder)
        architecture = config.get("architecture", cls.__name__)
        if architecture != cls.__name__:
            raise InputError(
                f"{model_id} holds a {architecture}, not a {cls.__name__}: "
                f"load it with torchcaps.load_model or {architecture}.from_pretrained"
            )
        known = arguments_of(cls)
        for name in arguments:
            if name in WRITTEN_BY or (name not in known and name not in config):
                raise TypeError(f"from_pretrained() got an unexpected keyword argument {name!r}")
        given = {
            name: value
            for name, value in arguments.items()
            if name not in config or repr(value) != repr(config[name])  # arrays have no one !=
        }
        whole, source = {**config, **given}, f"{model_id}/{CONFIG}"

        def check(values: dict[str, Any]) -> None:
            """Without memory for the weights: a small file must not ask for gigabytes of it."""
            with torch.device("meta"):
                # A routing in them is built, on meta: so a copy of it.
                check_header(cls._from_config(deepcopy(values), source), weights)

        try:
            check(whole)
        except InputError as error:
            if not given:
                raise
            check(config)  # raises where the files are at fault, whatever was given
            raise InputError(
                f"{model_id} cannot be loaded with another {' and '.join(given)} than it was saved "
                f"with ({error.__cause__ or 'its weights have other shapes'}): leave it out, or "
                "make a new model"
            ) from error
        model = cls._from_config(whole, source)
        load_weights(model, weights)
        return model.to(map_location).eval()

    @classmethod
    def _from_config(cls, config: dict[str, Any], source: str) -> Self:
        """The model that a config.json describes, of this or an earlier version."""
        try:
            values = cls.upgraded(config)
            arguments = {k: v for k, v in values.items() if k not in NOT_ARGUMENTS}
            strange = sorted(set(arguments) - set(arguments_of(cls)))
            if strange and not takes_any(cls):
                raise InputError(
                    f"{source} has {strange[0]!r}, which a {cls.__name__} of this version of "
                    "torchcaps does not have: use the version that wrote it"
                )
            check_kinds(cls, arguments)
            model = cls(**arguments)
            if missing := sorted(set(model.config) - set(arguments)):
                raise InputError(
                    f"{source} lacks {missing[0]!r}, which every {cls.__name__} has there: restore "
                    "the file that was saved with the weights"
                )
        except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            if isinstance(error, InputError) and str(error).startswith(source):
                raise
            raise InputError(
                f"{source} does not describe a {cls.__name__} ({error}): "
                "restore the file that was saved with the weights"
            ) from error
        model.metadata = config.get("metadata", {})
        try:
            check_metadata(model.metadata)
        except ValueError as error:
            raise InputError(f"{source}: {error}: restore the file") from error
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load from a folder written by `save_pretrained`, or from the Hugging Face Hub.

        Args:
            pretrained_model_name_or_path: a folder, or a repository name on the Hub.
            **kwargs: `map_location` (a device; default "cpu") and huggingface_hub's own.

        Returns:
            The model, in evaluation mode.

        Raises:
            InputError: a file that is missing, damaged, a pickle, or of another architecture.
        """
        folder = expand_user(pretrained_model_name_or_path)
        hub = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
        if not folder.is_dir():
            folder = download(str(pretrained_model_name_or_path), hub)
        return cls._from_pretrained(model_id=str(folder), **kwargs)


def lines(module: nn.Module) -> list[str]:
    """What a module holds, line by line, but for submodules that are None."""
    listed = nn.Module.__repr__(module).splitlines()
    return [line for line in listed if not line.endswith("): None")]


def bullets(facts: dict[str, Any]) -> str:
    """A Markdown list of named facts."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder, checked to be one of ours."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {CONFIG}: name a folder written by save_pretrained "
            "(in a training run, its folder 'model')"
        )
    try:
        config = read_json(path)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}): restore it") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise InputError(
            f'{path} does not name an "architecture", as that of a saved model does: name a folder '
            "written by save_pretrained, or that of a finished run"
        )
    return config


def check_metadata(metadata: object) -> None:
    """Raise a ValueError where what is said of the training is no JSON object, or what must be a
    share in it is none."""
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata must be an object (a dict), got {type_name(metadata)}")
    for name in ("border_brightness", "threshold"):
        share = metadata.get(name, 0)
        if not is_number(share) or not 0 <= share <= 1:
            raise ValueError(
                f"metadata must be an object, and {name} in it a number from 0 to 1, got {share!r}"
            )


def check_json(value: object, where: str) -> None:
    """Raise a ValueError that names the place where JSON would not give back what is there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(
                    f"{where} has the key {key!r}, which JSON would turn into a text: write it as "
                    "one"
                )
            check_json(inner, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            check_json(inner, f"{where}[{number}]")
    elif isinstance(value, Real) and not is_whole(value) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, which JSON cannot hold: give None in its place")
    elif not (value is None or isinstance(value, str | Real)):
        raise ValueError(
            f"{where} is of the type {type_name(value)}, which JSON cannot hold: give numbers, "
            "texts, lists and dicts of them"
        )


def type_name(value: object) -> str:
    """What to call the type of a value: "set", "numpy.ndarray"."""
    return f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")


def check_kinds(architecture: type, arguments: dict[str, Any]) -> None:
    """Raise where a switch is not a bool, or something else is one: "no" would count as true."""
    for name, parameter in arguments_of(architecture).items():
        switch = isinstance(parameter.default, bool)
        if name in arguments and isinstance(arguments[name], bool) != switch:
            raise TypeError(f"{name} is {arguments[name]!r}")
