"""Dynamic routing on the CPU without the prediction vectors.

A^1 = 0 and A^{t+1} = A^t + v^t, so that the logits are b^t_ij = û_ij · A^t_j and are never stored.
Backward, from {A^t, s^t} alone, for t = r … 1:
ds^t = squash'(s^t)ᵀ dv^t,  dc_ij = û_ij · ds^t_j,  db_ij = c_ij (dc_ij − Σ_k c_ik dc_ik),
dA^t_j = Σ_i db_ij û_ij,  dv^σ = Σ_{τ>σ} dA^τ; then, in one sweep over tiles,
dû_ij = Σ_t (c^t_ij ds^t_j + db^t_ij A^t_j),  du_i = Σ_j W_ijᵀ dû_ij,  dW_ij = Σ_b dû_ij u_iᵀ.

This file has the torch side: tiles, threads, the ops. The loops are in cpu_loops.py.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from torchcaps.functional import direction_and_length, squash
from torchcaps.kernels.cpu_loops import LANES, UNROLL, iterate, iterate_backward, sweep

__all__ = ["routing_cpu", "routing_cpu_backward"]

_pools_lock = Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def on_all_threads(function: Callable[..., None], length: int, *arguments: object) -> None:
    """Call function(*arguments, start, stop) on as many parts of `length` as torch has threads.

    Every part writes places of its own, so the number of threads changes no bit of the result.
    """
    threads = min(torch.get_num_threads(), length)
    cuts = [length * part // max(threads, 1) for part in range(threads + 1)]
    if threads <= 1:
        function(*arguments, 0, length)
        return
    key = (os.getpid(), threads)  # threads do not survive a fork
    with _pools_lock:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="torchcaps")
    parts = [_pools[key].submit(function, *arguments, *cut) for cut in pairwise(cuts)]
    for part in parts:
        part.result()


class Tiles:
    """Poses and weights of a call, laid out in tiles of input capsules, zero-padded."""

    def __init__(self, pose: Tensor, weight: Tensor) -> None:
        self.inputs, self.J, self.D, self.P = weight.shape
        self.batch = len(pose)
        more_inputs, more_dims = -self.inputs % LANES, -self.P % UNROLL
        padded = pad(weight, (0, more_dims, 0, 0, 0, 0, 0, more_inputs))
        padded = padded.reshape(-1, LANES, self.J * self.D, self.P + more_dims)
        self.w = padded.permute(0, 3, 2, 1).contiguous()  # [K, P, J·D, 64]
        padded = pad(pose, (0, more_dims, 0, more_inputs))
        padded = padded.reshape(self.batch, -1, LANES, self.P + more_dims)
        self.u = padded.transpose(2, 3).contiguous()  # [B, K, P, 64]

    def like_weight(self, tiles: Tensor) -> Tensor:
        """[K, P, J·D, 64] back to [I, J, D, P]."""
        whole = tiles.permute(0, 3, 2, 1).flatten(0, 1)[: self.inputs, :, : self.P]
        return whole.reshape(self.inputs, self.J, self.D, self.P).contiguous()

    def like_pose(self, tiles: Tensor) -> Tensor:
        """[B, K, P, 64] back to [B, I, P]."""
        return tiles.transpose(2, 3).flatten(1, 2)[:, : self.inputs, : self.P].contiguous()


@torch.library.custom_op("torchcaps::routing_cpu", mutates_args=(), device_types="cpu")
def routing_cpu(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The total inputs s^r of the output capsules after r iterations.

    Args:
        pose: u, `[B, I, P]`, float32.
        weight: W, `[I, J, D, P]`, float32.
        iterations, leaky, detach: as in `dynamic_routing`; `detach` matters in backward alone.

    Returns:
        s^r `[B, J, D]`, and what backward needs: A and s of every iteration, `[2, r, B, J·D]`.
    """
    tiles = Tiles(pose, weight)
    B, J, D = tiles.batch, tiles.J, tiles.D
    history = pose.new_zeros(2, iterations, B, J * D)
    a, s = history
    # Uniform coupling makes the first iteration a matrix product; one a tile and pose component,
    # because sums of 64 and then of the rest lose fewer digits than one long sum.
    u, w = tiles.u.permute(1, 2, 0, 3).reshape(-1, B, LANES), tiles.w.view(-1, J * D, LANES)
    s[0] = torch.bmm(u, w.mT).sum(dim=0) * uniform_coupling(J, leaky)
    for t in range(1, iterations):
        a[t] = a[t - 1] + squash(s[t - 1].view(B, J, D)).flatten(1)
        arrays = (x.numpy() for x in (tiles.w, tiles.u, a[t], s[t]))
        on_all_threads(iterate, B, *arrays, J, leaky)
    return s[-1].view(B, J, D).clone(), history


