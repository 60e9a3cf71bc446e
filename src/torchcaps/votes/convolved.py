"""Votes that are convolutions of the maps of capsules: the window is summed before it is routed.

A map of T types of capsules at H×W positions gives T·C maps of votes at F_y×F_x positions: one of
each type for each of C types of parents. So at an output position there are T input capsules, and
votes are `[..., F_y, F_x, T, C, D]`.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.types import check_float_tensor
from torchcaps.votes.base import Votes, WrappedVotes, softmax_over_parents
from torchcaps.votes.windows import as_pair

__all__ = ["ConvolvedVotes", "MapVotes"]


@dataclass(frozen=True)
class ConvolvedVotes(Votes):
    """Votes V_tc(y, x) = (W_tc * u_t)(y, x) (+ bias_tc), held as their factors.

    Args:
        pose: u, `[..., T, H, W, P]`.
        weight: W, `[T, C, D, P, K_y, K_x]`, or `[1, C, D, P, K_y, K_x]` where all types of input
            capsules share it.
        bias: `[C, D]` or `[T, C, D]`, added to every vote.
        stride, padding: of the convolution, (y, x).
        transposed: W is that of a transposed convolution, as of `torch.nn.ConvTranspose2d`, and the
            map grows by the stride.

    Raises:
        ValueError: shapes that do not fit together. TypeError: not floating-point tensors.

    Example:
        >>> votes = ConvolvedVotes(torch.randn(2, 3, 6, 6, 8), torch.randn(1, 4, 16, 8, 3, 3))
        >>> votes.materialize().shape
        torch.Size([2, 4, 4, 3, 4, 16])
    """

    pose: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    transposed: bool = False

    def __post_init__(self) -> None:
        check_float_tensor("pose", self.pose)
        check_float_tensor("weight", self.weight)
        if self.bias is not None:
            check_float_tensor("bias", self.bias)
        object.__setattr__(self, "stride", as_pair("stride", self.stride))
        object.__setattr__(self, "padding", as_pair("padding", self.padding, least=0))
        if self.pose.dim() < 4:
            raise ValueError(f"pose must be [..., T, H, W, P], got shape {tuple(self.pose.shape)}")
        types, dim = self.pose.shape[-4], self.pose.shape[-1]
        shape = self.weight.shape
        if len(shape) != 6 or (shape[0] != 1 and shape[0] != types) or shape[3] != dim:
            raise ValueError(
                f"weight {tuple(shape)} does not fit pose {tuple(self.pose.shape)}: expected "
                f"[{types}, C, D, {dim}, K_y, K_x], or [1, C, D, {dim}, K_y, K_x] to share it"
            )
        own, shared = (types, *shape[1:3]), shape[1:3]
        if self.bias is not None and self.bias.shape != own and self.bias.shape != shared:
            raise ValueError(
                f"bias must be [C, D] = {tuple(shape[1:3])} or [T, C, D], "
                f"got {tuple(self.bias.shape)}"
            )
        if min(self.grid) < 1:
            height, width = self.pose.shape[-3:-1]
            raise ValueError(
                f"a map of {height}×{width} capsules, padded by {self.padding}, is smaller than "
                f"the kernel, {shape[4]}×{shape[5]}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """F_y and F_x, the output positions along both axes."""
        y, x = (
            (size - 1) * stride - 2 * padding + kernel
            if self.transposed
            else (size + 2 * padding - kernel) // stride + 1
            for size, kernel, stride, padding in zip(
                self.pose.shape[-3:-1], self.weight.shape[4:], self.stride, self.padding
            )
        )
        return y, x

    @property
    def shape(self) -> torch.Size:
        *batch, types, _, _, _ = self.pose.shape
        return torch.Size((*batch, *self.grid, types, *self.weight.shape[1:3]))

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return (self.pose, self.weight) + (() if self.bias is None else (self.bias,))

    def with_factors(self, *factors: Tensor) -> "ConvolvedVotes":
        pose, weight, *bias = factors
        return replace(self, pose=pose, weight=weight, bias=bias[0] if bias else None)

    def select(self, inputs: slice) -> "ConvolvedVotes":
        own_bias = self.bias is not None and self.bias.dim() == 3
        return replace(
            self,
            pose=self.pose[..., inputs, :, :, :],
            weight=self.weight if len(self.weight) == 1 else self.weight[inputs],
            bias=self.bias[inputs] if own_bias else self.bias,  # type: ignore[index]
        )

    def masked(self, mask: Tensor) -> "ConvolvedVotes":
        raise ValueError("votes that are convolutions take no mask: they mix neighbouring capsules")

    def materialize(self) -> Tensor:
        """The votes as a tensor `[..., F_y, F_x, T, C, D]`."""
        votes = self.to(self.dtype)
        *batch, types, height, width, dim = votes.pose.shape
        shared = len(votes.weight) == 1
        groups = 1 if shared else types
        images = votes.pose.movedim(-1, -3).reshape(-1, groups * dim, height, width)
        kernels = votes.weight.flatten(1, 2)  # [1 or T, C·D, P, K_y, K_x]
        if votes.transposed:
            kernels = kernels.transpose(1, 2).flatten(0, 1)
            maps = F.conv_transpose2d(
                images, kernels, None, votes.stride, votes.padding, groups=groups
            )
        else:
            kernels = kernels.flatten(0, 1)
            maps = F.conv2d(images, kernels, None, votes.stride, votes.padding, groups=groups)
        formed = maps.reshape(*batch, types, *votes.weight.shape[1:3], *votes.grid)
        of_positions: Tensor = formed.movedim((-2, -1), (-5, -4))
        return of_positions if votes.bias is None else of_positions + votes.bias


@dataclass(frozen=True)
class MapVotes(WrappedVotes):
    """Votes `[..., F_y, F_x, T, J, D]` whose children compete over all positions of the map.

    A child type shares its coupling of 1 between all parent types at all positions: about
    1 / (J·F_y·F_x) each.

    Reference: Rajasegaran, Jayasundara, Jayasekara, Jayasekara, Seneviratne, Rodrigo (2019),
    *DeepCaps: Going Deeper with Capsule Networks*, CVPR (3-D routing).

    Example:
        >>> from torchcaps.votes.base import FormedVotes
        >>> votes = MapVotes(FormedVotes(torch.zeros(4, 4, 3, 2, 8)))
        >>> votes.compete(torch.zeros(4, 4, 3, 2)).sum(dim=(0, 1, 3))
        tensor([1., 1., 1.])
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shape) < 5:
            raise ValueError(
                f"votes of a map must be [..., F_y, F_x, T, J, D], got shape {tuple(self.shape)}"
            )

    def compete(self, scores: Tensor) -> Tensor:
        of_types = scores.movedim(-2, -4)  # [..., i, F_y, F_x, J]
        shares = softmax_over_parents(of_types.flatten(-3))
        of_positions: Tensor = shares.unflatten(-1, of_types.shape[-3:]).movedim(-4, -2)
        return of_positions

    def evidence(self, scores: Tensor) -> Tensor:
        return (
            torch.logsumexp(scores, dim=(-4, -3, -1), keepdim=True)
            .squeeze(-1)
            .expand(scores.shape[:-1])
        )
