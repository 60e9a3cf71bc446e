"""Dynamic routing on the CPU without the prediction vectors.

A^1 = 0 and A^{t+1} = A^t + v^t, so that the logits are b^t_ij = û_ij · A^t_j and are never stored.
Backward, from {A^t, s^t} alone, for t = r … 1:
ds^t = squash'(s^t)ᵀ dv^t,  dc_ij = û_ij · ds^t_j,  db_ij = c_ij (dc_ij − Σ_k c_ik dc_ik),
dA^t_j = Σ_i db_ij û_ij,  dv^σ = Σ_{τ>σ} dA^τ; then, in one sweep over the inputs,
dû_ij = Σ_t (c^t_ij ds^t_j + db^t_ij A^t_j),  du_i = Σ_j W_ijᵀ dû_ij,  dW_ij = Σ_b dû_ij u_iᵀ.

This file has the torch side: blocks, threads, the ops. The loops are in loops.py.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from torchcaps.kernels.autograd import register_derivatives
from torchcaps.kernels.cpu_vectors import REGISTER_BYTES, Lanes
from torchcaps.kernels.dynamic_cpu.loops import (
    add_pose,
    add_squash_backward,
    first_iteration,
    iterate,
    iterate_backward,
    pack,
    sweep,
)

__all__ = ["routing_cpu", "routing_cpu_backward"]

CHUNK = 64  # input capsules in one sum; their weights and poses stay in the cache meanwhile
MOST_PARTS = 64  # of the gradient of weights that the input capsules share
WORTH_A_THREAD = 800_000  # steps of a loop, some 0.3 ms: below, waking a thread costs more
CACHE = 640 * 1024  # bytes of a core's own cache that the last sweep may take for its samples

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def on_all_threads(
    function: Callable[..., None], items: int, *arguments: object, steps: int
) -> None:
    """Call function(*arguments, counter, items) on as many threads as torch has.

    The threads share out the items by the counter as they go, so that one that is held up holds up
    no other. Every item has places of its own to write to: who does it changes no bit of what comes
    out. Fewer threads where each would have less than `WORTH_A_THREAD` of the `steps`.
    """
    counter = np.zeros(1, np.int64)
    threads = min(torch.get_num_threads(), items, steps // WORTH_A_THREAD)
    if threads <= 1:
        function(*arguments, counter, items)
        return
    key = (os.getpid(), threads)  # threads do not survive a fork
    pool = _pools.get(key)
    if pool is None:
        # Without a lock, which a fork could leave closed: of two that are made, one is kept, and
        # the other has not begun a thread.
        pool = _pools.setdefault(key, ThreadPoolExecutor(threads - 1, "torchcaps"))
    helpers = [pool.submit(function, *arguments, counter, items) for _ in range(threads - 1)]
    function(*arguments, counter, items)
    for helper in helpers:
        if not helper.cancel():  # one that has not begun yet finds nothing left to do
            helper.result()


def block_width(samples: int, bytes_each: int) -> int:
    """Samples in a block: as many as fill two registers; 4 where there are no more."""
    return 4 if samples <= 4 else 2 * REGISTER_BYTES // bytes_each


class Blocks:
    """The poses and weights of a call as the loops take them: samples in blocks of L, side by side.

    Names as in loops.py. What belongs to the output capsules of every sample is [N, R, L].
    """

    def __init__(self, pose: Tensor, weight: Tensor) -> None:
        self.samples, self.inputs, self.P = pose.shape
        self.J, self.D = weight.shape[1:3]
        width = block_width(self.samples, pose.element_size())
        self.lanes = Lanes(width)
        self.N = -(-self.samples // width)
        self.u = pose.new_empty(self.inputs, self.N, self.P, width)
        packing = (pack, -(-self.inputs // 8), pose.numpy(), self.u.numpy())
        on_all_threads(*packing, steps=2 * self.u.numel())
        if weight.stride(0) == 0:  # expanded over the inputs: one copy serves them all
            weight = weight[:1]
        self.w = weight.reshape(len(weight), self.J * self.D, self.P).contiguous()

    def new_empty(self, *leading: int) -> Tensor:
        """[..., N, R, L], not initialised."""
        return self.u.new_empty(*leading, self.N, self.J * self.D, self.lanes.count)

    def pack_outputs(self, x: Tensor) -> Tensor:
        """[B, J, D] → [N, R, L]"""
        missing = self.N * self.lanes.count - self.samples
        padded = pad(x.flatten(1), (0, 0, 0, missing))
        return padded.reshape(self.N, self.lanes.count, -1).mT.contiguous()

    def unpack_outputs(self, x: Tensor) -> Tensor:
        """[N, R, L] → [B, J, D]"""
        rows = x.mT.reshape(-1, self.J, self.D)
        return rows[: self.samples].clone(memory_format=torch.contiguous_format)

    def sum_by_chunks(self, loop: Callable[..., None], *arguments: object) -> Tensor:
        """Σ_i of what a loop finds, by chunks of input capsules, [chunks, N, R, L]."""
        chunks = -(-self.inputs // CHUNK)
        parts = self.new_empty(chunks)
        self.run(loop, chunks * self.N, *arguments, CHUNK, parts)
        return parts

    def run(self, loop: Callable[..., None], items: int, *arguments: object) -> None:
        """Call a loop over the votes on all threads."""
        arrays = (x.numpy() if isinstance(x, Tensor) else x for x in (self.w, self.u, *arguments))
        products = self.u[..., 0].numel() * self.J * self.D
        on_all_threads(loop, items, self.lanes, *arrays, steps=products)

    def settle(self, loop: Callable[..., None], parts: Tensor, *arguments: Tensor) -> None:
        """Call a loop over the output capsules on all threads."""
        arrays = (x.numpy() for x in (parts, *arguments))
        steps = (len(parts) + 20) * arguments[0][..., 0].numel()
        on_all_threads(loop, self.N * self.J, self.lanes, *arrays, self.J, steps=steps)


@torch.library.custom_op("torchcaps::routing_cpu", mutates_args=(), device_types="cpu")
def routing_cpu(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The poses v^r of the output capsules after r iterations.

    Args:
        pose: u, `[B, I, P]`, float32 or float64.
        weight: W, `[I, J, D, P]`, or `[1, J, D, P]` shared by the inputs; of the same dtype.
        iterations, leaky, detach: as in `dynamic_routing`; `detach` matters in backward alone.

    Returns:
        v^r `[B, J, D]`, and what backward needs: A and s of every iteration, `[2, r, N, J·D, L]`
        for N blocks of L samples.
    """
    blocks = Blocks(pose, weight)
    history = blocks.new_empty(2, iterations)
    a, s = history
    zero, v = blocks.new_empty(), blocks.new_empty()
    zero.numpy().fill(0)
    a[0].numpy().fill(0)
    for t in range(iterations):
        if t == 0:
            parts = blocks.sum_by_chunks(first_iteration, uniform_coupling(blocks, leaky))
        else:
            parts = blocks.sum_by_chunks(iterate, a[t], blocks.J, leaky)
        then = (a[t], s[t], a[t + 1]) if t < iterations - 1 else (zero, s[t], v)
        blocks.settle(add_pose, parts, *then)
        del parts  # before there are new ones
    return blocks.unpack_outputs(v), history


