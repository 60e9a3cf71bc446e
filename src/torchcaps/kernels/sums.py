"""Sums over the votes of all input capsules, as functions of factors and state, with derivatives.

What routing does between two states is to couple every vote and to add up. `sums_of_votes` does it
for logits that are products, `moments_of_votes` for those that are Gaussians, from the factors of
the votes; backward forms them anew. With the symbols of `sweeps_cpu/votes.py`:

    products:   b_ij = V_ij · p_j,                        S_j = Σ_i c_ij V_ij
    Gaussians:  b_ij = k_j − Σ_h p_jh (V_ijh − m_jh)²,    S_j = Σ_i c_ij a_i (1, d_ij, d_ij²)

and `coupled_sums_of_votes` for couplings that do not come from votes.

Backward, with e = dS, d = V − m:  dw_ij = e0 + Σ_h (e1 + e2 d) d,  da_i = Σ_j c_ij dw_ij,
dc = a dw,  g = db_ij = c_ij (dc_ij − Σ c dc),  dV = c a (e1 + 2 e2 d) − 2 g p d,
dk = Σ_i g,  dp = −Σ_i g d²,  dm = 2 p Σ_i g d − e1 S0 − 2 e2 S1.

The sweeps themselves are in `sweeps_cpu` (Numba) and `sweeps_cuda` (Triton). Tensors have N blocks
of L samples side by side: on a CPU those that fill a vector, on a GPU one.
"""

from typing import Any

import torch
from torch import Tensor

from torchcaps.kernels.autograd import refuse_odd
from torchcaps.kernels.form import SOFTMAX, Form, SumsCall

__all__ = ["coupled_sums_of_votes", "moments_of_votes", "sums_of_votes"]


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


def coupled_sums_of_votes(form: Form, u: Tensor, w: Tensor, coupling: Tensor) -> Tensor:
    """Σ_i c_ij V_ij `[N, F, R, L]` of couplings `[N, F, I, J, L]`."""
    N, F, *_, L = u.shape
    p = u.new_zeros(N, F, w.shape[1] * form.rows, L)  # not looked at
    found: tuple[Tensor] = Sums.apply(form, 1.0, False, u, w, p, coupling, None, None)  # type: ignore[no-untyped-call]
    return found[0]


class Sums(torch.autograd.Function):
    """A sweep, and backward others."""

    @staticmethod
    def forward(
        ctx: Any, form: Form, coupling: float, through: bool, *tensors: Any
    ) -> tuple[Tensor, ...]:
        sums = call_of(form, coupling, *tensors).forward()
        ctx.form, ctx.coupling, ctx.through = form, coupling, through
        ctx.save_for_backward(*tensors, *sums[:-1])
        return sums

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        form = ctx.form
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"the {form.backend.upper()} routing kernel has first derivatives only: pass "
                "backend='reference'"
            )
        refuse_odd(upstream)
        saved = ctx.saved_tensors  # read once: whoever forms them anew does so at every reading
        tensors, sums = saved[:6], saved[6:]
        e = tuple(x.contiguous().resolve_neg() for x in upstream)
        call = call_of(form, ctx.coupling, *tensors)
        du, dw, d_activation, parts = call.backward(e, ctx.through and ctx.coupling < 0)
        if len(parts) == 1:
            return None, None, None, du, dw, parts[0], d_activation, None, None
        l0, l1, l2 = parts
        (mass, first), by_output = sums, (form.outputs, -1)
        e1, e2, first = (x.unflatten(2, by_output) for x in (e[1], e[2], first))
        dm = 2 * tensors[2] * l1 - (e1 * mass.unsqueeze(3) + 2 * e2 * first).flatten(2, 3)
        return None, None, None, du, dw, -l2, d_activation, l0, dm


def call_of(form: Form, coupling: float, *tensors: Any) -> SumsCall:
    """What makes the sweeps of a backend; its compiler is loaded now, not before."""
    if form.backend == "cuda":
        from torchcaps.kernels.sweeps_cuda.op import CudaCall

        return CudaCall(form, coupling, *tensors)
    from torchcaps.kernels.sweeps_cpu.op import CpuCall, CpuCoupledCall

    *_, activation, k, _ = tensors
    coupled = k is None and activation is not None
    return (CpuCoupledCall if coupled else CpuCall)(form, coupling, *tensors)
