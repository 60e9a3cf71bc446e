"""The factors of a call in blocks of samples, and the sweeps over them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from torchcaps.kernels.arrays import array_of_users
from torchcaps.kernels.cpu_vectors import REGISTER_BYTES, Lanes
from torchcaps.kernels.dynamic_cpu.factors import Factors
from torchcaps.kernels.dynamic_cpu.loops import (
    first_iteration,
    iterate,
    iterate_backward,
    pack,
    sweep,
)
from torchcaps.kernels.dynamic_cpu.steps import add_pose, add_squash_backward
from torchcaps.kernels.loops_on_threads import on_all_threads

__all__ = ["Blocks", "block_width"]

CHUNK = 64  # input capsules in one sum; their weights and poses stay in the cache meanwhile
INPUTS_AT_ONCE = 16  # input capsules that the last sweep takes before the next samples
CACHE = 640 * 1024  # bytes of a core's own cache that the last sweep may take for its samples


def block_width(samples: int, bytes_each: int) -> int:
    """Samples in a block: as many as fill two registers; 4 where there are no more."""
    return 4 if samples <= 4 else 2 * REGISTER_BYTES // bytes_each


class Blocks(Factors):
    """The poses and weights of a call as the loops take them: samples in blocks of L, side by side.

    Names as in steps.py and loops.py. What belongs to the output capsules of every sample is
    [N, R, L].
    """

    def __init__(self, pose: Tensor, weight: Tensor) -> None:
        self.samples, self.inputs, self.P = pose.shape
        self.J, self.D = weight.shape[1:3]
        width = block_width(self.samples, pose.element_size())
        self.lanes = Lanes(width)
        self.N = -(-self.samples // width)
        self.u = pose.new_empty(self.inputs, self.N, self.P, width)
        packing = (pack, -(-self.inputs // 8), array_of_users(pose), self.u.numpy())
        on_all_threads(*packing, steps=2 * self.u.numel())
        if weight.stride(0) == 0:  # expanded over the inputs: one copy serves them all
            weight = weight[:1]
        self.w = weight.reshape(len(weight), self.J * self.D, self.P).contiguous()
        self.products = self.u[..., 0].numel() * self.J * self.D  # of vectors

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

    def route(self, iterations: int, leaky: bool) -> tuple[Tensor, Tensor]:
        """v^r `[B, J, D]`; A and s of every iteration, `[2, r, N, R, L]`."""
        history = self.new_empty(2, iterations)
        a, s = history
        zero, v = self.new_empty().zero_(), self.new_empty()
        a[0].zero_()
        for t in range(iterations):
            if t == 0:
                parts = self.sum_by_chunks(first_iteration, self.uniform_coupling(leaky))
            else:
                parts = self.sum_by_chunks(iterate, a[t], self.J, leaky)
            then = (a[t], s[t], a[t + 1]) if t < iterations - 1 else (zero, s[t], v)
            self.settle(add_pose, parts, *then)
            del parts  # before there are new ones
        return self.unpack_outputs(v), history

    def route_backward(
        self, upstream: Tensor, history: Tensor, leaky: bool, detach: bool
    ) -> Tensor:
        """ds of every iteration `[r, N, R, L]`, from the gradient of v^r."""
        a, s = history
        last = len(s) - 1
        ds = torch.zeros_like(s)
        nothing = self.new_empty(0)
        dv = self.pack_outputs(upstream)
        self.settle(add_squash_backward, nothing, s[last], dv, ds[last])
        dv.zero_()  # from here on the sum of dA so far
        for t in range(0 if detach else last, 0, -1):
            parts = self.sum_by_chunks(iterate_backward, a[t], ds[t], self.J, leaky)
            self.settle(add_squash_backward, parts, s[t - 1], dv, ds[t - 1])
            del parts
        return ds

    def gradients(self, a: Tensor, ds: Tensor, leaky: bool, detach: bool) -> tuple[Tensor, Tensor]:
        """Those of the poses and of the weights, from A and ds of all iterations."""
        d_pose = self.w.new_empty(self.samples, self.inputs, self.P)
        dw = self.w.new_empty(self.inputs, *self.w.shape[1:])
        bytes_of_a_block = (2 * len(a) + 1) * ds[0, 0].nbytes
        group = max(1, min(self.N, CACHE // bytes_of_a_block))
        options = (self.uniform_coupling(leaky), self.J, leaky, detach, group, INPUTS_AT_ONCE)
        self.run(sweep, -(-self.inputs // INPUTS_AT_ONCE), a, ds, *options, dw, d_pose)
        return d_pose, dw.view(-1, self.J, self.D, self.P)

    def sum_by_chunks(self, loop: Callable[..., None], *arguments: object) -> Tensor:
        """Σ_i of what a loop finds, by chunks of input capsules, [chunks, N, R, L]."""
        chunks = -(-self.inputs // CHUNK)
        parts = self.new_empty(chunks)
        self.run(loop, chunks * self.N, *arguments, CHUNK, parts)
        return parts

    def run(self, loop: Callable[..., None], items: int, *arguments: object) -> None:
        """Call a loop over the votes on all threads."""
        arrays = (x.numpy() if isinstance(x, Tensor) else x for x in (self.u, *arguments))
        w = array_of_users(self.w)
        on_all_threads(loop, items, self.lanes, w, *arrays, steps=self.products)

    def settle(self, loop: Callable[..., None], parts: Tensor, *arguments: Tensor) -> None:
        """Call a loop over the output capsules on all threads."""
        arrays = (x.numpy() for x in (parts, *arguments))
        steps = 12 * (len(parts) + 20) * arguments[0][..., 0].numel()  # divisions take long
        on_all_threads(loop, self.N * self.J, self.lanes, *arrays, self.J, steps=steps)
