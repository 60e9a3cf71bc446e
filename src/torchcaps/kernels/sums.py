"""Sums over the votes of all input capsules, as functions of factors and state, with derivatives.

What routing does between two states is to couple every vote and to add up. `sums_of_votes` does it
for logits that are products, `moments_of_votes` for those that are Gaussians, from the factors of
the votes; backward forms them anew. With the symbols of `sweeps_cpu/votes.py`:

    products:   b_ij = V_ij · p_j,                        S_j = Σ_i c_ij V_ij
    Gaussians:  b_ij = k_j − Σ_h p_jh (V_ijh − m_jh)²,    S_j = Σ_i c_ij a_i (1, d_ij, d_ij²)

and `sums_coupled_by_poses` for couplings that do not come from votes.

Backward, with e = dS, d = V − m:  dw_ij = e0 + Σ_h (e1 + e2 d) d,  da_i = Σ_j c_ij dw_ij,
dc = a dw,  g = db_ij = c_ij (dc_ij − Σ c dc),  dV = c a (e1 + 2 e2 d) − 2 g p d,
dk = Σ_i g,  dp = −Σ_i g d²,  dm = 2 p Σ_i g d − e1 S0 − 2 e2 S1.

The sweeps themselves are in `sweeps_cpu` (Numba) and `sweeps_cuda` (Triton). Tensors have N blocks
of L samples side by side: on a CPU those that fill a vector, on a GPU one.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchcaps.kernels.autograd import refuse_odd
from torchcaps.kernels.form import SOFTMAX, Form, SumsCall

if TYPE_CHECKING:
    from torchcaps.kernels.sweeps_cpu.op import PoseCall

__all__ = ["moments_of_votes", "sums_coupled_by_poses", "sums_of_votes"]


def moments_of_votes(
    form: Form,
    u: Tensor,
    w: Tensor,
    activation: Tensor,
    k: Tensor,
    p: Tensor,
    m: Tensor,
    coupling: float = SOFTMAX,
    through: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """S0 `[N, F, J, L]`, S1 and S2 `[N, F, R, L]`, of votes coupled by Gaussian logits.

    Args:
        form: of the votes.
        u: poses, `[N, F, I, rows·M, L]`.
        w: weights, `[I, J·N, M]`.
        activation: `[N, F, I, L]`.
        k: `[N, F, J, L]`, and p, m: `[N, F, R, L]`.
        coupling: `SOFTMAX`, `SHARED` or a constant.
        through: False: the coupling is constant in backward.
    """
    found: tuple[Tensor, Tensor, Tensor] = Sums.apply(  # type: ignore[no-untyped-call]
        form, coupling, through, u, w, p, activation, k, m
    )
    return found


def sums_of_votes(
    form: Form, u: Tensor, w: Tensor, p: Tensor, coupling: float = SOFTMAX, through: bool = True
) -> Tensor:
    """S `[N, F, R, L]`, of votes coupled by products; arguments as of `moments_of_votes`."""
    found: tuple[Tensor] = Sums.apply(  # type: ignore[no-untyped-call]
        form, coupling, through, u, w, p, None, None, None
    )
    return found[0]


def sums_coupled_by_poses(
    form: Form, u: Tensor, w: Tensor, activation: Tensor, maps: Tensor, biases: Tensor
) -> tuple[Tensor, Tensor]:
    """Σ_i c_ij a_i `[N, F, J, L]` and Σ_i c_ij a_i V_ij `[N, F, R, L]`, with
    c_i = softmax_j (maps_ij · u_i + biases_ij) of the first components of a pose.

    Args:
        form, u, w, activation: as of `moments_of_votes`, in one window.
        maps: `[I, J, P]`, and biases: `[I, J]`.
    """
    if form.backend == "cpu":
        found: tuple[Tensor, Tensor] = SumsByPoses.apply(  # type: ignore[no-untyped-call]
            form, u, w, activation, maps.contiguous(), biases.contiguous()
        )
        return found
    logits = torch.einsum("nfipl,ijp->nfijl", u[:, :, :, : maps.shape[-1]], maps)
    shares = torch.softmax(logits + biases.unsqueeze(-1), dim=3)
    coupling = (shares * activation.unsqueeze(3)).contiguous()
    p = u.new_zeros(len(u), u.shape[1], w.shape[1] * form.rows, u.shape[-1])  # not looked at
    sums = Sums.apply(form, 1.0, False, u, w, p, coupling, None, None)  # type: ignore[no-untyped-call]
    return coupling.sum(dim=2), sums[0]


class Sums(torch.autograd.Function):
    """A sweep, and backward others."""

    @staticmethod
    def forward(
        ctx: Any, form: Form, coupling: float, through: bool, *tensors: Any
    ) -> tuple[Tensor, ...]:
        sums = call_of(form.backend)(form, coupling, *tensors).forward()
        ctx.form, ctx.coupling, ctx.through = form, coupling, through
        ctx.save_for_backward(*tensors, *sums[:-1])
        return sums

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        form = ctx.form
        refuse_second(form)
        refuse_odd(upstream)
        saved = ctx.saved_tensors  # read once: whoever forms them anew does so at every reading
        tensors, sums = saved[:6], saved[6:]
        e = tuple(x.contiguous().resolve_neg() for x in upstream)
        call = call_of(form.backend)(form, ctx.coupling, *tensors)
        du, dw, d_activation, parts = call.backward(e, ctx.through and ctx.coupling < 0)
        if len(parts) == 1:
            return None, None, None, du, dw, parts[0], d_activation, None, None
        l0, l1, l2 = parts
        (mass, first), by_output = sums, (form.outputs, -1)
        e1, e2, first = (x.unflatten(2, by_output) for x in (e[1], e[2], first))
        dm = 2 * tensors[2] * l1 - (e1 * mass.unsqueeze(3) + 2 * e2 * first).flatten(2, 3)
        return None, None, None, du, dw, -l2, d_activation, l0, dm


class SumsByPoses(torch.autograd.Function):
    """Σ_i c_ij a_i and Σ_i c_ij a_i V_ij, coupled by poses, on a CPU."""

    @staticmethod
    def forward(ctx: Any, form: Form, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        ctx.form = form
        ctx.save_for_backward(*tensors)
        maps, biases = tensors[3:]
        return pose_call(form, *tensors[:3]).by_poses(maps, biases)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second(ctx.form)
        refuse_odd(upstream)
        u, w, activation, maps, biases = ctx.saved_tensors
        of_mass, e = (x.contiguous().resolve_neg() for x in upstream)
        call = pose_call(ctx.form, u, w, activation)
        du, d_activation, dw, *of_coupling = call.by_poses_backward(maps, biases, of_mass, e)
        return None, du, dw, d_activation, *of_coupling


def refuse_second(form: Form) -> None:
    """Raise where a second derivative is wanted."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"the {form.backend.upper()} routing kernel has first derivatives only: pass "
            "backend='reference'"
        )


def pose_call(form: Form, u: Tensor, w: Tensor, activation: Tensor) -> "PoseCall":
    """What makes the sweeps of votes that poses couple."""
    from torchcaps.kernels.sweeps_cpu.op import PoseCall

    p = u.new_empty(len(u), u.shape[1], w.shape[1] * form.rows, u.shape[-1])  # not looked at
    return PoseCall(form, 1.0, u, w, p, activation, None, None)


def call_of(backend: str) -> type[SumsCall]:
    """What makes the sweeps of a backend; its compiler is loaded now, not before."""
    if backend == "cuda":
        from torchcaps.kernels.sweeps_cuda.op import CudaCall

        return CudaCall
    from torchcaps.kernels.sweeps_cpu.op import CpuCall

    return CpuCall
