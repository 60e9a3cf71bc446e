"""What flows between layers: capsules, and the votes that one layer casts on the next."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Capsules", "LinearVotes", "Votes"]


class Capsules(NamedTuple):
    """A layer of capsules: what each has seen (pose) and how sure it is (activation).

    Attributes:
        pose: `[B, I, P]`, one vector a capsule.
        activation: `[B, I]`. After dynamic routing it is the length of the pose, in [0, 1].

    Example:
        >>> capsules = Capsules(torch.zeros(2, 10, 16), torch.zeros(2, 10))
        >>> capsules.pose.shape
        torch.Size([2, 10, 16])
    """

    pose: Tensor
    activation: Tensor


@dataclass(frozen=True)
class LinearVotes:
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

    pose: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        check_float_tensor("pose", self.pose)
        check_float_tensor("weight", self.weight)
        if self.pose.dim() < 2:
            raise ValueError(f"pose must be [..., I, P], got shape {tuple(self.pose.shape)}")
        if self.weight.dim() != 4:
            raise ValueError(f"weight must be [I, J, D, P], got shape {tuple(self.weight.shape)}")
        inputs, dim = self.pose.shape[-2:]
        if self.weight.shape[0] not in (1, inputs) or self.weight.shape[3] != dim:
            raise ValueError(
                f"weight {tuple(self.weight.shape)} does not fit pose {tuple(self.pose.shape)}: "
                f"expected [{inputs}, J, D, {dim}], or [1, J, D, {dim}] to share it"
            )
        if self.bias is not None:
            check_float_tensor("bias", self.bias)
            if self.bias.shape not in (self.shape[-2:], self.shape[-3:]):
                raise ValueError(
                    f"bias must be [J, D] = {tuple(self.shape[-2:])} or [I, J, D] = "
                    f"{tuple(self.shape[-3:])}, got {tuple(self.bias.shape)}"
                )
        factors = (self.pose, self.weight) + (() if self.bias is None else (self.bias,))
        if len({factor.device for factor in factors}) > 1:
            devices = ", ".join(str(factor.device) for factor in factors)
            raise TypeError(f"pose, weight and bias must be on one device, got {devices}")

    @property
    def shape(self) -> torch.Size:
        """`[..., I, J, D]`, the shape of the votes."""
        return torch.Size((*self.pose.shape[:-1], *self.weight.shape[1:3]))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the votes: what pose, weight and bias promote to."""
        dtype = torch.promote_types(self.pose.dtype, self.weight.dtype)
        return dtype if self.bias is None else torch.promote_types(dtype, self.bias.dtype)

    def materialize(self) -> Tensor:
        """The votes û as a tensor `[..., I, J, D]`.

        Example:
            >>> u, W = torch.randn(1, 3, 2), torch.randn(3, 2, 4, 2)
            >>> torch.allclose(LinearVotes(u, W).materialize()[0, 1, 0], W[1, 0] @ u[0, 1])
            True
        """
        dtype = self.dtype
        pose = self.pose.to(dtype)
        weight = self.weight.to(dtype)
        # One matrix product per input capsule (or one in all, where they share W): W is read in
        # place. A broadcast matmul would copy all of W for every sample.
        inputs = "jdp" if weight.shape[0] == 1 else "ijdp"
        weight = weight[0] if weight.shape[0] == 1 else weight
        votes = torch.einsum(f"...ip,{inputs}->...ijd", pose, weight)
        return votes if self.bias is None else votes + self.bias

    def masked(self, mask: Tensor) -> "LinearVotes":
        """The same votes with the poses of masked-out (padded) input capsules set to zero."""
        pose = self.pose.masked_fill(~mask.unsqueeze(-1), 0)
        return LinearVotes(pose, self.weight, self.bias)

    def to(self, dtype: torch.dtype) -> "LinearVotes":
        """The same votes with every factor in `dtype`."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return LinearVotes(self.pose.to(dtype), self.weight.to(dtype), bias)


Votes = Tensor | LinearVotes


def check_counts(**counts: object) -> None:
    """Raise, naming the argument, unless every value is a whole number of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_float_tensor(name: str, value: object) -> None:
    """Raise `TypeError`, naming the argument, unless `value` is a floating-point tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not value.dtype.is_floating_point:
        raise TypeError(f"{name} must be a floating-point tensor, got {value.dtype}")
