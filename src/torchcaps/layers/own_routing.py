"""The routing of a layer, which no other layer has."""

from collections.abc import Mapping
from typing import Any

from torchcaps.routing.base import Routing
from torchcaps.routing.registry import create_routing

__all__ = ["own_routing"]


def own_routing(routing: str | Mapping[str, Any] | Routing[Any, Any]) -> Routing[Any, Any]:
    """A routing by name, by name and options, or as it is, to be built for one layer.

    Raises:
        ValueError: it has its parameters already; to build it again would take them from the layer
            that trains them.
    """
    created = create_routing(routing)
    if any(True for _ in created.parameters()):
        raise ValueError(
            f"this {type(created).__name__} has its parameters already, from another layer or from "
            "build(): give every layer a routing of its own, or its name"
        )
    return created
