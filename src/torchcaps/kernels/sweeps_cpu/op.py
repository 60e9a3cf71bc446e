"""Sums over the votes of all input capsules, as functions of factors and state, with derivatives.

What routing does between two states is to couple every vote and to add up. `sums_of_votes` does it
for logits that are products, `moments_of_votes` for those that are Gaussians, from the factors of
the votes, one input capsule at a time; backward forms them anew. With the symbols of votes.py:

    products:   b_ij = V_ij · p_j,                        S_j = Σ_i c_ij V_ij
    Gaussians:  b_ij = k_j − Σ_h p_jh (V_ijh − m_jh)²,    S_j = Σ_i c_ij a_i (1, d_ij, d_ij²)

and `coupled_sums_of_votes` for couplings that do not come from votes.

Backward, with e = dS, d = V − m:  dw_ij = e0 + Σ_h (e1 + e2 d) d,  da_i = Σ_j c_ij dw_ij,
dc = a dw,  g = db_ij = c_ij (dc_ij − Σ c dc),  dV = c a (e1 + 2 e2 d) − 2 g p d,
dk = Σ_i g,  dp = −Σ_i g d²,  dm = 2 p Σ_i g d − e1 S0 − 2 e2 S1.
"""

from typing import Any

import torch
from torch import Tensor

from torchcaps.kernels.autograd import refuse_batched
from torchcaps.kernels.cpu_threads import on_all_threads
from torchcaps.kernels.cpu_vectors import Lanes
from torchcaps.kernels.sweeps_cpu.form import SOFTMAX, Form
from torchcaps.kernels.sweeps_cpu.loops import sweep, sweep_backward

__all__ = ["coupled_sums_of_votes", "moments_of_votes", "sums_of_votes"]

CHILDREN = 64  # input capsules of a part of a sum, about; more would lose digits


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
    """A sweep, and backward another one."""

    @staticmethod
    def forward(
        ctx: Any, form: Form, coupling: float, through: bool, *tensors: Any
    ) -> tuple[Tensor, ...]:
        sums = Call(form, coupling, *tensors).forward()
        ctx.form, ctx.coupling, ctx.through = form, coupling, through
        ctx.save_for_backward(*tensors, *sums[:-1])
        return sums

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the CPU routing kernel has first derivatives only: pass backend='reference'"
            )
        refuse_batched(upstream)
        tensors, sums = ctx.saved_tensors[:6], ctx.saved_tensors[6:]
        call = Call(ctx.form, ctx.coupling, *tensors)
        return None, None, None, *call.backward(upstream, ctx.through, *sums)


class Call:
    """The arguments of a sweep, as the loops take them."""

    def __init__(
        self,
        form: Form,
        coupling: float,
        u: Tensor,
        w: Tensor,
        p: Tensor,
        activation: Tensor | None,
        k: Tensor | None,
        m: Tensor | None,
    ) -> None:
        self.form, self.u, self.w, self.p, self.k = form, u, w, p, k
        self.activation = activation
        self.state = (activation, k, p, m)
        self.constant = u.numpy().dtype.type(coupling)
        self.step = max(1, CHILDREN // form.cells)  # types in a part
        self.sizes = (*form, self.step)
        self.parts = -(-u.shape[2] // (self.step * form.cells))

    def forward(self) -> tuple[Tensor, ...]:
        """The sums."""
        parts = self.new_parts()
        arguments = (*self.state, self.constant, *self.sizes, *parts)
        self.run(sweep, self.parts * self.u.shape[0], *arguments)
        return tuple(added_up(part) for part in parts if part is not None)

    def backward(
        self,
        e: tuple[Tensor, ...],
        through: bool,
        mass: Tensor | None = None,
        first: Tensor | None = None,
    ) -> tuple[Tensor | None, ...]:
        """The gradients of u, w, p, activation, k and m, from those of the sums; S0 and S1 of
        Gaussians are asked for too."""
        e = tuple(x.contiguous() for x in e)
        du, dw = torch.empty_like(self.u), torch.empty_like(self.w)
        d_activation = None if self.activation is None else torch.empty_like(self.activation)
        parts = self.new_parts()
        self.run(
            sweep_backward,
            self.parts,
            *self.state,
            *((None, e[0], None) if self.k is None else e),
            self.constant,
            through and self.constant < 0,
            *self.sizes,
            *parts,
            du,
            d_activation,
            dw,
        )
        l1 = added_up(parts[1])
        if parts[0] is None or parts[2] is None or mass is None or first is None:
            return du, dw, l1, d_activation, None, None
        l0, l2 = added_up(parts[0]), added_up(parts[2])
        by_output = (self.form.outputs, -1)
        e1, e2, first = (x.unflatten(2, by_output) for x in (e[1], e[2], first))
        of_sums = (e1 * mass.unsqueeze(3) + 2 * e2 * first).flatten(2, 3)
        return du, dw, -l2, d_activation, l0, 2 * self.p * l1 - of_sums

    def new_parts(self) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Room for the parts of S0, S1 and S2."""
        first = self.p.new_empty(self.parts, *self.p.shape)
        if self.k is None:
            return None, first, None
        return self.k.new_empty(self.parts, *self.k.shape), first, torch.empty_like(first)

    def run(self, loop: Any, items: int, *arguments: object) -> None:
        """Call a loop on all threads."""
        arrays = (x.numpy() if isinstance(x, Tensor) else x for x in (self.w, self.u, *arguments))
        steps = self.u[..., 0].numel() * self.w.shape[1]
        on_all_threads(loop, items, Lanes(self.u.shape[-1]), *arrays, steps=steps)


def added_up(parts: Tensor) -> Tensor:
    """The sum over the first axis."""
    return parts[0] if len(parts) == 1 else parts.sum(dim=0)
