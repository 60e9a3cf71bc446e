"""Routing algorithms, one a file: its reference loop, its public function, its module."""

from torchcaps.routing.dynamic import (
    DynamicRouting,
    RoutingTrace,
    dynamic_routing,
    dynamic_routing_trace,
)

__all__ = ["DynamicRouting", "RoutingTrace", "dynamic_routing", "dynamic_routing_trace"]
