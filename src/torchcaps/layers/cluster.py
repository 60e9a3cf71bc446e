"""Capsules by cluster routing: several votes for each parent, weighed by how close they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchcaps.functional import accumulated, of_ordinary_size
from torchcaps.layers.conv import check_pose_map
from torchcaps.types import Capsules, Paper, check_counts, check_same_dtype
from torchcaps.votes.convolved import ConvolvedVotes
from torchcaps.votes.windows import as_pair

__all__ = ["ClusterCaps"]

SMALLEST = 1e-12  # added to a variance: votes may be equal
ORDINARY = 1e6  # votes up to this size are taken as they are


class ClusterCaps(nn.Module):
    """Each child sends a cluster of votes to each parent, and counts the more the closer they are.

    For child types t, parent types c and votes n = 1 … N, each a convolution of the map of t:
    μ_tc = mean_n V_tcn,  σ_tc = √(mean_n (V_tcn − μ_tc)²),
    k_tc = softmax_t (−ln σ_tc) = (1/σ_tc) / Σ_t (1/σ_tc),  pose_c = LayerNorm(Σ_t k_tc μ_tc)

    all of it for each component by itself, at each position; the LayerNorm goes over components and
    positions together. No iterations, and what a parent gets does not depend on other parents.

    Args:
        in_types: T, types of input capsules.
        in_dim: P, components of their poses.
        out_types: C, types of output capsules.
        out_dim: D, components of their poses.
        size: H and W of the input map, a number or (y, x): LayerNorm learns a scale and a shift for
            each component and position.
        votes: N ≥ 2, votes of a child for a parent.
        kernel_size, stride, padding: of the convolutions.

    Shape:
        `Capsules` or pose `[..., T, H, W, P]` → `Capsules(pose [..., C, F_y, F_x, D], activation
        [..., C, F_y, F_x])`. The published algorithm knows no activations: here σ(w · pose + w_0)
        is learned, shared by all capsules.

    Reference: Zhao, Cheng (2021), *Capsule networks with non-iterative cluster routing*, Neural
    Networks 143. Deviation: 1e-12 is added to variances, so that equal votes stay finite.

    Example:
        >>> layer = ClusterCaps(4, 8, 10, 16, size=6, votes=3)
        >>> layer(torch.randn(2, 4, 6, 6, 8)).pose.shape
        torch.Size([2, 10, 6, 6, 16])
    """

    paper = Paper(
        "Zhao, Cheng",
        2021,
        "Capsule Networks with Non-iterative Cluster Routing",
        "Neural Networks 143",
    )

    def __init__(
        self,
        in_types: int,
        in_dim: int,
        out_types: int,
        out_dim: int,
        size: int | Sequence[int],
        votes: int = 4,
        kernel_size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        check_counts(
            in_types=in_types, in_dim=in_dim, out_types=out_types, out_dim=out_dim, votes=votes
        )
        if votes < 2:
            raise ValueError("votes must be at least 2: of one alone the spread says nothing")
        self.sizes = (in_types, in_dim, out_types, out_dim)
        self.size = as_pair("size", size)
        self.votes = votes
        self.stride = as_pair("stride", stride)
        self.padding = as_pair("padding", padding, least=0)
        kernel = as_pair("kernel_size", kernel_size)
        shape = (in_types, votes * out_types, out_dim, in_dim, *kernel)
        self.weight = nn.Parameter(torch.empty(shape))
        self.draw_weights()
        self.bias = nn.Parameter(torch.zeros(in_types, votes * out_types, out_dim))
        grid = self.convolved(torch.empty(in_types, *self.size, in_dim, device="meta")).grid
        self.norm = nn.LayerNorm((*grid, out_dim))
        self.head = nn.Linear(out_dim, 1)

    def reset_parameters(self) -> None:
        """Draw all that is learned anew."""
        self.draw_weights()
        nn.init.zeros_(self.bias)
        self.norm.reset_parameters()
        self.head.reset_parameters()

    def draw_weights(self) -> None:
        """Those of the votes, whose components are then about as large as of poses."""
        fan_in = self.weight[0, 0, 0].numel()
        nn.init.normal_(self.weight, std=fan_in**-0.5)

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor) -> Capsules: ...

    def convolved(self, pose: Tensor) -> ConvolvedVotes:
        """The votes, `[..., F_y, F_x, T, N·C, D]`."""
        weight, bias = self.weight.to(pose.device), self.bias.to(pose.device)
        return ConvolvedVotes(pose, weight, bias, self.stride, self.padding)

    def forward(self, capsules: Capsules | Tensor) -> Capsules:
        """`[..., T, H, W, P]` → `Capsules` `[..., C, F_y, F_x, D]`."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        check_pose_map(pose, *self.sizes[:2])
        if pose.shape[-3:-1] != self.size:
            raise ValueError(
                f"expected a map of {self.size[0]}×{self.size[1]} capsules, "
                f"got {pose.shape[-3]}×{pose.shape[-2]}"
            )
        check_same_dtype("pose", pose, self.weight)
        formed = self.convolved(pose).materialize()
        votes = formed.unflatten(-2, (self.votes, self.sizes[2]))  # [..., F_y, F_x, T, N, C, D]
        total = weighed_by_closeness(votes).movedim(-2, -4)  # [..., C, F_y, F_x, D]
        found = self.normalised(total).to(pose.dtype)
        activation = torch.sigmoid(self.head(found)).squeeze(-1)
        return Capsules(found, activation.to(pose.dtype))

    def normalised(self, total: Tensor) -> Tensor:
        """The LayerNorm, in float32 or wider, which huge numbers do not overflow."""
        ordinary = of_ordinary_size(total.flatten(-3)).reshape(total.shape)
        weight, bias = accumulated(self.norm.weight), accumulated(self.norm.bias)
        return F.layer_norm(ordinary, self.norm.normalized_shape, weight, bias, self.norm.eps)

    def extra_repr(self) -> str:
        in_types, in_dim, out_types, out_dim = self.sizes
        return (
            f"{in_types}×{in_dim} → {out_types}×{out_dim}, size={self.size}, votes={self.votes}, "
            f"kernel_size={tuple(self.weight.shape[-2:])}, stride={self.stride}, "
            f"padding={self.padding}"
        )


def weighed_by_closeness(votes: Tensor) -> Tensor:
    """Σ_t k_tc μ_tc of votes `[..., T, N, C, D]`: `[..., C, D]`, in float32 or wider.

    Example:
        >>> close, apart = torch.tensor([1.0, 1.2]), torch.tensor([4.0, 6.0])
        >>> weighed_by_closeness(torch.stack([close, apart]).view(2, 2, 1, 1))  # (10·1.1 + 5) / 11
        tensor([[1.4545]])
    """
    votes = accumulated(votes)
    mean = votes.mean(dim=-3)
    # Squares of huge votes would overflow; a factor that all share changes no share.
    size = votes.detach().abs().amax(dim=(-4, -3), keepdim=True)
    unit = votes / torch.where(size > ORDINARY, size, torch.ones_like(size))
    variance = (unit - unit.mean(dim=-3, keepdim=True)).square().mean(dim=-3)  # var warns of none
    share = torch.softmax(-0.5 * (variance + SMALLEST).log(), dim=-3)
    return (share * mean).sum(dim=-3)
