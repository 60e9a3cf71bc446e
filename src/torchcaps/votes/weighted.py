"""Votes that are products of poses and weights, held as their factors."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self, TypeGuard

import torch
from torch import Tensor

from torchcaps.types import check_float_tensor
from torchcaps.votes.base import Votes

__all__ = ["LinearVotes", "MatrixVotes", "WeightedVotes", "are_plain_products"]


@dataclass(frozen=True)
class WeightedVotes(Votes):
    """Votes that a pose and a weight give, and a bias: what `LinearVotes` and `MatrixVotes` share.

    A kind states the `shape` of its votes, the shape of a `weight` that fits, and the product.
    """

    pose: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        check_float_tensor("pose", self.pose)
        check_float_tensor("weight", self.weight)
        if self.pose.dim() < 2:
            raise ValueError(f"pose must be [..., I, P], got shape {tuple(self.pose.shape)}")
        self.check_weight()
        if self.bias is not None:
            check_float_tensor("bias", self.bias)
            own, shared = self.shape[-3:], self.shape[-2:]
            if self.bias.shape != own and self.bias.shape != shared:
                raise ValueError(
                    f"bias must be [J, D] = {tuple(self.shape[-2:])} or [I, J, D] = "
                    f"{tuple(self.shape[-3:])}, got {tuple(self.bias.shape)}"
                )
        if len({factor.device for factor in self.factors}) > 1:
            devices = ", ".join(str(factor.device) for factor in self.factors)
            raise TypeError(f"pose, weight and bias must be on one device, got {devices}")

    @staticmethod
    @abstractmethod
    def weight_shape(inputs: int, in_dim: int, outputs: int, out_dim: int) -> tuple[int, ...]:
        """The shape of the weight for I × P → J × D capsules."""

    @abstractmethod
    def check_weight(self) -> None:
        """Raise unless the weight fits the pose."""

    @abstractmethod
    def product(self) -> Tensor:
        """The votes without their bias; all factors have one dtype."""

    @property
    def in_pose(self) -> Tensor:
        return self.pose

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return (self.pose, self.weight) + (() if self.bias is None else (self.bias,))

    @property
    def biased(self) -> bool:
        return self.bias is not None

    def with_factors(self, *factors: Tensor) -> Self:
        return type(self)(*factors)

    def select(self, inputs: slice) -> Self:
        shared = self.weight.shape[0] == 1
        own_bias = self.bias is not None and self.bias.dim() == 3
        return type(self)(
            self.pose[..., inputs, :],
            self.weight if shared else self.weight[inputs],
            self.bias[inputs] if own_bias else self.bias,  # type: ignore[index]
        )

    def materialize(self) -> Tensor:
        """The votes û as a tensor `[..., I, J, D]`.

        Example:
            >>> u, W = torch.randn(1, 3, 2), torch.randn(3, 2, 4, 2)
            >>> torch.allclose(LinearVotes(u, W).materialize()[0, 1, 0], W[1, 0] @ u[0, 1])
            True
        """
        votes = self.to(self.dtype)
        return votes.product() if votes.bias is None else votes.product() + votes.bias

    def masked(self, mask: Tensor) -> Self:
        """The same votes with the poses of masked-out (padded) input capsules set to zero."""
        pose = self.pose.masked_fill(~mask.unsqueeze(-1), 0)
        return type(self)(pose, self.weight, self.bias)


@dataclass(frozen=True)
class LinearVotes(WeightedVotes):
    """Votes û_ij = W_ij u_i (+ bias_ij), held as their factors u and W.

    The votes of MNIST's last layer take 0.74 MB a sample, their factors 0.04 MB; routing asks for
    what it needs, and only `materialize` forms them all.

    Args:
        pose: u, `[..., I, P]`, the poses of the input capsules.
        weight: W, `[I, J, D, P]`, or `[1, J, D, P]` where all input capsules share it.
        bias: `[J, D]` or `[I, J, D]`, added to every vote. Deviation: the authors' code adds its
            bias to s_j, after the sum over i; here it belongs to the vote, as in any linear map, so
            that `materialize` gives all that routing sees.

    Raises:
        ValueError: shapes that do not fit together.
        TypeError: something that is not a floating-point tensor, or factors on two devices.

    Reference: Sabour, Frosst, Hinton (2017), Eq 2.

    Example:
        >>> votes = LinearVotes(torch.randn(2, 6, 8), torch.randn(6, 10, 16, 8))
        >>> votes.materialize().shape
        torch.Size([2, 6, 10, 16])
    """

    @staticmethod
    def weight_shape(inputs: int, in_dim: int, outputs: int, out_dim: int) -> tuple[int, ...]:
        return (inputs, outputs, out_dim, in_dim)

    def check_weight(self) -> None:
        if self.weight.dim() != 4:
            raise ValueError(f"weight must be [I, J, D, P], got shape {tuple(self.weight.shape)}")
        inputs, dim = self.pose.shape[-2:]
        own = self.weight.shape[0]  # `in (1, inputs)` is no question for torch.compile
        if (own != 1 and own != inputs) or self.weight.shape[3] != dim:
            raise ValueError(
                f"weight {tuple(self.weight.shape)} does not fit pose {tuple(self.pose.shape)}: "
                f"expected [{inputs}, J, D, {dim}], or [1, J, D, {dim}] to share it"
            )

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.pose.shape[:-1], *self.weight.shape[1:3]))

    def product(self) -> Tensor:
        # One matrix product per input capsule (or one in all, where they share W): W is read in
        # place. A broadcast matmul would copy all of W for every sample.
        inputs = "jdp" if self.weight.shape[0] == 1 else "ijdp"
        weight = self.weight[0] if self.weight.shape[0] == 1 else self.weight
        return torch.einsum(f"...ip,{inputs}->...ijd", self.pose, weight)


@dataclass(frozen=True)
class MatrixVotes(WeightedVotes):
    """Votes V_ij = U_i W_ij (+ bias_ij) of poses that are matrices, held as their factors.

    With M×M poses a vote takes M² weights and M³ multiplications; the linear map of a vector of the
    same M² components takes M⁴ of both.

    Args:
        pose: U, `[..., I, P]`, row after row: P is the number of rows times M.
        weight: W, `[I, J, M, N]`, or `[1, J, M, N]` where all input capsules share it.
        bias: `[J, D]` or `[I, J, D]`, added to every vote; D is the number of rows times N.

    Raises:
        ValueError: shapes that do not fit together.
        TypeError: something that is not a floating-point tensor, or factors on two devices.

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR.

    Example:
        >>> pose, weight = torch.randn(2, 6, 16), torch.randn(6, 10, 4, 4)
        >>> votes = MatrixVotes(pose, weight).materialize()
        >>> votes.shape
        torch.Size([2, 6, 10, 16])
        >>> expected = pose[0, 1].view(4, 4) @ weight[1, 7]
        >>> torch.allclose(votes[0, 1, 7].view(4, 4), expected, atol=1e-6)
        True
    """

    @staticmethod
    def weight_shape(inputs: int, in_dim: int, outputs: int, out_dim: int) -> tuple[int, ...]:
        side = math.isqrt(in_dim)
        if side * side != in_dim or out_dim != in_dim:
            raise ValueError(
                f"matrix poses are square and keep their size: in_dim and out_dim must be one "
                f"square number such as 16, got {in_dim} and {out_dim}"
            )
        return (inputs, outputs, side, side)

    def check_weight(self) -> None:
        if self.weight.dim() != 4:
            raise ValueError(f"weight must be [I, J, M, N], got shape {tuple(self.weight.shape)}")
        inputs, dim = self.pose.shape[-2:]
        columns = self.weight.shape[2]
        own = self.weight.shape[0]
        if (own != 1 and own != inputs) or columns == 0 or dim % columns:
            raise ValueError(
                f"weight {tuple(self.weight.shape)} does not fit pose {tuple(self.pose.shape)}: "
                f"expected [{inputs}, J, M, N], or [1, J, M, N] to share it, where M divides {dim}"
            )

    @property
    def shape(self) -> torch.Size:
        _, outputs, columns, out_columns = self.weight.shape
        dim = self.pose.shape[-1] // columns * out_columns
        return torch.Size((*self.pose.shape[:-1], outputs, dim))

    def product(self) -> Tensor:
        columns = self.weight.shape[2]
        matrices = self.pose.unflatten(-1, (self.pose.shape[-1] // columns, columns))
        inputs = "jmn" if self.weight.shape[0] == 1 else "ijmn"
        weight = self.weight[0] if self.weight.shape[0] == 1 else self.weight
        return torch.einsum(f"...irm,{inputs}->...ijrn", matrices, weight).flatten(-2)


def are_plain_products(votes: Votes) -> TypeGuard[LinearVotes | MatrixVotes]:
    """Whether the factors say what the votes are: a class of one's own may form others of them.

    Example:
        >>> are_plain_products(LinearVotes(torch.ones(1, 3, 2), torch.ones(3, 4, 5, 2)))
        True
    """
    return type(votes) is LinearVotes or type(votes) is MatrixVotes
