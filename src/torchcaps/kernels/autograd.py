"""What the ops of all fused routing kernels have in common with autograd."""

from typing import Any

from torch import Tensor
from torch._library.custom_ops import CustomOpDef

__all__ = ["register_derivatives"]


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
