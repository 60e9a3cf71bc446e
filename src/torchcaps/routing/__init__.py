"""Routing algorithms, one a file; what they share; and the registry of their names."""

from typing import TYPE_CHECKING

from torchcaps.lazy import lazy_names

if TYPE_CHECKING:
    from torchcaps.routing.ar_capsnet import ARCapsNetRouting
    from torchcaps.routing.attention import AttentionRouting
    from torchcaps.routing.base import Routing
    from torchcaps.routing.deepcaps import DeepCapsRouting
    from torchcaps.routing.dynamic import DynamicRouting, dynamic_routing, dynamic_routing_trace
    from torchcaps.routing.em import EMRouting
    from torchcaps.routing.law import Law
    from torchcaps.routing.locally_constrained import LocallyConstrainedRouting
    from torchcaps.routing.registry import (
        ROUTINGS,
        create_routing,
        list_routings,
        register_routing,
        routing_config,
    )
    from torchcaps.routing.tile import Tile
    from torchcaps.routing.trace import RoutingTrace

__all__ = [
    "ROUTINGS",
    "ARCapsNetRouting",
    "AttentionRouting",
    "DeepCapsRouting",
    "DynamicRouting",
    "EMRouting",
    "Law",
    "LocallyConstrainedRouting",
    "Routing",
    "RoutingTrace",
    "Tile",
    "create_routing",
    "dynamic_routing",
    "dynamic_routing_trace",
    "list_routings",
    "register_routing",
    "routing_config",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "torchcaps.routing.ar_capsnet": ["ARCapsNetRouting"],
        "torchcaps.routing.attention": ["AttentionRouting"],
        "torchcaps.routing.base": ["Routing"],
        "torchcaps.routing.deepcaps": ["DeepCapsRouting"],
        "torchcaps.routing.dynamic": [
            "DynamicRouting",
            "dynamic_routing",
            "dynamic_routing_trace",
        ],
        "torchcaps.routing.em": ["EMRouting"],
        "torchcaps.routing.law": ["Law"],
        "torchcaps.routing.locally_constrained": ["LocallyConstrainedRouting"],
        "torchcaps.routing.registry": [
            "ROUTINGS",
            "create_routing",
            "list_routings",
            "register_routing",
            "routing_config",
        ],
        "torchcaps.routing.tile": ["Tile"],
        "torchcaps.routing.trace": ["RoutingTrace"],
    },
)
