"""What the ops of all fused routing kernels have in common with autograd."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

__all__ = ["is_watched", "refuse_odd", "refuse_tangents", "register_derivatives"]


def is_watched(*factors: Tensor) -> bool:
    """Whether a graph, a profiler, a mode, a transform or a kind of tensors is to see the op."""
    return (
        torch.compiler.is_compiling()
        or is_in_torch_dispatch_mode()
        or torch._C._autograd._profiler_enabled()
        or torch._C._are_functorch_transforms_active()
        or any(type(factor) not in (Tensor, Parameter) for factor in factors)
        or any(map(torch._C._functorch.is_legacy_batchedtensor, factors))  # many gradients at once
    )


def refuse_odd(gradients: Iterable[Tensor | None]) -> None:
    """Raise where many gradients come at once, or have tangents, which a backward of several ops
    cannot take."""
    given = [gradient for gradient in gradients if gradient is not None]
    refuse_tangents(*given)
    if any(map(torch._C._functorch.is_legacy_batchedtensor, given)):
        raise RuntimeError(
            "this backend takes one gradient at a time, not a batch of them (is_grads_batched, "
            "vectorize): pass backend='reference', or leave that out"
        )


def refuse_tangents(*gradients: Tensor) -> None:
    """Raise where forward-mode derivatives of a gradient are asked for: they would be lost."""
    if forward_ad._current_level < 0:
        return
    if any(forward_ad.unpack_dual(gradient).tangent is not None for gradient in gradients):
        raise RuntimeError(
            "this backend has first derivatives only, and the gradient that comes in has a "
            "forward-mode tangent: pass backend='reference'"
        )


def register_derivatives(forward: CustomOpDef, backward: CustomOpDef, device: str) -> None:
    """Give a routing op its first derivatives, by another op, which has none.

    Args:
        forward: (pose, weight, iterations, leaky, detach) → (v, what backward needs).
        backward: (gradient of v, pose, weight, what backward needs, leaky, detach) → the gradients
            of pose and weight.
        device: of the kernel, as its error names it.
    """

    def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        pose, weight, _, leaky, detach = inputs
        ctx.save_for_backward(pose, weight, output[1])
        ctx.options = (leaky, detach)

    def differentiate(ctx: Any, upstream: Tensor, of_history: Tensor) -> tuple[Tensor | None, ...]:
        pose, weight, history = ctx.saved_tensors
        gradients = backward(upstream, pose, weight, history, *ctx.options)
        return (*gradients, None, None, None)

    def refuse(ctx: Any, *upstream: Tensor) -> None:
        raise RuntimeError(
            f"the {device} routing kernel has first derivatives only: pass backend='reference'"
        )

    forward.register_autograd(differentiate, setup_context=keep)
    backward.register_autograd(refuse)
