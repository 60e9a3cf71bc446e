"""Routing algorithms by name. Imports no torch before one is asked for: `--help` is quick."""

import difflib
import inspect
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from torchcaps.errors import InputError
from torchcaps.plain_numbers import is_number, plain_number

if TYPE_CHECKING:
    from torchcaps.routing.base import Routing

__all__ = [
    "ROUTINGS",
    "create_routing",
    "list_routings",
    "register_routing",
    "routing_config",
]

RoutingType = TypeVar("RoutingType", bound="type[Routing[Any, Any]]")


class Registry(Mapping[str, "type[Routing[Any, Any]]"]):
    """Name → class; a row is a class, or where it is, as "module:class"."""

    def __init__(self, rows: "dict[str, str | type[Routing[Any, Any]]]") -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> "type[Routing[Any, Any]]":
        row = self._rows[name]
        if isinstance(row, str):
            module, _, kind = row.partition(":")
            row = self._rows[name] = getattr(import_module(module), kind)
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, name: str, kind: "type[Routing[Any, Any]]") -> None:
        """A new row."""
        self._rows[name] = kind


ROUTINGS = Registry(
    {
        "ar_capsnet": "torchcaps.routing.ar_capsnet:ARCapsNetRouting",
        "attention": "torchcaps.routing.attention:AttentionRouting",
        "deepcaps": "torchcaps.routing.deepcaps:DeepCapsRouting",
        "dynamic": "torchcaps.routing.dynamic:DynamicRouting",
        "em": "torchcaps.routing.em:EMRouting",
        "locally_constrained": "torchcaps.routing.locally_constrained:LocallyConstrainedRouting",
        "group_equivariant": "torchcaps.routing.group_equivariant:GroupEquivariantRouting",
        "heinsen2019": "torchcaps.routing.heinsen2019:Heinsen2019Routing",
        "heinsen2022": "torchcaps.routing.heinsen2022:Heinsen2022Routing",
        "interests": "torchcaps.routing.interests:InterestRouting",
        "kde": "torchcaps.routing.kde:KDERouting",
        "self_attention": "torchcaps.routing.self_attention:SelfAttentionRouting",
        "self_routing": "torchcaps.routing.self_routing:SelfRouting",
        "variational": "torchcaps.routing.variational:VariationalRouting",
    }
)


def list_routings() -> list[str]:
    """The names that `create_routing` takes.

    Example:
        >>> {"attention", "dynamic", "em"} <= set(list_routings())
        True
    """
    return list(ROUTINGS)


def create_routing(
    routing: "str | Mapping[str, Any] | Routing[Any, Any]", **options: Any
) -> "Routing[Any, Any]":
    """A routing from its name and options, as layers and models take them.

    Args:
        routing: a name ("em"), a dict with the name and options ({"name": "em", "iterations": 3}),
            or a `Routing`, which is given back as it is.
        **options: of the algorithm, over those in the dict.

    Raises:
        InputError: an unknown name or option, answered with the nearest; an option out of range.
        TypeError: something else than these, or two names.

    Example:
        >>> create_routing({"name": "kde", "iterations": 2}, detach=True)
        KDERouting(iterations=2, detach=True, backend='auto')
    """
    if isinstance(routing, str):
        routing = {"name": routing}
    if not isinstance(routing, Mapping):
        from torchcaps.routing.base import Routing

        if not isinstance(routing, Routing):
            raise TypeError(
                "routing must be a name, a dict with a name, or a Routing such as "
                f"DynamicRouting(3), got {type(routing).__name__}"
            )
        if options:
            raise TypeError(
                f"{type(routing).__name__} has its options already: set "
                f"{', '.join(options)} on it, or pass its name"
            )
        return routing
    if "name" in routing and "name" in options:
        raise TypeError(
            f"the routing has two names, {routing['name']!r} and {options['name']!r}: leave out one"
        )
    given: dict[str, Any] = {
        option: plain_number(value) if is_number(value) else value
        for option, value in {**routing, **options}.items()
    }
    if "name" not in given:
        raise InputError(
            f'the routing {json.dumps(given, default=str)} has no "name": write an object such as '
            '{"name": "em", "iterations": 3}'
        )
    name = given.pop("name")
    kind = find_routing(name)
    known = inspect.signature(kind).parameters
    for option in given:
        if option not in known:
            raise InputError(
                f"{name} routing has no option {option!r}: {nearest(option, known)}it has "
                f"{', '.join(known)}"
            )
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} routing: {error}") from error


def find_routing(name: object) -> "type[Routing[Any, Any]]":
    """The class of a name.

    Raises:
        InputError: there is none; answered with the nearest.
    """
    if not isinstance(name, str) or name not in ROUTINGS:
        raise InputError(
            f"no routing is called {name!r}: {nearest(name, ROUTINGS)}known are "
            f"{', '.join(ROUTINGS)}"
        )
    return ROUTINGS[name]


def routing_config(routing: "Routing[Any, Any]") -> dict[str, Any]:
    """Name and options of a routing as they stand, in the form that `create_routing` takes.

    Raises:
        InputError: one that `create_routing` could not make again from JSON: its class is not in
            the registry, or an option of it is out of range.

    Example:
        >>> routing_config(create_routing("dynamic", iterations=5))["iterations"]
        5
    """
    kind = type(routing)
    if ROUTINGS.get(kind.name) is not kind:
        raise InputError(
            f"a routing of the class {kind.__name__} cannot be saved, since no name stands for it: "
            "give the class a name of its own and register it with torchcaps.register_routing"
        )
    config = {"name": kind.name, **routing.options()}
    try:
        plain: dict[str, Any] = json.loads(
            json.dumps(config, allow_nan=False, default=plain_number)
        )
        create_routing(plain)
    except (TypeError, ValueError) as error:
        raise InputError(f"the routing {routing!r} cannot be saved: {error}") from error
    return plain


def register_routing(kind: RoutingType) -> RoutingType:
    """Add a routing class to the registry, under its `name`; can decorate the class.

    Models with it can then be saved, and loaded wherever the class has been registered before.

    Raises:
        ValueError: it has no name of its own, or another class has that name.

    Example:
        >>> from torchcaps.routing import DynamicRouting
        >>> @register_routing
        ... class Uniform(DynamicRouting):
        ...     name = "uniform"
        ...     def score(self, tile, state):
        ...         return self.start(tile)
        >>> "uniform" in list_routings()
        True
    """
    name = vars(kind).get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f'{kind.__name__} needs a name of its own: name = "…" in its body')
    if name in ROUTINGS and ROUTINGS[name] is not kind:
        raise ValueError(f"the name {name!r} is taken by {ROUTINGS[name].__name__}")
    ROUTINGS.add(name, kind)
    return kind


def nearest(name: object, known: Mapping[str, object]) -> str:
    """A hint at the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]}? " if near else ""
