"""Layers that are routed at the same time, as in inverted dot-product attention."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchcaps.routing.attention import AttentionRouting
from torchcaps.routing.module_copy import module_copy
from torchcaps.types import Capsules, check_iterations

__all__ = ["route_concurrently"]

ONE_AT_A_TIME = threading.RLock()


def route_concurrently(
    layers: Sequence[nn.Module], capsules: Capsules | Tensor, iterations: int = 2
) -> list[Capsules]:
    """Route a stack of layers by attention, all of them in every iteration.

    In the first iteration each layer takes the first step, on what the layer below has just given.
    In the others all layers step at once: on what the layer below gave in the iteration before, and
    from the poses that they had then. Routing one layer after the other is calling them in turn.

    Args:
        layers: `DenseCaps` or `ConvCaps` with the routing "attention", from the lowest up. Their
            own number of iterations is not looked at.
        capsules: what the first of them takes.
        iterations: r ≥ 1; with 1 the order makes no difference.

    Returns:
        The capsules of every layer after the last iteration.

    Raises:
        TypeError: a layer that does not route by attention. ValueError: no layers.

    Reference: Tsai, Srivastava, Goh, Salakhutdinov (2020), *Capsules with Inverted Dot-Product
    Attention Routing*, ICLR, Procedure 2 (concurrent). All votes of a layer are held.

    Example:
        >>> import torch
        >>> from torchcaps import DenseCaps
        >>> layers = [DenseCaps(6, 4, 5, 8, "attention"), DenseCaps(5, 8, 3, 16, "attention")]
        >>> [c.pose.shape[1:] for c in route_concurrently(layers, torch.randn(2, 6, 4), 3)]
        [torch.Size([5, 8]), torch.Size([3, 16])]
    """
    check_iterations(iterations)
    if not layers:
        raise ValueError("layers must have at least one layer")
    for layer in layers:
        routing = getattr(layer, "routing", None)
        if not isinstance(routing, AttentionRouting):
            raise TypeError(
                "layers must route by attention to be routed at the same time, "
                f"got {type(layer).__name__} with {type(routing).__name__}"
            )
    given: list[Capsules] = []
    poses: list[Tensor] = []
    for layer in layers:
        result, pose = step(layer, given[-1] if given else capsules, None)
        given.append(result)
        poses.append(pose)
    for _ in range(iterations - 1):
        inputs = [capsules, *given[:-1]]
        results = [step(*each) for each in zip(layers, inputs, poses, strict=True)]
        given, poses = [result for result, _ in results], [pose for _, pose in results]
    return given


def step(
    layer: nn.Module, capsules: Capsules | Tensor, pose: Tensor | None
) -> tuple[Capsules, Tensor]:
    """One iteration of a layer: its capsules, and their poses as its routing has them."""
    routing = layer.routing
    assert isinstance(routing, AttentionRouting)
    if torch.compiler.is_compiling():  # by one thread; and it does not follow the copies
        return step_in_place(layer, routing, capsules, pose)
    if any(is_hooked(module) for module in layer.modules()):
        with ONE_AT_A_TIME:
            return step_in_place(layer, routing, capsules, pose)
    once = routing.one_step(pose)
    same = module_copy(layer)  # other threads may route by the layer itself
    same.routing = once
    result: Capsules = same(capsules)
    assert once.stepped is not None
    return result, once.stepped[-1]


def is_hooked(module: nn.Module) -> bool:
    """Whether somebody looks at this very module when it is called, or calls it in another way."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return "forward" in vars(module) or any(vars(module)[kind] for kind in kinds)


def step_in_place(
    layer: nn.Module, routing: AttentionRouting, capsules: Capsules | Tensor, pose: Tensor | None
) -> tuple[Capsules, Tensor]:
    """The same by the layer itself, whose routing is then what it was."""
    before = routing.iterations, routing.backend
    routing.iterations, routing.backend = 1, "reference"
    routing.previous, routing.stepped = pose, []
    try:
        result: Capsules = layer(capsules)
        return result, routing.stepped[-1]
    finally:
        routing.iterations, routing.backend = before
        routing.previous = routing.stepped = None
