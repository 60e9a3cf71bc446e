"""What every capsule layer of a network did with some images."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torchcaps.routing.base import Routing
from torchcaps.routing.trace import RoutingTrace
from torchcaps.types import Capsules

__all__ = ["trace_layers"]


def trace_layers(model: nn.Module, *inputs: Tensor) -> dict[str, Capsules | RoutingTrace]:
    """Run a network, and keep what its capsule layers did.

    A capsule layer is a module that returns `Capsules` and holds no other that does. What routes is
    named after the layer around it: "classes" for the module "classes.routing". A layer that runs
    again gets a number: "classes", "classes 2".

    Args:
        model: any module.
        *inputs: of its forward pass.

    Returns:
        Name → `RoutingTrace` of a layer that routes, `Capsules` of one that does not, in the order
        in which they ran.

    Example:
        >>> import torch
        >>> from torchcaps import DenseCaps
        >>> model = nn.Sequential(DenseCaps(6, 4, 5, 4), DenseCaps(5, 4, 2, 3, routing="em"))
        >>> {name: trace.coupling.shape for name, trace in trace_layers(model, torch.rand(1, 6, 4)).items()}
        {'0': torch.Size([3, 1, 6, 5]), '1': torch.Size([3, 1, 5, 2])}
    """  # noqa: E501
    traced: dict[str, Capsules | RoutingTrace] = {}
    seen: set[str] = set()  # full names of the modules whose capsules are kept
    mine = threading.get_ident()  # another thread may use the model meanwhile

    def keep(name: str) -> Callable[..., None]:
        def after(module: nn.Module, inputs: Any, options: Any, output: object) -> None:
            inside = any(other.startswith(f"{name}.") or not name for other in seen)
            if threading.get_ident() != mine or not isinstance(output, Capsules) or inside:
                return
            seen.add(name)
            kept: Capsules | RoutingTrace = output
            short = name
            if isinstance(module, Routing):
                kept, short = module.trace(*inputs, **options), name.removesuffix(".routing")
            times = sum(key == short or key.startswith(f"{short} ") for key in traced)
            traced[f"{short} {times + 1}" if times else short] = kept

        return after

    hooks = [
        module.register_forward_hook(keep(name), with_kwargs=True)
        for name, module in model.named_modules()
    ]
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiled graph calls no hooks
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return traced
