"""What is compared: every routing that fits the default network, uniform coupling, and a CNN."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torchcaps.routing.registry import ROUTINGS

__all__ = ["CNN", "ENTRANTS", "LEFT_OUT", "UNIFORM", "Entrant"]

UNIFORM, CNN = "uniform", "cnn"
# Why a routing is not compared on the default network.
LEFT_OUT = {"deepcaps": "of capsules without a map it is `locally_constrained`"}


class Entrant(NamedTuple):
    """A network that is compared: what it is called, and the options of its training."""

    label: str
    options: Mapping[str, Any]


def routings() -> dict[str, Entrant]:
    """Those that come with the package; an experiment may have registered others."""
    found = {}
    for name, kind in ROUTINGS.items():
        if kind.__module__.startswith("torchcaps.") and name not in LEFT_OUT:
            found[name] = Entrant(f"{name} ({kind.paper.year})", {"routing": name})
    return found


ENTRANTS: Mapping[str, Entrant] = {
    CNN: Entrant("CNN, no capsules", {}),
    UNIFORM: Entrant("uniform coupling", {"routing": "dynamic", "iterations": 1}),
    **routings(),
}
