"""Routing of vectors that never needs votes: Heinsen (2022)."""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchcaps.functional import direction_and_length, log_sigmoid, of_ordinary_size
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper, check_switch
from torchcaps.votes import PoseVotes, Votes
from torchcaps.votes.base import WrappedVotes

__all__ = ["Heinsen2022Routing"]


class Totals(NamedTuple):
    """Σ_i φ_ij x'_i `[..., J, P]` and Σ_i φ_ij `[..., J, 1]`."""

    poses: Tensor
    credit: Tensor


class State(NamedTuple):
    """y_j `[..., J, D]`, and the input that it predicts `[..., J, P]`."""

    y: Tensor
    predicted: Tensor


class Heinsen2022Routing(Routing[Totals, State]):
    """Output capsules predict the input capsules, and those go to whoever predicts them best.

    For input poses x_i and x'_i = x_i / √I: f_i = σ(x'_i · W_A,i + B_A,i), R_ij = 1/J,
    then r times, with φ_ij = β_use,ij f_i R_ij − β_ign,ij f_i (1 − R_ij):
    y_j = Σ_i φ_ij V_ij,  V_ij = ((x'_i ∘ F1_j) F2) + B_F2,j,
    R_i· = softmax_j ln σ(W_S,ij (x_i · p_j) + B_S,ij),  p_j = (N(y_j) G1) ∘ G2_j + B_G2,j

    N is a LayerNorm without scale and shift (nothing where D = 1). The routing has the maps of its
    votes itself, and never forms a vote: y_j = ((Σ_i φ_ij x'_i) ∘ F1_j) F2 + (Σ_i φ_ij) B_F2,j. So
    a layer makes no weights for it, and the votes that it is handed are not looked at, only the
    poses that they are made of. I counts the input capsules that are not masked.

    The published layer returns N(y_j) alone. As in `AttentionRouting`, an activation is learned
    from it: σ(w · N(y_j) + w_0). Activations of the input capsules are not looked at: f_i is
    their like.

    Args:
        iterations: r ≥ 1; 2 in the published code.
        shared: W_A, B_A, W_S and B_S are shared by all input capsules, and β_use and β_ign are
            linear maps of their poses, for layers with any number of input capsules.
        detach, backend: as for every `Routing`.

    Learned: the parameters above, by these names (`beta_use`, `beta_ign`; with `shared` a linear
    map each), and `head` (D → 1).

    Reference: Heinsen (2022), *An Algorithm for Routing Vectors in Sequences*, arXiv 2211.11754.

    Example:
        >>> from torchcaps import DenseCaps
        >>> layer = DenseCaps(6, 8, 10, 16, routing="heinsen2022")
        >>> layer(torch.randn(2, 6, 8)).pose.shape
        torch.Size([2, 10, 16])
    """

    name = "heinsen2022"
    paper = Paper(
        "Heinsen", 2022, "An Algorithm for Routing Vectors in Sequences", "arXiv 2211.11754"
    )
    class_loss = "log_odds"
    needs_pose = True
    makes_votes = True
    counts_absent = True  # the votes that it makes are for all output capsules
    W_A: nn.Parameter
    B_A: nn.Parameter
    W_S: nn.Parameter
    B_S: nn.Parameter
    F1: nn.Parameter
    F2: nn.Parameter
    B_F2: nn.Parameter
    G1: nn.Parameter
    G2: nn.Parameter
    B_G2: nn.Parameter
    beta_use: nn.Parameter | nn.Linear
    beta_ign: nn.Parameter | nn.Linear

    def __init__(
        self,
        iterations: int = 2,
        *,
        shared: bool = False,
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, detach=detach, backend=backend)
        check_switch("shared", shared)
        self.shared = shared
        self.register_module("head", None)

    @property
    def laws(self) -> frozenset[Law]:
        of_order = {Law.INPUT_ORDER_IS_FREE} if self.shared else set()
        return frozenset({Law.COUPLING_SHARES_ONE_UNIT} | of_order)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        I, J, P, D = 1 if self.shared else in_caps, out_caps, in_dim, out_dim
        shapes = {
            "W_A": ((I, P), 2 / math.sqrt(P)), "B_A": ((I,), 0), "W_S": ((I, J), 1 / math.sqrt(P)),
            "B_S": ((I, J), 0), "F1": ((J, P), 1), "F2": ((P, D), 2 / math.sqrt(P)),
            "B_F2": ((J, D), 0), "G1": ((D, P), 1 / math.sqrt(D)), "G2": ((J, P), 1),
            "B_G2": ((J, P), 0),
        }  # fmt: skip
        for name, (shape, deviation) in shapes.items():
            self.register_parameter(name, nn.Parameter(deviation * torch.randn(shape)))
        if self.shared:
            self.beta_use, self.beta_ign = nn.Linear(P, J), nn.Linear(P, J)
        else:
            self.beta_use = nn.Parameter(torch.randn(I, J))
            self.beta_ign = nn.Parameter(torch.randn(I, J))
        self.head = nn.Linear(D, 1)
        return self

    @property
    def built_for(self) -> dict[str, int]:
        (in_dim, out_dim), out_caps = self.F2.shape, len(self.F1)
        of_children = {} if self.shared else {"in_caps": len(self.W_A)}
        return {**of_children, "in_dim": in_dim, "out_caps": out_caps, "out_dim": out_dim}

    def check_arguments(
        self, votes: Votes | Tensor, activation: Tensor | None, mask: Tensor | None
    ) -> tuple[Votes, Tensor | None]:
        """The poses in the place of the votes."""
        votes, activation = super().check_arguments(votes, activation, mask)
        pose = votes.in_pose
        assert pose is not None  # needs_pose
        inner = votes.votes if isinstance(votes, WrappedVotes) else votes
        count = inner.count if isinstance(inner, PoseVotes) else None
        return PoseVotes(pose, len(self.F1), self.F2.shape[1], count), activation

    def score(self, tile: Tile, state: State) -> Tensor:
        """ln σ(W_S,ij (x_i · p_j) + B_S,ij)"""
        unit, length = direction_and_length(state.predicted)
        fit = torch.einsum("...ip,...jp->...ij", tile.pose, unit)
        largest = torch.finfo(fit.dtype).max / 4  # D = 1 has no norm, and the product overflows
        fit = (fit * length.squeeze(-1).unsqueeze(-2)).clamp(-largest, largest)
        logits = self.of(self.W_S, tile) * fit + self.of(self.B_S, tile)
        return log_sigmoid(logits.clamp(-largest, largest))

    def gather(self, tile: Tile, coupling: Tensor, state: State) -> Totals:
        phi = self.credit(tile, coupling)
        poses = torch.einsum("...ij,...ip->...jp", phi, self.scaled(tile))
        return Totals(poses, phi.sum(dim=-2).unsqueeze(-1))

    def credit(self, tile: Tile, coupling: Tensor) -> Tensor:
        """φ_ij, `[..., i, J]`."""
        pose, x = tile.pose, self.scaled(tile)
        assert pose is not None  # needs_pose
        f = torch.sigmoid((x * self.of(self.W_A, tile)).sum(dim=-1) + self.of(self.B_A, tile))
        if tile.mask is not None:
            f = f.masked_fill(~tile.mask, 0)
        f = f.unsqueeze(-1)
        beta_use, beta_ign = (
            beta(shortened(pose)) if isinstance(beta, nn.Linear) else self.of(beta, tile)
            for beta in (self.beta_use, self.beta_ign)
        )
        use = f * coupling
        return beta_use * use - beta_ign * (f - use)

    def settle(self, statistics: Totals, state: State, t: int) -> State:
        y = (statistics.poses * self.F1) @ self.F2 + statistics.credit * self.B_F2
        return State(y, (normalised(y) @ self.G1) * self.G2 + self.B_G2)

    def finish(self, state: State) -> Capsules:
        pose = normalised(state.y)
        return Capsules(pose, torch.sigmoid(self.head(pose)).squeeze(-1))

    def of(self, learned: Tensor, tile: Tile) -> Tensor:
        """What is learned for the children in the tile, or for all."""
        return learned if self.shared else learned[tile.indices]

    def scaled(self, tile: Tile) -> Tensor:
        """x'_i = x_i / √I, `[..., i, P]`."""
        votes = tile.source
        assert isinstance(votes, PoseVotes)
        count = votes.counted().clamp(min=1).to(votes.dtype)
        return votes.pose / count.sqrt()[..., None, None]


def shortened(pose: Tensor) -> Tensor:
    """Poses whose products with themselves would overflow, shortened; β is not free of scale."""
    size = pose.detach().abs().amax(dim=-1, keepdim=True)
    most = torch.finfo(pose.dtype).max ** 0.75
    short: Tensor = pose * (most / size / size).clamp(max=1)
    return short


def normalised(y: Tensor) -> Tensor:
    """N(y): a LayerNorm without scale and shift; nothing where D = 1."""
    D = y.shape[-1]
    return F.layer_norm(of_ordinary_size(y), (D,)) if D > 1 else y
