"""What a class is built with."""

import inspect

__all__ = ["SEVERAL", "arguments_of", "takes_any"]

SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def arguments_of(kind: type) -> dict[str, inspect.Parameter]:
    """The arguments of a class by name; with `**kwargs`, which it hands on, those of the next too.

    Example:
        >>> class Base:
        ...     def __init__(self, size=3): ...
        >>> class Beside: ...
        >>> class Own(Beside, Base):
        ...     def __init__(self, *, deep, **kwargs): ...
        >>> list(arguments_of(Own))
        ['size', 'deep']
    """
    found = dict[str, inspect.Parameter]()
    for one in kind.__mro__:
        if "__init__" not in vars(one):
            continue
        _, *taken = inspect.signature(one.__init__).parameters.values()  # type: ignore[misc]
        found = {value.name: value for value in taken if value.kind not in SEVERAL} | found
        if not any(value.kind is value.VAR_KEYWORD for value in taken):
            break
    return found


def takes_any(kind: type) -> bool:
    """Whether a class has `**kwargs`, from which it may take what nobody can know."""
    taken = inspect.signature(kind).parameters.values()
    return any(value.kind is value.VAR_KEYWORD for value in taken)
