"""The factors of a call whose input capsules share W, and the sweeps over them."""

from torch import Tensor

from torchcaps.kernels.cpu_vectors import Lanes
from torchcaps.kernels.dynamic_cpu.blocks import Blocks
from torchcaps.kernels.dynamic_cpu.few_samples import register_width
from torchcaps.kernels.dynamic_cpu.shared_loops import route_shared, route_shared_backward

__all__ = ["SharedBlocks", "are_shared", "shared_width"]

MOST_PARTS = 64  # of the gradient of W
NARROW = 4  # samples in a block where there are no more


def are_shared(pose: Tensor, weight: Tensor) -> bool:
    """Whether all input capsules, of which there are several, have one W."""
    return len(weight) < pose.shape[1]


def shared_width(pose: Tensor) -> int:
    """Samples in a block: as many as 64 bytes hold; 4 where there are no more."""
    return NARROW if len(pose) <= NARROW else register_width(pose)


class SharedBlocks(Blocks):
    """Poses `[B, I, P]` and weights `[1, J, D, P]` as the loops take them."""

    def __init__(self, pose: Tensor, weight: Tensor) -> None:
        self.samples, self.inputs, self.P = pose.shape
        self.J, self.D = weight.shape[1:3]
        self.lanes = Lanes(shared_width(pose))
        self.N = -(-self.samples // self.lanes.count)
        self.u = pose.contiguous()  # each block is packed when its turn comes
        self.w = weight.reshape(self.J * self.D, self.P).contiguous()
        self.products = self.N * self.J * self.P * (self.inputs + self.D)

    def route(self, iterations: int, leaky: bool) -> tuple[Tensor, Tensor]:
        history, v = self.new_empty(2, iterations), self.new_empty()
        options = (self.uniform_coupling(leaky), self.J, leaky)
        self.run(route_shared, self.N, *options, *history, v)
        return self.unpack_outputs(v), history

    def backward(
        self, upstream: Tensor, history: Tensor, leaky: bool, detach: bool
    ) -> tuple[Tensor, Tensor]:
        d_pose = self.w.new_empty(self.samples, self.inputs, self.P)
        step = -(-self.N // MOST_PARTS)
        dw = self.w.new_empty(-(-self.N // step), *self.w.shape)
        options = (self.uniform_coupling(leaky), self.J, leaky, detach, step, dw, d_pose)
        dv = self.pack_outputs(upstream)
        self.run(route_shared_backward, len(dw), *history, dv, *options)
        return d_pose, dw.sum(dim=0).view(1, self.J, self.D, self.P)
