"""The folder a model is saved in: model.safetensors, config.json and a model card; never pickle."""

import inspect
import json
import tempfile
from pathlib import Path
from typing import Any, Self

import safetensors.torch
from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from safetensors import SafetensorError
from torch import nn

import torchcaps
from torchcaps.errors import InputError
from torchcaps.storage import write_bytes, write_json

__all__ = ["Pretrained", "read_config"]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = """---
{{ card_data }}
---

# {{ architecture }}, a capsule-network model of torchcaps

{{ summary }}

```python
import torchcaps

model = torchcaps.load_model("path/to/this/folder")
pose, activation, reconstruction = model(images)  # images {{ images }} in [0, 1]
```

- Classes: {{ classes }}
- Parameters: {{ parameters }}
- Architecture: Sabour, Frosst, Hinton, *Dynamic Routing Between Capsules* (2017)

## Training and measured accuracy

{{ training }}

## Settings

```json
{{ settings }}
```
"""


class Pretrained(
    nn.Module,
    ModelHubMixin,
    library_name="torchcaps",
    license="apache-2.0",
    pipeline_tag="image-classification",
    tags=["capsule-network", "routing-by-agreement"],
    paper_url="https://arxiv.org/abs/1710.09829",
    model_card_template=CARD,
):
    """`save_pretrained`, `from_pretrained` and `push_to_hub`, through huggingface_hub's mixin.

    Only safetensors are read or written, each file atomically.
    """

    image_size: tuple[int, int]
    channels: int
    class_names: tuple[str, ...]
    metadata: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this architecture again (JSON values)."""
        arguments = self._hub_mixin_config
        return dict(arguments) if isinstance(arguments, dict) else {}

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Save to a folder; keyword arguments as in huggingface_hub (`push_to_hub`, `repo_id`, …).

        A folder that already holds a model is replaced file by file, each atomically.
        """
        if kwargs.get("push_to_hub"):
            return super().save_pretrained(save_directory, **kwargs)
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        # The mixin deletes config.json before it writes; done aside, nobody sees that moment.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as aside:
            super().save_pretrained(aside, **kwargs)
            for source in sorted(Path(aside).iterdir()):
                write_bytes(folder / source.name, source.read_bytes())
        return None

    def _save_pretrained(self, save_directory: Path) -> None:
        safetensors.torch.save_model(self, str(save_directory / WEIGHTS))
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
        """The README.md of the folder, from the model's own config and metadata."""
        height, width = self.image_size
        rows = [f"- {key.replace('_', ' ')}: {value}" for key, value in self.metadata.items()]
        card: ModelCard = ModelCard.from_template(
            card_data=self._hub_mixin_info.model_card_data,
            template_str=CARD,
            architecture=type(self).__name__,
            summary=(type(self).__doc__ or "").strip().split("\n")[0],
            images=f"[B, {self.channels}, {height}, {width}]",
            classes=", ".join(self.class_names),
            parameters=f"{sum(p.numel() for p in self.parameters()):,}",
            training="\n".join(rows) or "Not recorded.",
            settings=json.dumps(self.config, indent=2, ensure_ascii=False),
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
        config: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Self:
        folder = Path(model_id)
        if folder.is_dir():
            config = read_config(folder)
            weights = find_weights(folder)
        else:
            weights = Path(
                hf_hub_download(
                    repo_id=model_id,
                    filename=WEIGHTS,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                )
            )
        architecture = (config or {}).get("architecture", cls.__name__)
        if architecture != cls.__name__:
            raise InputError(
                f"{model_id} holds a {architecture}, not a {cls.__name__}: "
                f"load it with torchcaps.load_model or {architecture}.from_pretrained"
            )
        for name in arguments:
            if name not in inspect.signature(cls).parameters:
                raise TypeError(f"from_pretrained() got an unexpected keyword argument {name!r}")
        try:
            check_kinds(cls, arguments)
            model = cls(**arguments)
        except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            raise InputError(
                f"{model_id}/{CONFIG} does not describe a {cls.__name__} ({error}): "
                "restore the file that was saved with the weights"
            ) from error
        model.metadata = (config or {}).get("metadata", {})
        load_weights(model, weights)
        return model.to(map_location).eval()

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
        if Path(pretrained_model_name_or_path).is_dir():
            read_config(Path(pretrained_model_name_or_path))  # before the mixin, for its message
        return super().from_pretrained(str(pretrained_model_name_or_path), **kwargs)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder, checked to be one of ours."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {CONFIG}: name a folder written by save_pretrained "
            "(in a training run, its folder 'model')"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}): restore it") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise InputError(
            f'{path} does not name an "architecture": it was not written by torchcaps; '
            "name a folder written by save_pretrained"
        )
    return config


def check_kinds(architecture: type, arguments: dict[str, Any]) -> None:
    """Raise where a switch is not a bool, or something else is one: "no" would count as true."""
    for name, parameter in inspect.signature(architecture).parameters.items():
        switch = isinstance(parameter.default, bool)
        if name in arguments and isinstance(arguments[name], bool) != switch:
            raise TypeError(f"{name} is {arguments[name]!r}")


def find_weights(folder: Path) -> Path:
    """The safetensors file of a model folder; pickles beside it are refused by name."""
    path = folder / WEIGHTS
    if path.is_file():
        return path
    pickles = sorted(
        p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".pkl"}
    )
    if pickles:
        raise InputError(
            f"{folder / pickles[0]} is a pickle, which can run code of its author when read: "
            f"torchcaps reads only {WEIGHTS}; ask for the model in that format"
        )
    raise InputError(f"{folder} holds no {WEIGHTS}: the model in it is incomplete, save it again")


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a safetensors file that must fit it exactly."""
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}): it is truncated, damaged, or of "
            "another format; copy it again from its source"
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        name = next(n for n in {**expected, **found} if expected.get(n) != found.get(n))
        raise InputError(
            f"{path} does not fit the {type(model).__name__} of {CONFIG}: {name} should be "
            f"{expected.get(name, 'absent')} and is {found.get(name, 'absent')}; "
            "the two files are not from the same model"
        )
    model.load_state_dict(tensors)
