"""Attention routing of AR-CapsNet: Choi, Seo, Im, Kang (2019)."""

import math
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import weighted_sum
from torchcaps.routing.base import Routing
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper

__all__ = ["ARCapsNetRouting"]


class Total(NamedTuple):
    """s_j = Σ_i c_ij V_ij, `[..., J, D]`; what is made of it is the state."""

    s: Tensor


class ARCapsNetRouting(Routing[Total, Total]):
    """Each output capsule attends to its input capsules, by a learned map that sees all its votes.

    e_ij = Σ_k A_ijk · V_kj,  c_ij = softmax_i e_ij (over the *input* capsules),
    s_j = Σ_i c_ij V_ij,  pose_j = tanh(M_j s_j + b_j),  a_j = |pose_j| / √D

    One pass, no agreement. The couplings of an output capsule sum to 1, not those of an input
    capsule. What is learned belongs to particular input capsules, so their order matters; their
    activations are not looked at. With a map of capsules: `ConvolvedCaps` with `shared=False` and
    `bias=True`.

    Args:
        backend: as for every `Routing`; a score looks at all votes, so that there are no tiles.

    Learned: `attention` A `[J, D, I, I]` (component of the vote, its capsule k, the capsule i that
    is scored), `matrix` M `[J, D, D]`, `bias` b `[J, D]`.

    Reference: Choi, Seo, Im, Kang (2019), *Attention Routing Between Capsules*, ICCV workshops.
    In their class layer an array (J, D) is read as (D, J), so that each class vector is made of
    components of several; here it is not.

    Example:
        >>> routing = ARCapsNetRouting().build(in_caps=6, in_dim=8, out_caps=10, out_dim=16)
        >>> routing(torch.randn(2, 6, 10, 16)).pose.shape
        torch.Size([2, 10, 16])
    """

    name = "ar_capsnet"
    paper = Paper(
        "Choi, Seo, Im, Kang", 2019, "Attention Routing Between Capsules", "ICCV Workshops"
    )
    by_tiles: ClassVar[bool] = False

    def __init__(self, *, backend: str = "auto") -> None:
        super().__init__(1, backend=backend)
        for name in ("attention", "matrix", "bias"):
            self.register_parameter(name, None)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        seen = in_caps * out_dim
        self.attention = nn.Parameter(torch.randn(out_caps, out_dim, in_caps, in_caps) / seen**0.5)
        self.matrix = nn.Parameter(torch.randn(out_caps, out_dim, out_dim) / out_dim**0.5)
        self.bias = nn.Parameter(torch.zeros(out_caps, out_dim))
        return self

    @property
    def built_for(self) -> dict[str, int]:
        out_caps, out_dim, in_caps, _ = self.attention.shape
        return {"in_caps": in_caps, "out_caps": out_caps, "out_dim": out_dim}

    def start(self, tile: Tile) -> Tensor:
        """e_ij = Σ_k A_ijk · V_kj"""
        A = self.attention[..., tile.indices, tile.indices]
        return torch.einsum("...kjd,jdki->...ij", tile.votes, A)

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        """c_ij = softmax_i e_ij"""
        if tile.mask is not None:
            logits = logits.masked_fill(~tile.mask.unsqueeze(-1), torch.finfo(logits.dtype).min)
        return torch.softmax(logits, dim=-2)

    def gather(self, tile: Tile, coupling: Tensor, state: Total) -> Total:
        return Total(weighted_sum(coupling, tile.votes))

    def settle(self, statistics: Total, state: Total, t: int) -> Total:
        """M_j s_j + b_j"""
        return Total(torch.einsum("jed,...jd->...je", self.matrix, statistics.s) + self.bias)

    def finish(self, state: Total) -> Capsules:
        pose = torch.tanh(state.s)
        length = torch.linalg.vector_norm(pose, dim=-1)
        return Capsules(pose, length / math.sqrt(pose.shape[-1]))
