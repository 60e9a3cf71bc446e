"""What a class is built with."""

import inspect

__all__ = ["SEVERAL", "arguments_of"]

SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def arguments_of(kind: type) -> dict[str, inspect.Parameter]:
    """The arguments of a class by name; with `**kwargs`, which it hands on, those of its base too.

    Example:
        >>> class Base:
        ...     def __init__(self, size=3): ...
        >>> class Own(Base):
        ...     def __init__(self, *, deep, **kwargs): ...
        >>> list(arguments_of(Own))
        ['size', 'deep']
    """
    taken = inspect.signature(kind).parameters
    own = {name: value for name, value in taken.items() if value.kind not in SEVERAL}
    if kind.__base__ and any(value.kind is value.VAR_KEYWORD for value in taken.values()):
        return {**arguments_of(kind.__base__), **own}
    return own
