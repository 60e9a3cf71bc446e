"""The sweeps of `kernels/sums.py` on a CPU: one input capsule at a time, on all threads."""

from typing import Any

import torch
from torch import Tensor

from torchcaps.kernels.arrays import array_of_users
from torchcaps.kernels.cpu_vectors import Lanes
from torchcaps.kernels.form import SumsCall, added_up
from torchcaps.kernels.loops_on_threads import on_all_threads
from torchcaps.kernels.sweeps_cpu.loops import sweep, sweep_backward
from torchcaps.kernels.sweeps_cpu.pose_loops import add_by_poses, add_by_poses_backward

__all__ = ["CpuCall", "PoseCall"]

CHILDREN = 64  # input capsules of a part of a sum, about; more would lose digits
CACHE = 640 * 1024  # bytes of a core's own cache that backward may take for its samples
# Activities are this much larger in the sums, and upstream gradients smaller. Numbers closest to
# zero count as zero in the loops, and where all activities of a sample, or all that comes to a
# parent, are hardly more than that, so would be the products. Beside each other, they matter: sums
# may be divided by one another. A power of 2, so that no other digit changes.
LARGER = 2.0**32


class CpuCall(SumsCall):
    """The arguments of a sweep, as the loops take them."""

    def __post_init__(self) -> None:
        form = self.form
        self.larger = None if self.activation is None else self.activation * LARGER
        self.state = (self.larger, self.k, self.p, self.m)
        self.constant = self.u.numpy().dtype.type(self.coupling)
        step = max(1, CHILDREN // form.cells)  # types in a part
        self.sizes = (form.rows, form.outputs, form.cells, form.places, form.counts, step)
        self.parts = -(-self.u.shape[2] // (step * form.cells))

    def forward(self) -> tuple[Tensor, ...]:
        """The sums."""
        parts = self.new_parts()
        arguments = (*self.state, self.constant, *self.sizes, *parts)
        self.run(sweep, self.parts * self.u.shape[0], *arguments)
        sums = tuple(added_up(part) for part in parts if part is not None)
        return sums if self.larger is None else as_it_was(*sums)

    def backward(
        self, e: tuple[Tensor, ...], through: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]:
        """The gradients of u, w and activation, and the sums of g."""
        du, dw = torch.empty_like(self.u), torch.empty_like(self.w)
        d_activation = None if self.larger is None else torch.empty_like(self.larger)
        parts = self.new_parts()
        of_sums = (None, e[0], None) if self.larger is None else smaller(*e)
        self.run(
            sweep_backward,
            self.parts,
            *self.state,
            *of_sums,
            self.constant,
            through,
            *self.sizes,
            self.group(self.p),
            *parts,
            du,
            d_activation,
            dw,
        )
        if d_activation is not None:
            d_activation *= LARGER
        return du, dw, d_activation, tuple(added_up(part) for part in parts if part is not None)

    def group(self, state: Tensor) -> int:
        """How many blocks of samples may have numbers for a state `[N, F, R, L]` in the cache."""
        return max(1, min(len(state), CACHE // state[0, 0].nbytes))

    def new_parts(self) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Room for the parts of S0, S1 and S2."""
        first = self.p.new_empty(self.parts, *self.p.shape)
        if self.k is None:
            return None, first, None
        return self.k.new_empty(self.parts, *self.k.shape), first, torch.empty_like(first)

    def run(self, loop: Any, items: int, *arguments: object) -> None:
        """Call a loop on all threads."""
        arrays = (x.numpy() if isinstance(x, Tensor) else x for x in (self.u, *arguments))
        steps = self.u[..., 0].numel() * self.w.shape[1]
        w = array_of_users(self.w)
        on_all_threads(loop, items, Lanes(self.u.shape[-1]), w, *arrays, steps=steps)


class PoseCall(CpuCall):
    """The same of products in one window, whose coupling comes from poses."""

    def by_poses(self, maps: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_i c_ij a_i `[N, F, J, L]` and Σ_i c_ij a_i V_ij."""
        _, found, _ = self.new_parts()
        rows, outputs, *_, step = self.sizes
        mass = found.new_empty(*found.shape[:3], outputs, found.shape[-1])
        arguments = (self.larger, maps, biases, rows, outputs, step, mass, found)
        self.run(add_by_poses, self.parts * len(self.u), *arguments)
        mass, found = as_it_was(added_up(mass), added_up(found))
        return mass, found

    def by_poses_backward(
        self, maps: Tensor, biases: Tensor, of_mass: Tensor, e: Tensor
    ) -> list[Tensor]:
        """The gradients of u, activation, w, maps and biases."""
        assert self.activation is not None
        found = [torch.empty_like(x) for x in (self.u, self.activation, self.w, maps, biases)]
        rows, outputs, *_ = self.sizes
        of_sums = smaller(of_mass, e)
        arguments = (self.larger, maps, biases, *of_sums, rows, outputs, self.group(e))
        self.run(add_by_poses_backward, self.u.shape[2], *arguments, *found)
        found[1] *= LARGER
        return found


def as_it_was(*sums: Tensor) -> tuple[Tensor, ...]:
    """Sums of larger activities as they are of the activities, in place."""
    return tuple(x.mul_(1 / LARGER) for x in sums)


def smaller(*upstream: Tensor) -> tuple[Tensor, ...]:
    """Gradients of those larger sums."""
    return tuple(x * (1 / LARGER) for x in upstream)
