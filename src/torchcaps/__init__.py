"""Capsule networks that are correct, fast and visible: routing by agreement for PyTorch.

Names are imported when first used, so that `import torchcaps` costs nothing and the command line
can answer `--help` without loading torch.
"""

from typing import TYPE_CHECKING

from torchcaps.lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from torchcaps.errors import InputError
    from torchcaps.functional import agreement, squash
    from torchcaps.layers import (
        ClassCaps,
        ClusterCaps,
        ConvCaps,
        ConvolvedCaps,
        DeconvCaps,
        DenseCaps,
        InterestCaps,
        PrimaryCaps,
        SelfAttentiveInterests,
    )
    from torchcaps.losses import margin_loss, reconstruction_loss
    from torchcaps.models import (
        BaselineCNN,
        CapsNet,
        Classifier,
        Decoder,
        ModelOutput,
        create_model,
        list_models,
        list_pretrained,
        load_model,
        load_pretrained,
    )
    from torchcaps.routing import (
        AttentionRouting,
        DynamicRouting,
        EMRouting,
        Routing,
        RoutingTrace,
        create_routing,
        dynamic_routing,
        dynamic_routing_trace,
        list_routings,
        register_routing,
    )
    from torchcaps.types import Capsules
    from torchcaps.votes import LinearVotes, MatrixVotes, Votes, Windows, WindowVotes

_HOME = {
    "torchcaps.errors": ["InputError"],
    "torchcaps.functional": ["agreement", "squash"],
    "torchcaps.layers": [
        "ClassCaps",
        "ClusterCaps",
        "ConvCaps",
        "ConvolvedCaps",
        "DeconvCaps",
        "DenseCaps",
        "InterestCaps",
        "PrimaryCaps",
        "SelfAttentiveInterests",
    ],
    "torchcaps.losses": ["margin_loss", "reconstruction_loss"],
    "torchcaps.models": [
        "BaselineCNN",
        "CapsNet",
        "Classifier",
        "Decoder",
        "ModelOutput",
        "SegCaps",
        "create_model",
        "list_models",
        "list_pretrained",
        "load_model",
        "load_pretrained",
    ],
    "torchcaps.routing": [
        "AttentionRouting",
        "DynamicRouting",
        "EMRouting",
        "Routing",
        "RoutingTrace",
        "create_routing",
        "dynamic_routing",
        "dynamic_routing_trace",
        "list_routings",
        "register_routing",
    ],
    "torchcaps.types": ["Capsules"],
    "torchcaps.votes": ["LinearVotes", "MatrixVotes", "Votes", "WindowVotes", "Windows"],
}

__all__ = [
    "AttentionRouting",
    "BaselineCNN",
    "CapsNet",
    "Capsules",
    "ClassCaps",
    "Classifier",
    "ClusterCaps",
    "ConvCaps",
    "ConvolvedCaps",
    "Decoder",
    "DeconvCaps",
    "DenseCaps",
    "DynamicRouting",
    "EMRouting",
    "InputError",
    "InterestCaps",
    "LinearVotes",
    "MatrixVotes",
    "ModelOutput",
    "PrimaryCaps",
    "Routing",
    "RoutingTrace",
    "SegCaps",
    "SelfAttentiveInterests",
    "Votes",
    "WindowVotes",
    "Windows",
    "agreement",
    "create_model",
    "create_routing",
    "dynamic_routing",
    "dynamic_routing_trace",
    "list_models",
    "list_pretrained",
    "list_routings",
    "load_model",
    "load_pretrained",
    "margin_loss",
    "reconstruction_loss",
    "register_routing",
    "squash",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
