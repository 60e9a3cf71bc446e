"""Capsule networks that are correct, fast and visible: routing by agreement for PyTorch.

Names are imported when first used, so that `import torchcaps` costs nothing and the command line
can answer `--help` without loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from torchcaps.errors import InputError
    from torchcaps.functional import agreement, margin_loss, reconstruction_loss, squash
    from torchcaps.layers import DenseCaps, PrimaryCaps
    from torchcaps.models import (
        BaselineCNN,
        CapsNet,
        Classifier,
        Decoder,
        ModelOutput,
        create_model,
        list_models,
        load_model,
    )
    from torchcaps.routing import (
        DynamicRouting,
        RoutingTrace,
        dynamic_routing,
        dynamic_routing_trace,
    )
    from torchcaps.types import Capsules, LinearVotes, Votes

_HOME = {
    "torchcaps.errors": ["InputError"],
    "torchcaps.functional": ["agreement", "margin_loss", "reconstruction_loss", "squash"],
    "torchcaps.layers": ["DenseCaps", "PrimaryCaps"],
    "torchcaps.models": [
        "BaselineCNN",
        "CapsNet",
        "Classifier",
        "Decoder",
        "ModelOutput",
        "create_model",
        "list_models",
        "load_model",
    ],
    "torchcaps.routing": [
        "DynamicRouting",
        "RoutingTrace",
        "dynamic_routing",
        "dynamic_routing_trace",
    ],
    "torchcaps.types": ["Capsules", "LinearVotes", "Votes"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "BaselineCNN",
    "CapsNet",
    "Capsules",
    "Classifier",
    "Decoder",
    "DenseCaps",
    "DynamicRouting",
    "InputError",
    "LinearVotes",
    "ModelOutput",
    "PrimaryCaps",
    "RoutingTrace",
    "Votes",
    "agreement",
    "create_model",
    "dynamic_routing",
    "dynamic_routing_trace",
    "list_models",
    "load_model",
    "margin_loss",
    "reconstruction_loss",
    "squash",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'torchcaps' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
