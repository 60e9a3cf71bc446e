"""Self-attention routing of Efficient-CapsNet: Mazzia, Salvetti, Chiaberge (2021)."""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import agreement, direction_and_length, soft_squash, weighted_sum
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.packed import PackedVotes
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper

__all__ = ["SelfAttentionRouting"]


class Total(NamedTuple):
    """S_j in the first sweep, s_j in the second; `[..., J, D]`."""

    s: Tensor


class SelfAttentionRouting(Routing[Total, Total]):
    """The votes for an output capsule attend to each other, once; no iterations.

    S_j = Σ_i V_ij,  c_ij = softmax_j (V_ij · S_j / √D) + b_ij,  v_j = softsquash(Σ_i c_ij V_ij),
    softsquash(s) = (1 − e^−|s|) · s / |s|

    V_ij · S_j is the sum of the scalar products of V_ij with all votes for j, its own included; it
    grows with the number of input capsules. b is added after the softmax, so that couplings neither
    sum to 1 nor stay positive.

    Args:
        backend: as for every `Routing`.

    Learned: `bias` b `[I, J]`, which starts at 0.

    Returns of `forward`:
        `Capsules(pose [..., J, D], activation [..., J])`, activation = |pose| in [0, 1]. The
        activations of the input capsules are not looked at.

    Deviation: the authors guard s / |s| by 1e-20, which leaves NaN as the gradient of a zero
    capsule; here it is 1, as of the formula.

    Reference: Mazzia, Salvetti, Chiaberge (2021), *Efficient-CapsNet: Capsule Network with
    Self-Attention Routing*, Scientific Reports 11.

    Example:
        >>> routing = SelfAttentionRouting().build(in_caps=6, in_dim=8, out_caps=10, out_dim=16)
        >>> routing(torch.randn(2, 6, 10, 16)).pose.shape
        torch.Size([2, 10, 16])
    """

    name = "self_attention"
    fused = True
    paper = Paper(
        "Mazzia, Salvetti, Chiaberge",
        2021,
        "Efficient-CapsNet: Capsule Network with Self-Attention Routing",
        "Scientific Reports 11",
    )
    laws = frozenset({Law.ODD, Law.ROTATION_EQUIVARIANT, Law.LENGTH_IS_ACTIVATION})

    def __init__(self, *, backend: str = "auto") -> None:
        super().__init__(1, backend=backend)
        self.register_parameter("bias", None)

    @property
    def sweeps(self) -> int:
        """One for S_j, one for v_j."""
        return 2

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        self.bias = nn.Parameter(torch.zeros(in_caps, out_caps))
        return self

    @property
    def built_for(self) -> dict[str, int]:
        in_caps, out_caps = self.bias.shape
        return {"in_caps": in_caps, "out_caps": out_caps}

    def score(self, tile: Tile, state: Total) -> Tensor:
        """V_ij · S_j / √D"""
        unit, length = direction_and_length(state.s)
        logits = agreement(tile.votes, unit) * length.squeeze(-1).unsqueeze(-2)
        largest = torch.finfo(logits.dtype).max / 4  # the product of large votes overflows
        return logits.clamp(-largest, largest) / math.sqrt(tile.votes.shape[-1])

    def couple_first(self, tile: Tile, logits: Tensor) -> Tensor:
        """1: S_j is the sum of all votes."""
        return torch.ones_like(logits)

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        """softmax_j (V_ij · S_j / √D) + b_ij"""
        return tile.compete(logits) + self.bias[tile.indices]

    def gather(self, tile: Tile, coupling: Tensor, state: Total) -> Total:
        return Total(weighted_sum(coupling, tile.votes))

    def sweep_packed(self, votes: PackedVotes, state: Total, t: int) -> Total:
        if t == 1:
            return Total(votes.sums(None, coupling=1.0))
        coupled = votes.sums(state.s / math.sqrt(votes.outputs[1]))
        return Total(coupled + votes.weighted(self.bias).sums(None, coupling=1.0))

    def settle(self, statistics: Total, state: Total, t: int) -> Total:
        return statistics

    def finish(self, state: Total) -> Capsules:
        """v_j and its length."""
        v = soft_squash(state.s)
        return Capsules(v, torch.linalg.vector_norm(v, dim=-1))