@torch.library.custom_op("torchcaps::routing_cpu_backward", mutates_args=(), device_types="cpu")
def routing_cpu_backward(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of pose and weight from that of s^r (`upstream`, `[B, J, D]`)."""
    tiles = Tiles(pose, weight)
    B, J, D = tiles.batch, tiles.J, tiles.D
    a, s = history
    last = len(s) - 1
    ds = torch.zeros_like(s)
    ds[last] = upstream.flatten(1)
    dv = torch.zeros_like(s[0])  # the sum of dA so far
    for t in range(0 if detach else last, 0, -1):
        arrays = (x.numpy() for x in (tiles.w, tiles.u, a[t], ds[t], dv))
        on_all_threads(iterate_backward, B, *arrays, J, leaky)
        ds[t - 1] = squash_backward(s[t - 1].view(B, J, D), dv.view(B, J, D)).flatten(1)
    dw, du = torch.zeros_like(tiles.w), torch.empty_like(tiles.u)
    first, uniform = last if detach else 0, np.float32(uniform_coupling(J, leaky))
    arrays = (x.numpy() for x in (tiles.w, tiles.u, a, ds))
    on_all_threads(
        sweep, len(dw), *arrays, first, uniform, dw.numpy(), du.numpy(), J, leaky, detach
    )
    return tiles.like_pose(du), tiles.like_weight(dw)


def uniform_coupling(J: int, leaky: bool) -> float:
    """c_ij of the first iteration."""
    return 1 / (J + 1 if leaky else J)


def squash_backward(s: Tensor, dv: Tensor) -> Tensor:
    """squash'(s)ᵀ dv: |v|/|s| across s, 2|s|/(1 + |s|²)² along it; zero at zero."""
    unit, length = direction_and_length(s)
    hypotenuse = torch.hypot(length, torch.ones_like(length))
    across = length / hypotenuse / hypotenuse
    along = 2 * across / hypotenuse / hypotenuse
    parallel = (unit * dv).sum(-1, keepdim=True) * unit
    return across * (dv - parallel) + along * parallel


@routing_cpu.register_fake
def _(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    B, (_, J, D, _) = pose.shape[0], weight.shape
    return pose.new_empty(B, J, D), pose.new_empty(2, iterations, B, J * D)


@routing_cpu_backward.register_fake
def _(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    return pose.new_empty(pose.shape), weight.new_empty(weight.shape)


def _no_second_derivative(ctx: Any, *upstream: Tensor) -> None:
    raise RuntimeError(
        "the CPU routing kernel has first derivatives only: pass backend='reference'"
    )


routing_cpu_backward.register_autograd(_no_second_derivative)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    pose, weight, _, leaky, detach = inputs
    ctx.save_for_backward(pose, weight, output[1])
    ctx.options = (leaky, detach)


def _backward(ctx: Any, upstream: Tensor, of_history: Tensor) -> tuple[Tensor | None, ...]:
    pose, weight, history = ctx.saved_tensors
    gradients = routing_cpu_backward(upstream, pose, weight, history, *ctx.options)
    return (*gradients, None, None, None)


routing_cpu.register_autograd(_backward, setup_context=_keep)
