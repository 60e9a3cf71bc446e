"""Dynamic routing on NVIDIA GPUs without the prediction vectors.

A^1 = 0 and A^{t+1} = A^t + v^t, so that the logits are b^t_ij = û_ij · A^t_j and are never stored;
backward goes from {A^t, s^t} alone, by the equations in `dynamic_cpu/op.py`. Votes are formed tile
by tile in registers and never leave them. A sum that several programs share is written in parts and
added up by another launch, never with atomics: the same call gives the same bits.

This file has the torch side: blocks, launches, the ops. The loops are in loops.py.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from torchcaps.kernels.autograd import is_watched, refuse_tangents, register_derivatives
from torchcaps.kernels.cuda_launch import launch
from torchcaps.kernels.dynamic_cuda import loops
from torchcaps.kernels.flops import count_flops

__all__ = ["Route", "launch_blocks", "routing_cuda", "routing_cuda_backward"]

# In Triton's interpreter (tests without a GPU) bf16 is computed and rounded wrongly.
INTERPRETED = not isinstance(loops.iterate, triton.JITFunction)
TILE = 4096  # votes of a tile; also numbers of a tile of weights
WIDEST = 512  # components of all outputs that one tile may hold; beyond, two sweeps an iteration
WIDEST_SWEEP = 256  # … in the last sweep, which has more to hold
NARROW = 128  # components of some of the outputs, where a tile cannot hold all
PROGRAMS = 528  # to run at once: four on each of the 132 multiprocessors of an H100
LONGEST_SUM = 512  # inputs added up in a row; a longer sum would lose digits
PARTS = 2**25  # numbers that the parts of a sum may take together: 128 MB
MOST_PARTS = 4  # of the samples, each with a dW of its own; more where inputs are few


class Blocks(NamedTuple):
    """What a program has in hand: BB samples, JB outputs of DP ≥ D components, PB of P."""

    BB: int
    JB: int
    DP: int
    PB: int
    num_warps: int
    num_stages: int


def launch_blocks(B: int, J: int, D: int, P: int, *, sweep: bool = False) -> Blocks:
    """The blocks of a shape, found by compiling for sm_80 and sm_90: nothing spills.

    A tile has BB × JB·DP votes. 16 samples are the fewest that tensor cores multiply; more than 32
    leave no room. 1024 votes of a warp are 32 registers of a thread, and three to four such tiles
    (x, A, s; ds) are held at once beside the weights and their two halves. The last sweep also
    holds dx and dW, hence half the votes. Weights come in blocks of 16 input components, or
    more where the tile is narrow; where that takes several steps, they need registers too.
    `num_stages` keeps the weights on their way within the 99 KB that every GPU since sm_80 has.
    """
    DP = triton.next_power_of_2(D)
    JB = max(triton.next_power_of_2(J), 16 // DP)
    widest = WIDEST_SWEEP if sweep else WIDEST
    if widest < JB * DP:
        JB = max(1, NARROW // DP, 16 // DP)
    width = JB * DP
    BB = max(16, min(32, TILE // width, triton.next_power_of_2(B)))
    PB = max(16, min(triton.next_power_of_2(P), TILE // width))
    warps = BB * width // (512 if sweep else 1024)
    return Blocks(
        BB,
        JB,
        DP,
        PB,
        num_warps=max(8 if sweep or P > PB else 4, warps),
        num_stages=2 if P > PB or width * PB > 8192 else 3,
    )


class Call:
    """The factors of a call, and its launches."""

    def __init__(self, pose: Tensor, weight: Tensor, leaky: bool) -> None:
        self.pose, self.weight = pose, weight
        (self.B, self.I, self.P), (_, self.J, self.D, _) = pose.shape, weight.shape
        self.leaky, self.uniform = leaky, 1 / (self.J + 1 if leaky else self.J)
        self.blocks = launch_blocks(self.B, self.J, self.D, self.P)
        self.sample_blocks = triton.cdiv(self.B, self.blocks.BB)
        self.output_blocks = triton.cdiv(self.J, self.blocks.JB)
        self.shared = len(weight) == 1  # by all inputs
        (self.u_b, u_i, u_p), (w_i, *w_strides) = pose.stride(), weight.stride()
        self.constants: dict[str, Any] = {
            **dict(zip("JDP", (self.J, self.D, self.P))),
            **dict(zip(("U_I", "U_P", "W_I"), (u_i, u_p, 0 if self.shared else w_i))),
            **dict(zip(("W_J", "W_D", "W_P"), w_strides)),
            "EXACT": exact(pose.dtype),
            "UPCAST": INTERPRETED,
        }

    def new(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=self.pose.device)

    def new_sums(self, iterations: int) -> Tensor:
        """Room for lse and Σ_k c_k dc_k of every sample and input."""
        return self.new(iterations, 2, self.I, self.B)

    def launch(
        self,
        kernel: Any,
        programs: int,
        blocks: Blocks,
        arguments: tuple[object, ...],
        **constants: object,
    ) -> None:
        constants = {**self.constants, **blocks._asdict(), **constants}
        arguments = (self.pose, self.weight, *arguments)
        launch(kernel, programs, self.pose.get_device(), arguments, constants)

    def sum_over_inputs(
        self, a: Tensor | None, ds: Tensor | None = None, sums: Tensor | None = None
    ) -> Tensor:
        """Parts [chunks, B, J, D] of Σ_i c_ij û_ij (without `a`: c uniform), or with `ds` of
        Σ_i db_ij û_ij.
        """
        blocks = self.sample_blocks * self.output_blocks
        chunks = max(PROGRAMS // blocks, triton.cdiv(self.I, LONGEST_SUM))
        chunks = max(1, min(chunks, self.I, PARTS // (self.B * self.J * self.D)))
        inputs = triton.cdiv(self.I, chunks)
        chunks = triton.cdiv(self.I, inputs)
        partial = self.new(chunks, self.B, self.J, self.D)
        given = (partial if tensor is None else tensor for tensor in (a, ds, sums))
        self.launch(
            loops.iterate,
            blocks * chunks,
            self.blocks,
            (*given, partial, self.B, self.I, inputs, self.uniform, self.u_b),
            LEAKY=self.leaky,
            GIVEN=self.output_blocks > 1,
            UNIFORM=a is None,
            BACKWARD=ds is not None,
        )
        return partial

    def sum_over_outputs(self, a: Tensor, ds: Tensor | None, sums: Tensor) -> None:
        """Write lse, and with `ds` Σ_k c_k dc_k, to `sums`."""
        self.launch(
            loops.sum_over_outputs,
            self.sample_blocks * self.I,
            self.blocks,
            (a, a if ds is None else ds, sums, self.B, self.I, self.u_b),
            LEAKY=self.leaky,
            BACKWARD=ds is not None,
        )

    def finish(self, kernel: Any, partial: Tensor, *arguments: Tensor, **constants: int) -> None:
        """Add the parts up, and take the step that follows."""
        chunks, rows, DP = len(partial), self.B * self.J, self.blocks.DP
        block = min(32, triton.next_power_of_2(chunks))
        rows_of_one = max(1, 2048 // (block * DP))
        constants |= {"D": self.D, "ROWS": rows_of_one, "DP": DP, "CHUNKS": block}
        programs = triton.cdiv(rows, rows_of_one)
        values = (partial, *arguments, rows, chunks)
        launch(kernel, programs, self.pose.get_device(), values, constants)

    def sweep(self, a: Tensor, ds: Tensor, sums: Tensor, detach: bool) -> tuple[Tensor, Tensor]:
        """The gradients of pose and weight."""
        B, I, J, D, P = self.B, self.I, self.J, self.D, self.P
        blocks = launch_blocks(B, J, D, P, sweep=True)
        QB = max(16, min(32, triton.next_power_of_2(P)))
        walks, depths = triton.cdiv(J, blocks.JB), triton.cdiv(P, QB)
        sample_blocks = triton.cdiv(B, blocks.BB)
        # dW in parts: of the samples, and of the inputs where they share the weights.
        if self.shared:
            chunks = max(1, min(I, PROGRAMS // (walks * depths), PARTS // (J * D * P)))
            parts = min(PROGRAMS // (walks * depths * chunks), PARTS // (chunks * J * D * P))
        elif walks > 1:
            chunks, parts = I, min(PROGRAMS // (walks * depths * I), PARTS // (I * J * D * P))
        else:  # some samples and many inputs
            parts = max(MOST_PARTS, PROGRAMS // (depths * I))
            parts = min(parts, sample_blocks, PARTS // (I * J * D * P))
            chunks = min(I, PROGRAMS // (depths * max(1, parts)))
        inputs = triton.cdiv(I, max(1, chunks))
        chunks = triton.cdiv(I, inputs)
        samples = triton.cdiv(sample_blocks, max(1, parts)) * blocks.BB
        parts = triton.cdiv(B, samples)
        one_sum = self.shared or inputs == 1
        kept = chunks if one_sum else I  # sums of dW for each part of the samples
        in_memory = not one_sum and samples > blocks.BB  # blocks of samples are added up there
        summed = parts > 1 or kept > len(self.weight) or in_memory
        # The interpreter cuts bf16 off, torch rounds it.
        dtype = torch.float32 if INTERPRETED else self.pose.dtype
        du = self.pose.new_empty(B, I, P, dtype=dtype)
        dw = self.pose.new_empty(kept, parts, J, D, P, dtype=torch.float32 if summed else dtype)

        def sweep(programs: int, inputs: int, samples: int, **constants: object) -> None:
            self.launch(
                loops.sweep,
                programs * depths,
                blocks,
                (a, ds, sums, du, dw, B, I, inputs, samples, self.uniform, self.u_b),
                UNIFORM=not detach or len(ds) == 1,
                FIRST=max(1, len(ds) - 1) if detach else 1,
                ITERATIONS=len(ds),
                DETACH=detach,
                QB=QB,
                CUTS=min(blocks.num_warps, blocks.JB * blocks.DP // 16),
                ONE_SUM=one_sum,
                **constants,
            )

        every = walks * blocks.JB
        if walks == 1:
            sweep(chunks * parts, inputs, samples, WALK=every, DU=True, DW=True)
        else:  # a program adds up either dW over samples or du over outputs
            sweep(I * triton.cdiv(B, blocks.BB), 1, blocks.BB, WALK=every, DU=True, DW=False)
            sweep(chunks * parts * walks, inputs, samples, WALK=blocks.JB, DU=False, DW=True)
        if parts > 1 or kept > len(self.weight):
            dw = dw.view(len(self.weight), -1, J, D, P).sum(dim=1)
        return du.to(self.pose.dtype), dw.to(self.pose.dtype).view(self.weight.shape)


def exact(dtype: torch.dtype) -> bool:
    """Whether products are to have all digits of float32, as those of torch would."""
    return dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32"


def route(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The poses v^r of the output capsules after r iterations.

    Args:
        pose: u, `[B, I, P]`, float32, bfloat16 or float16, with any strides.
        weight: W, `[I, J, D, P]`, or `[1, J, D, P]`, shared by all inputs; dtype of `pose`.
        iterations, leaky, detach: as in `dynamic_routing`; `detach` matters in backward alone.

    Returns:
        v^r `[B, J, D]`, float32, and what backward needs, `[2r − 1, B, J, D]`: A^2 … A^r, then
        s^1 … s^r.
    """
    with torch.cuda.device(pose.get_device()):
        call = Call(pose, weight, leaky)
        v = call.new(call.B, call.J, call.D)
        history = call.new(2 * iterations - 1, *v.shape)
        a, s = history[: iterations - 1], history[iterations - 1 :]
        sums = call.new_sums(1)[0] if call.output_blocks > 1 else None
        for t in range(iterations):
            first, last = t == 0, t == iterations - 1
            if sums is not None and not first:
                call.sum_over_outputs(a[t - 1], None, sums)
            partial = call.sum_over_inputs(None if first else a[t - 1], sums=sums)
            before, after = s[t] if first else a[t - 1], v if last else a[t]
            call.finish(loops.finish, partial, before, s[t], after, ALONE=first or last)
    return v, history


