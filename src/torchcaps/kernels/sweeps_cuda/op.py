"""The sweeps of `kernels/sums.py` on an NVIDIA GPU: blocks and launches; the loops are in loops.py.

A sum that several programs share is written in parts, which torch adds up, never with atomics: the
same call gives the same bits. Poses are in blocks of one sample, L = 1.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from torchcaps.kernels.cuda_launch import launch
from torchcaps.kernels.form import SHARED, SOFTMAX, SumsCall, added_up
from torchcaps.kernels.sweeps_cuda import loops

__all__ = ["CudaCall", "blocks_of"]

TILE = 2048  # numbers of a tile
SMALL_TILE = 1024  # the same of the last sweep, and of long poses, which are walked over
BYTES = 64  # of a tile that a thread holds: ten tiles or so are held at once
REGISTERS = 255  # that a thread may have
FEWEST_SAMPLES, MOST_SAMPLES = 8, 16  # of a tile, where there are as many
LENGTH = 16  # of the shortest sum of a product of matrices; components of an input pose in one
PROGRAMS = 528  # four for each of the 132 multiprocessors of an H100, which run two or more
LONGEST_SUM = 256  # inputs added up in a row; a longer sum would lose digits
LONGEST_SUM_OF_BLOCKS = 64  # of samples, likewise
PARTS = 2**25  # numbers that the parts of a sum may take together: 128 MB


class Blocks(NamedTuple):
    """What a program has in hand: BB samples, JB outputs of RP·NP components."""

    BB: int
    JB: int
    RP: int
    NP: int
    num_warps: int


def blocks_of(
    B: int, J: int, rows: int, columns: int, depth: int, itemsize: int, *, gradient: bool = False
) -> Blocks:
    """The blocks of a shape, by timing on an H100 and compiling: common ones do not spill.

    All outputs where that leaves some samples: then the softmax needs no sweep of its own. In the
    last sweep (`gradient`), products are summed over samples or outputs, of which there must be
    enough. One sample beside one output is more than Triton 3.6 can compile.
    """
    RP, NP = triton.next_power_of_2(rows), triton.next_power_of_2(columns)
    samples, outputs = triton.next_power_of_2(B), triton.next_power_of_2(J)
    tile = TILE if depth <= LENGTH else min(TILE, SMALL_TILE)
    # A product takes as long for few rows as for FEWEST_SAMPLES.
    least_rows = max(min(samples, FEWEST_SAMPLES) * RP, FEWEST_SAMPLES)
    JB = max(1, min(outputs, tile // (least_rows * NP)))
    BB = max(1, min(samples, MOST_SAMPLES, tile // (JB * RP * NP)))
    if gradient:
        tile = min(TILE, SMALL_TILE)
        JB = max(1, LENGTH // NP, min(JB, tile // (max(BB * RP, LENGTH) * NP)))
        BB = max(1, LENGTH // RP, min(BB, tile // (JB * RP * NP)))
    elif JB < J:
        BB = max(BB, min(samples, LENGTH // RP))
        JB = max(1, min(JB, tile // (BB * RP * NP)))
    if BB == 1:
        JB = max(2, JB)
    numbers = max(BB * RP, FEWEST_SAMPLES) * JB * NP
    return Blocks(BB, JB, RP, NP, num_warps=max(1, numbers * itemsize // BYTES // 32))


class CudaCall(SumsCall):
    """The arguments of a sweep, and its launches."""

    def __post_init__(self) -> None:
        form, u, w, p, k = self.form, self.u, self.w, self.p, self.k
        self.B, self.F, self.I = u.shape[:3]
        self.J = form.outputs
        self.columns = w.shape[1] // self.J
        self.children = self.I // form.cells * len(form.places)
        sizes = (self.B, self.J, form.rows, self.columns, w.shape[2], w.element_size())
        self.blocks = blocks_of(*sizes)
        self.gradient_blocks = blocks_of(*sizes, gradient=True)
        # A tile takes the softmax of a child that it has all parents of.
        self.given = self.blocks.JB < self.J or form.places.shape[1] > 1
        self.by_logits = self.coupling == SOFTMAX
        given = k is None and self.activation is not None
        self.constants: dict[str, Any] = {
            "J": self.J,
            "ROWS": form.rows,
            "N": self.columns,
            "M": w.shape[2],
            "K": form.cells,
            "Q": len(form.places),
            "MB": LENGTH,
            "maxnreg": REGISTERS,
            "GAUSSIAN": k is not None,
        }
        self.kind = 1 if self.by_logits else 2 if given else 0  # BY_LOGITS, … of loops.py
        # What a kernel does not look at is some tensor.
        self.state = [p if x is None else x for x in (self.activation, k, p, self.m)]
        self.sums = u.new_empty(3, self.children, self.B) if self.by_logits else p
        self.shares = p
        if not self.by_logits:
            counts = form.counts[form.positions].to(u.dtype)
            shared = self.coupling == SHARED
            self.shares = 1 / (counts * self.J) if shared else counts.fill_(self.coupling)

    def forward(self) -> tuple[Tensor, ...]:
        """The sums."""
        if self.by_logits and self.given:
            self.sum_over_parents(None)
        return self.add_up(None)

    def backward(
        self, e: tuple[Tensor, ...], through: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]:
        """The gradients of u, w and activation, and the sums of g."""
        e = (self.p, e[0], self.p) if self.k is None else e
        if self.by_logits and (self.given or not through):
            self.sum_over_parents(e)
        if through:
            of_g = self.add_up(e)
        else:
            of_g = (torch.zeros_like(self.p),) * (1 if self.k is None else 2)
            of_g = of_g if self.k is None else (torch.zeros_like(self.k), *of_g)
        return *self.factor_gradients(e, through), of_g

    def sum_over_parents(self, e: tuple[Tensor, ...] | None) -> None:
        """The sums of the softmax of every child, and with `e` Σ c dc."""
        self.launch(
            loops.sum_over_parents,
            triton.cdiv(self.B, self.blocks.BB) * self.children,
            (*self.upstream(e), self.sums, self.form.places, self.form.counts),
            MOST=self.form.places.shape[1],
            BACKWARD=e is not None,
        )

    def add_up(self, e: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """S0, S1 and S2, or with `e` the sums of g; of products S1 alone."""
        blocks = triton.cdiv(self.B, self.blocks.BB) * triton.cdiv(self.J, self.blocks.JB) * self.F
        chunks = max(PROGRAMS // blocks, triton.cdiv(self.I, LONGEST_SUM))
        chunks = max(1, min(chunks, self.I, PARTS // self.p.numel()))
        inputs = triton.cdiv(self.I, chunks)
        chunks = triton.cdiv(self.I, inputs)
        s1 = self.p.new_empty(chunks, *self.p.shape)
        s0 = s1 if self.k is None else self.k.new_empty(chunks, *self.k.shape)
        s2 = s1 if self.k is None else torch.empty_like(s1)
        self.launch(
            loops.add_up,
            blocks * chunks,
            (*self.upstream(e), self.sums, self.form.positions, self.shares, s0, s1, s2),
            inputs,
            COUPLING=self.kind,
            GIVEN=self.given,
            BACKWARD=e is not None,
        )
        return tuple(added_up(x) for x in ((s1,) if self.k is None else (s0, s1, s2)))

    def factor_gradients(
        self, e: tuple[Tensor, ...], through: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The gradients of u, w and activation."""
        I, J, blocks = self.I, self.J, self.gradient_blocks
        depths, walks = triton.cdiv(self.w.shape[2], LENGTH), triton.cdiv(J, blocks.JB)
        pairs = triton.cdiv(self.B, blocks.BB) * self.F
        parts = max(PROGRAMS // (I * depths * walks), triton.cdiv(pairs, LONGEST_SUM_OF_BLOCKS))
        parts = min(parts, pairs, PARTS // self.w.numel())
        each = triton.cdiv(pairs, max(1, parts))
        parts = triton.cdiv(pairs, each)
        du = torch.empty_like(self.u)
        da = None if self.activation is None else torch.empty_like(self.activation)
        dw = self.w.new_empty(parts, *self.w.shape)

        def sweep(programs: int, each: int, walk: int, *, of_pose: bool, of_weight: bool) -> None:
            self.launch(
                loops.factor_gradients,
                programs * depths * I,
                (*self.upstream(e), self.sums, self.form.positions, self.shares, du,
                 self.p if da is None else da, dw),
                each,
                COUPLING=self.kind,
                THROUGH=through,
                **blocks._asdict(),
                WALK=walk,
                DU=of_pose,
                DW=of_weight,
            )  # fmt: skip

        every = walks * blocks.JB
        if walks == 1:
            sweep(parts, each, every, of_pose=True, of_weight=True)
        else:  # a program adds up either dw over samples or du over outputs
            sweep(pairs, 1, every, of_pose=True, of_weight=False)
            sweep(parts * walks, each, blocks.JB, of_pose=False, of_weight=True)
        return du, added_up(dw), da

    def upstream(self, e: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """e0, e1 and e2; something where there are none."""
        return (self.p,) * 3 if e is None else e

    def launch(
        self,
        kernel: Any,
        programs: int,
        tensors: tuple[Tensor, ...],
        *numbers: int,
        **constants: object,
    ) -> None:
        constants = self.constants | self.blocks._asdict() | constants
        arguments = (self.u, self.w, *self.state, *tensors, self.B, self.F, self.I, *numbers)
        with torch.cuda.device(self.u.get_device()):
            launch(kernel, programs, self.u.get_device(), arguments, constants)