@torch.library.custom_op("torchcaps::routing_cpu_backward", mutates_args=(), device_types="cpu")
def routing_cpu_backward(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of pose and weight from that of v^r (`upstream`, `[B, J, D]`)."""
    blocks = Blocks(pose, weight)
    a, s = history
    last = len(s) - 1
    ds = blocks.new_empty(last + 1)
    ds.numpy().fill(0)  # not by torch, whose threads would go on spinning and be in the way
    nothing = blocks.new_empty(0)
    dv = blocks.pack_outputs(upstream)
    blocks.settle(add_squash_backward, nothing, s[last], dv, ds[last])
    dv.numpy().fill(0)  # from here on the sum of dA so far
    for t in range(0 if detach else last, 0, -1):
        parts = blocks.sum_by_chunks(iterate_backward, a[t], ds[t], blocks.J, leaky)
        blocks.settle(add_squash_backward, parts, s[t - 1], dv, ds[t - 1])
        del parts
    d_pose = torch.empty(pose.shape, dtype=pose.dtype)
    # Where the inputs share W, parts of its gradient, added up after; else one part an input.
    step = -(-blocks.inputs // MOST_PARTS) if len(weight) < blocks.inputs else 1
    dw = weight.new_empty(-(-blocks.inputs // step), *blocks.w.shape[1:])
    bytes_of_a_block = (2 * len(s) + 1) * ds[0, 0].nbytes
    group = max(1, min(blocks.N, CACHE // bytes_of_a_block))
    many = 1 if step > 1 else 16
    options = (uniform_coupling(blocks, leaky), blocks.J, leaky, detach, group, step, many)
    blocks.run(sweep, -(-len(dw) // many), a, ds, *options, dw, d_pose)
    dw = dw.view(-1, *weight.shape[1:])
    return d_pose, dw if len(dw) == len(weight) else dw.sum(dim=0, keepdim=True)


def uniform_coupling(blocks: Blocks, leaky: bool) -> object:
    """c_ij of the first iteration, a scalar of the votes' dtype."""
    return blocks.u.numpy().dtype.type(1 / (blocks.J + 1 if leaky else blocks.J))


@routing_cpu.register_fake
def _(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    B, (_, J, D, _) = pose.shape[0], weight.shape
    width = block_width(B, pose.element_size())
    blocks = pose.new_empty(2, iterations, (B + width - 1) // width, J * D, width)
    return pose.new_empty(B, J, D), blocks


@routing_cpu_backward.register_fake
def _(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    return pose.new_empty(pose.shape), weight.new_empty(weight.shape)


register_derivatives(routing_cpu, routing_cpu_backward, device="CPU")
