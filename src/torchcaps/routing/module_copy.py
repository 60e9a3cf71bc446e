"""A module of its own that shares all tensors with another."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from torch import Tensor, nn

__all__ = ["give_back", "module_copy", "named_tensors"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def module_copy(module: ModuleT, tensors: Mapping[Tensor, Tensor] | None = None) -> ModuleT:
    """A copy of a module and its children, which have options and a place for tensors of their own.

    What is done to the copy, the other does not see; so several threads may each work with one.
    (`torch.func.functional_call` puts the tensors into the module itself while it runs.) Hooks of
    the module are hooks of the copy, which is what they are called with. What the copy sets is
    lost, but for buffers that `give_back` gives to the module.

    Args:
        module: of which the copy is made; tensors are not copied.
        tensors: what to put in the place of some of its parameters, buffers and other tensors.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> same = module_copy(layer, {layer.bias: Tensor([1, 1, 1])})
        >>> same.weight is layer.weight, same.bias.tolist()
        (True, [1.0, 1.0, 1.0])
    """
    found = {} if tensors is None else tensors
    same = object.__new__(type(module))  # `copy` would ask classes that have ways of their own
    vars(same).update(
        (name, found.get(value, value) if isinstance(value, Tensor) else value)
        for name, value in vars(module).items()
        if name != "_compiled_call_impl"  # which calls the module
    )
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


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a module and its children: parameters, buffers, and what else is one.

    Pruning and weight norms of the older kind, replicas and hypernetworks keep tensors that depend
    on others in plain attributes.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> layer.scale = layer.bias.exp()
        >>> [name for name, _ in named_tensors(layer)]
        ['scale', 'weight', 'bias']
    """
    for prefix, each in module.named_modules():
        for held in (vars(each), vars(each)["_parameters"], vars(each)["_buffers"]):
            for name, value in held.items():
                if isinstance(value, Tensor):
                    yield f"{prefix}.{name}".removeprefix("."), value


def give_back(
    same: nn.Module, module: nn.Module, tensors: Mapping[Tensor, Tensor] | None = None
) -> None:
    """Let a module have the buffers that its copy has set anew: running statistics, say.

    Args:
        same: what `module_copy` made of `module` and `tensors`.
        module: that it was made of.
        tensors: as given there; these are not given back.
    """
    found = {} if tensors is None else tensors
    for name, buffer in vars(module)["_buffers"].items():
        new = vars(same)["_buffers"].get(name)
        if new is not buffer and (buffer is None or buffer not in found):
            vars(module)["_buffers"][name] = new
    for name, child in module._modules.items():
        other = vars(same)["_modules"].get(name)
        if child is not None and other is not None:
            give_back(other, child, found)
