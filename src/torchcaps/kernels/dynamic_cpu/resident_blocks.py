"""The factors of a call whose blocks of votes fit into a core's cache, and the sweeps over them."""

from torch import Tensor

from torchcaps.kernels.cpu_vectors import Lanes
from torchcaps.kernels.dynamic_cpu.blocks import MOST_PARTS, Blocks
from torchcaps.kernels.dynamic_cpu.few_samples import register_width
from torchcaps.kernels.dynamic_cpu.resident_loops import route_resident, route_resident_backward

__all__ = ["ResidentBlocks", "are_resident"]

CACHE = 2**20  # bytes of votes of a block


def are_resident(pose: Tensor, weight: Tensor) -> bool:
    """Whether all input capsules share W, and the votes of a register's samples fit."""
    samples, inputs, _ = pose.shape
    votes = inputs * weight.shape[1] * weight.shape[2] * register_width(pose)
    shared = len(weight) < inputs
    return shared and samples > 4 and votes * pose.element_size() <= CACHE


class ResidentBlocks(Blocks):
    """Poses `[B, I, P]` and weights `[1, J, D, P]` as the loops take them."""

    def __init__(self, pose: Tensor, weight: Tensor) -> None:
        self.samples, self.inputs, self.P = pose.shape
        self.J, self.D = weight.shape[1:3]
        self.lanes = Lanes(register_width(pose))
        self.N = -(-self.samples // self.lanes.count)
        self.u = pose.contiguous()  # each block is packed when its turn comes
        self.w = weight.reshape(len(weight), self.J * self.D, self.P).contiguous()
        self.products = self.N * self.inputs * self.P * self.J * self.D

    def route(self, iterations: int, leaky: bool) -> tuple[Tensor, Tensor]:
        history, v = self.new_empty(2, iterations), self.new_empty()
        options = (self.uniform_coupling(leaky), self.J, leaky)
        self.run(route_resident, self.N, *options, *history, v)
        return self.unpack_outputs(v), history

    def backward(
        self, upstream: Tensor, history: Tensor, leaky: bool, detach: bool
    ) -> tuple[Tensor, Tensor]:
        d_pose = self.w.new_empty(self.samples, self.inputs, self.P)
        step = -(-self.N // MOST_PARTS)
        dw = self.w.new_empty(-(-self.N // step), *self.w.shape[1:])
        options = (self.uniform_coupling(leaky), self.J, leaky, detach, step, dw, d_pose)
        dv = self.pack_outputs(upstream)
        self.run(route_resident_backward, len(dw), *history, dv, *options)
        return d_pose, dw.sum(dim=0, keepdim=True).view(-1, self.J, self.D, self.P)
