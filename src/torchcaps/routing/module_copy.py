"""A module of its own that shares all tensors with another."""

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

__all__ = ["module_copy"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def module_copy(module: ModuleT, tensors: Mapping[Tensor, Tensor] | None = None) -> ModuleT:
    """A copy of a module and its children, which have options and a place for tensors of their own.

    What is done to the copy, the other does not see; so several threads may each work with one.
    (`torch.func.functional_call` puts the tensors into the module itself while it runs.)

    Args:
        module: of which the copy is made; tensors are not copied.
        tensors: what to put in the place of some of its parameters and buffers.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> same = module_copy(layer, {layer.bias: layer.bias.detach() + 1})
        >>> same.weight is layer.weight, (same.bias - layer.bias).tolist()
        (True, [1.0, 1.0, 1.0])
    """
    found = {} if tensors is None else tensors
    same = copy.copy(module)
    for kind in ("_parameters", "_buffers"):
        own = {
            name: tensor if tensor is None else found.get(tensor, tensor)
            for name, tensor in vars(module)[kind].items()
        }
        vars(same)[kind] = own
    children = module._modules.items()
    vars(same)["_modules"] = {
        name: None if child is None else module_copy(child, found) for name, child in children
    }
    return same
