"""Dynamic routing on the CPU without the prediction vectors.

A^1 = 0 and A^{t+1} = A^t + v^t, so that the logits are b^t_ij = û_ij · A^t_j and are never stored.
Backward, from {A^t, s^t} alone, for t = r … 1:
ds^t = squash'(s^t)ᵀ dv^t,  dc_ij = û_ij · ds^t_j,  db_ij = c_ij (dc_ij − Σ_k c_ik dc_ik),
dA^t_j = Σ_i db_ij û_ij,  dv^σ = Σ_{τ>σ} dA^τ; then, in one sweep over the inputs,
dû_ij = Σ_t (c^t_ij ds^t_j + db^t_ij A^t_j),  du_i = Σ_j W_ijᵀ dû_ij,  dW_ij = Σ_b dû_ij u_iᵀ.

This file has the ops. What they do for many samples is in blocks.py and loops.py, for a few in
few_samples.py and few_loops.py, for input capsules that share W in shared_blocks.py and
shared_loops.py, and what all have in common in steps.py.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchcaps.kernels.autograd import is_watched, refuse_tangents, register_derivatives
from torchcaps.kernels.dynamic_cpu.blocks import Blocks, block_width
from torchcaps.kernels.dynamic_cpu.factors import Factors
from torchcaps.kernels.dynamic_cpu.few_samples import FewSamples, are_few, register_width
from torchcaps.kernels.dynamic_cpu.shared_blocks import SharedBlocks, are_shared, shared_width
from torchcaps.kernels.flops import count_flops

__all__ = ["Route", "route_alone", "routing_cpu", "routing_cpu_backward"]


def route(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The poses v^r of the output capsules after r iterations.

    Args:
        pose: u, `[B, I, P]`, float32 or float64.
        weight: W, `[I, J, D, P]`, or `[1, J, D, P]` shared by the inputs; of the same dtype.
        iterations, leaky, detach: as in `dynamic_routing`; `detach` matters in backward alone.

    Returns:
        v^r `[B, J, D]`, and what backward needs: A and s of every iteration, `[2, r, N, J·D, L]`
        for N blocks of L samples (or, for few samples, N samples in L places).
    """
    return factors_of(pose, weight).route(iterations, leaky)


routing_cpu = torch.library.custom_op(
    "torchcaps::routing_cpu", route, mutates_args=(), device_types="cpu"
)


@torch.library.custom_op("torchcaps::routing_cpu_backward", mutates_args=(), device_types="cpu")
def routing_cpu_backward(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of pose and weight from that of v^r (`upstream`, `[B, J, D]`)."""
    return factors_again(pose, weight, history).backward(upstream, history, leaky, detach)


def factors_of(pose: Tensor, weight: Tensor) -> Factors:
    """The factors of a call, as suits their number."""
    if are_shared(pose, weight):
        return SharedBlocks(pose, weight)
    return (FewSamples if are_few(pose, weight) else Blocks)(pose, weight)


def factors_again(pose: Tensor, weight: Tensor, history: Tensor) -> Factors:
    """The same for backward, as forward took them.

    That is told from the shape of what forward left: where hooks have saved a copy, expanded
    weights may be expanded no longer.
    """
    if are_shared(pose, weight):
        return SharedBlocks(pose, weight)
    _, _, blocks, _, width = history.shape
    few = width == register_width(pose) and blocks == len(pose)
    return (FewSamples if few else Blocks)(pose, weight)


@routing_cpu.register_fake
def _(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    B, (_, J, D, _) = pose.shape[0], weight.shape
    few = are_few(pose, weight)
    if are_shared(pose, weight):
        width = shared_width(pose)
    else:
        width = register_width(pose) if few else block_width(B, pose.element_size())
    blocks = B if few else (B + width - 1) // width
    return pose.new_empty(B, J, D), pose.new_empty(2, iterations, blocks, J * D, width)


@routing_cpu_backward.register_fake
def _(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    return pose.new_empty(pose.shape), weight.new_empty(weight.shape)


register_derivatives(routing_cpu, routing_cpu_backward, device="CPU")


class Route(torch.autograd.Function):
    """The same as `routing_cpu`, for calls that nobody but autograd watches: it takes less time.

    Of very few samples the votes, which are small beside W, are kept for backward.
    """

    @staticmethod
    def forward(
        ctx: Any, pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
    ) -> tuple[Tensor, Tensor]:
        factors = factors_of(pose, weight)
        v, history = factors.route(iterations, leaky)
        ctx.save_for_backward(pose, weight, history)
        ctx.mark_non_differentiable(history)
        ctx.set_materialize_grads(False)
        ctx.options = (leaky, detach)
        ctx.votes = []
        if isinstance(factors, FewSamples) and factors.are_small:
            ctx.votes.append((factors.u, factors.x))
        return v, history

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if upstream is None:
            return (None,) * 5
        refuse_tangents(upstream)
        pose, weight, history = ctx.saved_tensors
        # With gradients enabled a second derivative is wanted, which the op refuses.
        if torch.is_grad_enabled() or is_watched(upstream):
            count_flops("routing_cpu")
            gradients = routing_cpu_backward(upstream, pose, weight, history, *ctx.options)
            return (*gradients, None, None, None)
        try:
            factors: Factors = FewSamples(pose, weight, ctx.votes.pop())
        except IndexError:  # none were kept, or an earlier backward has overwritten them
            factors = factors_again(pose, weight, history)
        gradients = factors.backward(upstream.resolve_neg(), history, *ctx.options)
        return (*gradients, None, None, None)


def route_alone(pose: Tensor, weight: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    """`Route`; where no gradient is wanted, without autograd, which takes a while to call."""
    wanted = torch.is_grad_enabled() and (pose.requires_grad or weight.requires_grad)
    call: Callable[..., tuple[Tensor, Tensor]] = Route.apply if wanted else route
    return call(pose, weight, *options)
