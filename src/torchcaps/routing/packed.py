"""Routing by the kernels of sums: votes of factors whose samples lie side by side.

A kernel adds up the votes of all input capsules between two states (`kernels/sums.py`), on a CPU in
vectors of samples. Here factors are packed for it once a call; a state stays as it comes from the
kernel, `[N, L, F, J, ·]` for N blocks of L samples (1 on a GPU) and F windows of a map (1 for dense
capsules), and the algorithm's own `settle` goes from one to the next, its derivatives by autograd.
Nothing but states is kept for backward.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchcaps.kernels.form import SHARED, SOFTMAX, Form
from torchcaps.kernels.sums import moments_of_votes, sums_coupled_by_poses, sums_of_votes
from torchcaps.routing.sweep import as_type
from torchcaps.routing.tile import Problem
from torchcaps.votes import LinearVotes, MatrixVotes, Votes, WindowVotes

if TYPE_CHECKING:
    from torchcaps.routing.base import Routing

__all__ = ["SHARED", "PackedVotes", "route_packed", "unpacked_state"]


@dataclass(frozen=True)
class PackedVotes:
    """Votes as the kernel takes them.

    Args:
        form: how they come from u and w.
        u: `[N, F, I, P, L]`.
        w: `[I, J·N, M]`.
        activation: `[N, F, I, L]`.
        through: whether the couplings have a gradient.
    """

    form: Form
    u: Tensor
    w: Tensor
    activation: Tensor
    through: bool

    @cached_property
    def outputs(self) -> tuple[int, int]:
        """J and D."""
        J = self.form.outputs
        return J, self.w.shape[1] // J * self.form.rows

    def sums(self, key: Tensor | None, coupling: float = SHARED) -> Tensor:
        """Σ_i c_ij V_ij, `[N, L, F, J, D]`, with c = softmax_j (V_ij · key_j); without a key the
        coupling is constant: a number, or `SHARED`, equal shares of 1."""
        p = self.nothing()
        if key is not None:
            p, coupling = packed_state(key), SOFTMAX
        found = sums_of_votes(self.form, self.u, self.w, p, coupling, self.through)
        return unpacked_state(found, *self.outputs)

    def coupled_by_poses(self, maps: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_i c_ij a_i `[N, L, F, J, 1]` and Σ_i c_ij a_i V_ij `[N, L, F, J, D]`, with
        c_i = softmax_j (maps_ij · u_i + biases_ij), of maps `[I, J, P]` and biases `[I, J]`."""
        mass, found = sums_coupled_by_poses(
            self.form, self.u, self.w, self.activation, maps, biases
        )
        J, D = self.outputs
        return unpacked_state(mass, J, 1), unpacked_state(found, J, D)

    def moments(
        self, centre: Tensor, density: tuple[Tensor, Tensor] | None, coupling: float = SHARED
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Σ_i w_ij `[N, L, F, J, 1]`, Σ_i w_ij d_ij and Σ_i w_ij d_ij² `[N, L, F, J, D]`, with
        w_ij = c_ij a_i, d_ij = V_ij − centre_j, c = softmax_j (k_j − Σ_h p_jh d_ijh²) for the
        density (k, p), and without one constant."""
        if density is None:
            p = self.nothing()
            k = p.new_zeros(*p.shape[:2], self.form.outputs, p.shape[-1])
        else:
            coupling = SOFTMAX
            k, p = (packed_state(x) for x in (density[0].unsqueeze(-1), density[1]))
        m = packed_state(centre)
        found = moments_of_votes(
            self.form, self.u, self.w, self.activation, k, p, m, coupling, self.through
        )
        J, D = self.outputs
        mass, first, second = (unpacked_state(x, J, d) for x, d in zip(found, (1, D, D)))
        return mass, first, second

    def weighted(self, factor: Tensor) -> "PackedVotes":
        """Those with every vote times its own factor `[I, J]`."""
        J, _ = self.outputs
        w = self.w.unflatten(1, (J, -1)) * factor.to(self.w.dtype)[..., None, None]
        return replace(self, w=w.flatten(1, 2))

    @torch.no_grad()
    def mean_vote(self) -> Tensor:
        """The mean vote, weighted by activation, `[N, L, F, J, D]`: one product of matrices."""
        weight = self.activation.clamp(min=0)
        pose = (self.u * weight.unsqueeze(3)).unflatten(3, (self.form.rows, -1))
        w = self.w.unflatten(1, (self.form.outputs, -1))
        total = torch.einsum("xfirml,ijnm->xlfjrn", pose, w).flatten(-2)
        mass = weight.sum(dim=2).mT[..., None, None]  # [N, L, F, 1, 1]
        mean: Tensor = total / torch.where(mass > 0, mass, torch.ones_like(mass))
        return mean

    def nothing(self) -> Tensor:
        """Zeros for a state `[N, F, J·D, L]` that is not looked at."""
        N, F, *_, L = self.u.shape
        J, D = self.outputs
        return self.u.new_zeros(N, F, J * D, L)


def route_packed(
    routing: "Routing[Any, Any]", problem: Problem, backend: str
) -> tuple[Tensor, ...]:
    """The state after the last iteration, `[..., J, ·]`, by the kernel of a backend."""
    leading = problem.votes.shape[:-3]
    votes = pack(problem, backend, through=not routing.detach)
    state = routing.begin_packed(votes)
    for t in range(1, routing.sweeps + 1):
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and (t > routing.detached_sweeps or not routing.detach)
        ):
            state = routing.settle(routing.sweep_packed(votes, state, t), state, t)
    samples = leading.numel() // votes.u.shape[1]
    parts = (part.flatten(0, 1)[:samples].reshape(*leading, *part.shape[3:]) for part in state)
    return as_type(type(state), parts)


def pack(problem: Problem, backend: str, *, through: bool) -> PackedVotes:
    """The votes of a problem, packed, in float32 or wider."""
    source = problem.votes.to(problem.dtype)
    inner = source.votes if isinstance(source, WindowVotes) else source
    assert isinstance(inner, (LinearVotes, MatrixVotes))
    pose, weight = inner.pose, inner.weight
    if isinstance(inner, MatrixVotes):
        rows = pose.shape[-1] // weight.shape[2]
        weight = weight.mT
    else:
        rows = 1
        if inner.bias is not None:  # a vote for a pose component that is always 1
            ones = pose.new_ones(*pose.shape[:-1], 1)
            if problem.mask is not None:
                ones = ones.masked_fill(~problem.mask.unsqueeze(-1), 0)
            pose = torch.cat([pose, ones], dim=-1)
            bias = inner.bias.expand(weight.shape[:3]).unsqueeze(-1)
            weight = torch.cat([weight, bias], dim=-1)
    windows, inputs = 1, pose.shape[-2]
    if isinstance(source, WindowVotes):
        windows = source.shape[-5:-3].numel()
    activation = problem.activation
    if activation is None:
        activation = pose.new_ones(()).expand(pose.shape[:-1])
        if problem.mask is not None:
            activation = problem.mask.to(pose.dtype)
    else:
        activation = activation.to(pose.dtype)
    # Kernels read memory as it is: a sign that is still to come would be lost.
    w = weight.flatten(1, 2).contiguous().resolve_neg()
    L = block_width(backend, w.element_size())
    u = pack_samples(pose.resolve_neg().reshape(-1, windows, inputs, pose.shape[-1]), L)
    a = pack_samples(activation.resolve_neg().reshape(-1, windows, inputs), L)
    form = Form(backend, rows, source.shape[-2], source.together, *places_of(source))
    return PackedVotes(form, u, w, a, through)


def block_width(backend: str, itemsize: int) -> int:
    """L, the samples side by side: what 64 bytes hold, on a GPU one."""
    return 1 if backend == "cuda" else 64 // itemsize


def places_of(votes: Votes) -> tuple[Tensor, Tensor, Tensor]:
    """`places`, `counts` and `positions` of a `Form`."""
    if not isinstance(votes, WindowVotes):
        nothing = torch.zeros(1, dtype=torch.int64, device=votes.device)
        return nothing.view(1, 1), nothing + 1, nothing
    parents = votes.parents
    table = parents.places.view(-1, parents.most)
    missing = table == len(parents.seats)
    table = table.sort(dim=-1).values  # nobody's is the largest
    return table, (~missing).sum(dim=-1), parents.seats // parents.most


def pack_samples(x: Tensor, L: int) -> Tensor:
    """`[B, …]` → `[N, …, L]`; the last sample stands in the places that are left over."""
    samples = len(x)
    if missing := -samples % L:
        x = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
    blocks = x.reshape(-1, L, x.shape[1:].numel()).mT.contiguous()
    return blocks.view(-1, *x.shape[1:], L)


def packed_state(x: Tensor) -> Tensor:
    """`[N, L, F, J, d]` → `[N, F, J·d, L]`"""
    return x.movedim(1, -1).flatten(2, 3).contiguous()


def unpacked_state(x: Tensor, J: int, d: int) -> Tensor:
    """`[N, F, J·d, L]` → `[N, L, F, J, d]`, a view"""
    view: Tensor = x.unflatten(2, (J, d)).movedim(-1, 1)
    return view
