"""The votes (prediction vectors û) that one layer of capsules casts on the next.

Routing asks `Votes` for their shape, for the votes of a few input capsules at a time, and for the
competition between the parents of a child. What holds factors never has to form all votes at once.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from torchcaps.types import check_float_tensor

__all__ = ["FormedVotes", "LinearVotes", "MatrixVotes", "PoseVotes", "Votes", "as_votes"]


class Votes(ABC):
    """Votes `[..., I, J, D]` of I input capsules for J output capsules, in any form.

    A kind of votes states its `factors`, how the same kind is made from other factors, how to
    `select` some of the input capsules, and how to `materialize`.
    """

    @property
    @abstractmethod
    def shape(self) -> torch.Size:
        """`[..., I, J, D]`, the shape of the votes."""

    @property
    @abstractmethod
    def factors(self) -> tuple[Tensor, ...]:
        """The tensors that the votes are made of; gradients go to them."""

    @abstractmethod
    def with_factors(self, *factors: Tensor) -> Self:
        """The same kind of votes from other factors, in the order of `factors`."""

    @abstractmethod
    def select(self, inputs: slice) -> Self:
        """The votes of some input capsules; its factors are views of these."""

    @abstractmethod
    def materialize(self) -> Tensor:
        """All votes û as a tensor `[..., I, J, D]`."""

    @abstractmethod
    def masked(self, mask: Tensor) -> Self:
        """The same votes, with what input capsules hold that are masked out (False) set to zero."""

    @property
    def in_pose(self) -> Tensor | None:
        """u, `[..., I, P]`, the poses of the input capsules; None where only votes are known."""
        return None

    @property
    def formed(self) -> bool:
        """Whether the votes are a tensor already, so that tiles of them save no memory."""
        return False

    @property
    def together(self) -> int:
        """How many neighbouring input capsules compete with each other, and so share a tile."""
        return 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the votes: what their factors promote to."""
        dtype = self.factors[0].dtype
        for factor in self.factors[1:]:
            dtype = torch.promote_types(dtype, factor.dtype)
        return dtype

    @property
    def device(self) -> torch.device:
        """The device of the factors."""
        return self.factors[0].device

    def to(self, dtype: torch.dtype) -> Self:
        """The same votes with every factor in `dtype`."""
        return self.with_factors(*(factor.to(dtype) for factor in self.factors))

    def compete(self, scores: Tensor) -> Tensor:
        """The softmax of scores `[..., i, J]` over the parents of each child."""
        return softmax_over_parents(scores)

    def evidence(self, scores: Tensor) -> Tensor:
        """ln Σ exp of scores `[..., i, J]` over the parents of each child, `[..., i]`."""
        return torch.logsumexp(scores, dim=-1)


@dataclass(frozen=True)
class FormedVotes(Votes):
    """Votes that are a tensor already.

    Args:
        tensor: û, `[..., I, J, D]`.

    Raises:
        ValueError: fewer than three axes. TypeError: not a floating-point tensor.

    Example:
        >>> FormedVotes(torch.zeros(2, 6, 10, 16)).select(slice(0, 4)).shape
        torch.Size([2, 4, 10, 16])
    """

    tensor: Tensor

    def __post_init__(self) -> None:
        check_float_tensor("votes", self.tensor)
        if self.tensor.dim() < 3:
            raise ValueError(f"votes must be [..., I, J, D], got shape {tuple(self.tensor.shape)}")

    @property
    def shape(self) -> torch.Size:
        return self.tensor.shape

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return (self.tensor,)

    @property
    def formed(self) -> bool:
        return True

    def with_factors(self, *factors: Tensor) -> "FormedVotes":
        return FormedVotes(*factors)

    def select(self, inputs: slice) -> "FormedVotes":
        return FormedVotes(self.tensor[..., inputs, :, :])

    def materialize(self) -> Tensor:
        return self.tensor

    def masked(self, mask: Tensor) -> "FormedVotes":
        return FormedVotes(self.tensor.masked_fill(~mask[..., None, None], 0))


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
            if self.bias.shape not in (self.shape[-2:], self.shape[-3:]):
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
        if self.weight.shape[0] not in (1, inputs) or self.weight.shape[3] != dim:
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
        if self.weight.shape[0] not in (1, inputs) or columns == 0 or dim % columns:
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


@dataclass(frozen=True)
class WrappedVotes(Votes):
    """Other votes, with another competition: a kind overrides `compete` and `evidence`."""

    votes: Votes

    @property
    def shape(self) -> torch.Size:
        return self.votes.shape

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return self.votes.factors

    @property
    def in_pose(self) -> Tensor | None:
        return self.votes.in_pose

    @property
    def formed(self) -> bool:
        return self.votes.formed

    @property
    def together(self) -> int:
        return self.votes.together

    def with_factors(self, *factors: Tensor) -> Self:
        return replace(self, votes=self.votes.with_factors(*factors))

    def select(self, inputs: slice) -> Self:
        return replace(self, votes=self.votes.select(inputs))

    def materialize(self) -> Tensor:
        return self.votes.materialize()

    def masked(self, mask: Tensor) -> Self:
        return replace(self, votes=self.votes.masked(mask))


def as_votes(votes: object) -> Votes:
    """Votes as they are, or a tensor of votes as `FormedVotes`."""
    return votes if isinstance(votes, Votes) else FormedVotes(votes)  # type: ignore[arg-type]


def softmax_over_parents(scores: Tensor) -> Tensor:
    """The softmax over the last axis: `torch.softmax(scores, dim=-1)`, with that axis laid first.

    PyTorch takes the softmax of many short rows one number at a time; over the first axis it takes
    whole vectors, and is 10 times as fast with ten parents.
    """
    return torch.softmax(scores.movedim(-1, 0).contiguous(), dim=0).movedim(0, -1)


@dataclass(frozen=True)
class PoseVotes(Votes):
    """Poses that vote for nobody: what is routed where the routing makes its votes itself.

    Its votes are zeros, which take no memory.

    Args:
        pose: `[..., I, P]`.
        out_caps: J.
        out_dim: D.
        count: how many input capsules count, `[...]`; default: all of them.

    Example:
        >>> votes = PoseVotes(torch.randn(2, 6, 8), out_caps=10, out_dim=16)
        >>> votes.shape, votes.materialize().untyped_storage().nbytes()
        (torch.Size([2, 6, 10, 16]), 4)
    """

    pose: Tensor
    out_caps: int
    out_dim: int
    count: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.pose.shape[:-1], self.out_caps, self.out_dim))

    @property
    def in_pose(self) -> Tensor:
        return self.pose

    @property
    def factors(self) -> tuple[Tensor, ...]:
        return (self.pose,)

    def with_factors(self, *factors: Tensor) -> "PoseVotes":
        return replace(self, pose=factors[0])

    def select(self, inputs: slice) -> "PoseVotes":
        return replace(self, pose=self.pose[..., inputs, :], count=self.counted())

    def materialize(self) -> Tensor:
        return self.pose.new_zeros(()).expand(self.shape)

    def masked(self, mask: Tensor) -> "PoseVotes":
        pose = self.pose.masked_fill(~mask.unsqueeze(-1), 0)
        return replace(self, pose=pose, count=mask.sum(dim=-1))

    def counted(self) -> Tensor:
        """How many input capsules count, `[...]`."""
        if self.count is not None:
            return self.count
        shape = self.pose.shape
        return self.pose.new_full(shape[:-2], shape[-2])
