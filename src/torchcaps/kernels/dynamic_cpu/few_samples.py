"""The factors of a call of a few samples, and the sweeps over them: vectors of input capsules."""

from collections.abc import Callable

import torch
from torch import Tensor

from torchcaps.kernels.arrays import array_of_users
from torchcaps.kernels.cpu_vectors import Lanes
from torchcaps.kernels.dynamic_cpu.factors import Factors
from torchcaps.kernels.dynamic_cpu.few_loops import (
    form_few,
    pack_few,
    route_few,
    route_few_backward,
    sweep_few,
)
from torchcaps.kernels.loops_on_threads import on_all_threads

__all__ = ["FewSamples", "are_few", "register_width"]

FEW = 16  # samples that are faster one by one than side by side, where half the places are empty
LARGEST = 2**24  # bytes of votes to be held


def register_width(pose: Tensor) -> int:
    """L, the input capsules in a vector: what 64 bytes hold."""
    return 64 // pose.element_size()


def are_few(pose: Tensor, weight: Tensor) -> bool:
    """Whether a call has so few samples, each input capsule with weights of its own."""
    samples, inputs, _ = pose.shape
    votes = samples * inputs * weight.shape[1] * weight.shape[2] * pose.element_size()
    own = len(weight) == inputs and (inputs == 1 or weight.stride(0) != 0)
    return samples <= FEW and own and votes <= LARGEST


class FewSamples(Factors):
    """Poses `[B, I, P]` and weights `[I, J, D, P]` as the loops take them.

    Names as in few_loops.py. What belongs to the output capsules of every sample is [N, R, L], the
    same in all L places. The votes are formed once; or u and x, which hold them, are given.
    """

    def __init__(
        self, pose: Tensor, weight: Tensor, votes: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.N, self.inputs, self.P = pose.shape
        self.J, self.D = weight.shape[1:3]
        width = register_width(pose)
        self.lanes = Lanes(width)
        blocks = -(-self.inputs // width)
        self.w = weight.reshape(self.inputs, self.J * self.D, self.P).contiguous()
        if votes is not None:
            self.u, self.x = votes
            return
        self.u = pose.new_empty(blocks, self.N, self.P, width)
        pack_few(array_of_users(pose), self.u.numpy())
        self.x = pose.new_empty(blocks, self.N, self.J * self.D, width)
        # To read W is most of the work. (A vector takes a tenth of as many steps one by one.)
        steps = (self.N + 2) * self.w.numel() // 10
        self.run(form_few, blocks, self.w, self.u, self.x, steps=steps)

    @property
    def are_small(self) -> bool:
        """Whether u and x are small beside W."""
        return min(self.P, self.J * self.D) >= 4 * self.N

    def new_empty(self, *leading: int) -> Tensor:
        """[..., N, R, L], not initialised."""
        return self.u.new_empty(*leading, self.N, self.J * self.D, self.lanes.count)

    def route(self, iterations: int, leaky: bool) -> tuple[Tensor, Tensor]:
        """v^r `[B, J, D]`; A and s of every iteration, `[2, r, N, R, L]`."""
        history, v = self.new_empty(2, iterations), self.new_empty()
        steps = 3 * iterations * self.x.numel() // 8
        options = (self.uniform_coupling(leaky), self.J, leaky)
        self.run(route_few, self.N, self.x, *options, *history, v, steps=steps)
        return v[..., 0].reshape(self.N, self.J, self.D).clone(), history

    def route_backward(
        self, upstream: Tensor, history: Tensor, leaky: bool, detach: bool
    ) -> Tensor:
        """ds of every iteration `[r, N, R, L]`, from the gradient of v^r."""
        dv, ds = self.new_empty(), torch.empty_like(history[0])
        dv.numpy()[:] = array_of_users(upstream.reshape(self.N, -1, 1))
        options = (self.J, leaky, detach)
        steps = 4 * len(ds) * self.x.numel() // 8
        self.run(route_few_backward, self.N, self.x, *options, *history, dv, ds, steps=steps)
        return ds

    def gradients(self, a: Tensor, ds: Tensor, leaky: bool, detach: bool) -> tuple[Tensor, Tensor]:
        """Those of the poses and of the weights, from A and ds of all iterations. Overwrites the
        votes."""
        d_pose = self.w.new_empty(self.N, self.inputs, self.P)
        dw = torch.empty_like(self.w)
        options = (self.uniform_coupling(leaky), self.J, leaky, detach, dw, d_pose)
        factors = (self.w, self.u, self.x, a, ds)
        self.run(sweep_few, len(self.x), *factors, *options, steps=(self.N + 1) * dw.numel() // 2)
        return d_pose, dw.view(-1, self.J, self.D, self.P)

    def run(self, loop: Callable[..., None], items: int, *arguments: object, steps: int) -> None:
        """Call a loop on all threads."""
        arrays = (
            x if not isinstance(x, Tensor) else array_of_users(x) if x is self.w else x.numpy()
            for x in arguments
        )
        on_all_threads(loop, items, self.lanes, *arrays, steps=steps)
