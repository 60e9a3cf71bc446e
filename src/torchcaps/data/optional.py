"""Packages that only some readers need."""

import importlib
from types import ModuleType

from torchcaps.errors import InputError

__all__ = ["MissingPackage", "require"]


class MissingPackage(InputError, ImportError):
    """A package of an optional extra is not installed."""


def require(module: str, package: str, purpose: str, extra: str = "train") -> ModuleType:
    """Import `module`, or say which extra brings it.

    Args:
        module: what to import, "PIL.Image".
        package: what pip calls it, "pillow".
        purpose: what it is needed for; begins the sentence.
        extra: the optional extra of this package that brings it.

    Raises:
        MissingPackage: it cannot be imported.

    Example:
        >>> require("json", "json", "This example").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"{purpose} needs {package}, which cannot be imported ({error}); "
            f'install it with: pip install "torchcaps[{extra}]"'
        ) from error