def route_backward(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of pose and weight, in their dtype, from that of v^r (`upstream`)."""
    with torch.cuda.device(pose.get_device()):
        call = Call(pose, weight, leaky)
        last = len(history) // 2  # iterations are counted from 0
        a, s = history[:last], history[last:]
        ds, dv = call.new(last + 1, call.B, call.J, call.D), call.new(call.B, call.J, call.D)
        whole = upstream.float().contiguous()[None]
        call.finish(loops.finish_backward, whole, dv, s[last], ds[last], LAST=True)
        sums = call.new_sums(last)
        for t in range(last, 0, -1):
            if call.output_blocks > 1 or detach:
                call.sum_over_outputs(a[t - 1], None if detach else ds[t], sums[t - 1])
            if detach:  # c^r is a constant, and earlier iterations have no gradient
                break
            partial = call.sum_over_inputs(a[t - 1], ds[t], sums[t - 1])
            tensors = dv, s[t - 1], ds[t - 1]
            call.finish(loops.finish_backward, partial, *tensors, LAST=t == last)
        return call.sweep(a, ds, sums, detach)


DEVICES = ("cuda", "cpu")  # CPU tensors for the interpreter
routing_cuda = torch.library.custom_op(
    "torchcaps::routing_cuda", route, mutates_args=(), device_types=DEVICES
)
routing_cuda_backward = torch.library.custom_op(
    "torchcaps::routing_cuda_backward", route_backward, mutates_args=(), device_types=DEVICES
)


@routing_cuda.register_fake
def _(
    pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    B, (_, J, D, _) = pose.shape[0], weight.shape
    v = pose.new_empty(B, J, D, dtype=torch.float32)
    return v, v.new_empty(2 * iterations - 1, B, J, D)


@routing_cuda_backward.register_fake
def _(
    upstream: Tensor, pose: Tensor, weight: Tensor, history: Tensor, leaky: bool, detach: bool
) -> tuple[Tensor, Tensor]:
    return pose.new_empty(pose.shape), weight.new_empty(weight.shape)


register_derivatives(routing_cuda, routing_cuda_backward, device="CUDA")


class Route(torch.autograd.Function):
    """The same as `routing_cuda` in less time, for calls that nobody but autograd watches."""

    @staticmethod
    def forward(
        ctx: Any, pose: Tensor, weight: Tensor, iterations: int, leaky: bool, detach: bool
    ) -> tuple[Tensor, Tensor]:
        v, history = route(pose, weight, iterations, leaky, detach)
        ctx.save_for_backward(pose, weight, history)
        ctx.mark_non_differentiable(history)
        ctx.set_materialize_grads(False)
        ctx.options = (leaky, detach)
        return v, history

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if upstream is None:
            return (None,) * 5
        refuse_tangents(upstream)
        pose, weight, history = ctx.saved_tensors
        # With gradients enabled a second derivative is wanted, which the op refuses.
        watched = torch.is_grad_enabled() or is_watched(upstream)
        if watched:
            count_flops("routing_cuda")
        of_factors = routing_cuda_backward if watched else route_backward
        gradients = of_factors(upstream.resolve_neg(), pose, weight, history, *ctx.options)
        return (*gradients, None, None, None)
