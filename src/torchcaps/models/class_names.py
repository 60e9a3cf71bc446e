"""The names of classes: a list, whose order is that of the classes' numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["names_in_order"]


def names_in_order(names: Iterable[Any]) -> list[Any]:
    """Names from anything that holds them in an order; what they are is not looked at.

    Raises:
        TypeError: a set has no order, a dict may mean another one, a string is one name.

    Example:
        >>> names_in_order(("cat", "dog"))
        ['cat', 'dog']
    """
    if isinstance(names, str):
        raise TypeError(f"class_names is the single string {names!r}; expected a list of names")
    try:
        if not isinstance(names, (bytes, Mapping, set, frozenset)):
            return list(names)
    except TypeError:  # a number, None
        pass
    raise TypeError(
        f"class_names is of the type {type(names).__name__}; expected a list of names, in the "
        "order of the numbers of the classes"
    )
