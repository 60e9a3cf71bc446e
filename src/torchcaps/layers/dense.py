"""Fully connected capsules: every input capsule votes for every output capsule."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchcaps.routing.base import Routing
from torchcaps.routing.registry import create_routing
from torchcaps.types import Capsules, check_counts, check_float_tensor
from torchcaps.votes import LinearVotes, PoseVotes

__all__ = ["DenseCaps"]


class DenseCaps(nn.Module):
    """Output capsules that each input capsule predicts by a matrix of its own.

    û_ij = W_ij u_i (+ bias_j), then routing (Eq 2).

    Args:
        in_caps: I, number of input capsules.
        in_dim: P, components of their poses.
        out_caps: J, number of output capsules.
        out_dim: D, components of their poses.
        routing: a name ("em"), a dict with name and options ({"name": "em", "iterations": 2}), or a
            `Routing`; what it learns is made for this layer.
        bias: learn a bias `[J, D]`, added to every vote (see `LinearVotes` on how this differs
            from the authors' code). Without it, as in the paper, the layer cannot tell u from −u:
            its output only changes sign.

    Shape:
        `Capsules` or pose `[..., I, P]` → `Capsules(pose [..., J, D], activation [..., J])`. Given
        poses alone, a routing that looks at the activations of the input capsules takes them for 1.

    Weights start as a normal of s.d. 0.1 truncated at two s.d., as in the authors' code; N(0, 1)
    does not train.

    Reference: Sabour, Frosst, Hinton (2017), §2 and §4 (DigitCaps).

    Example:
        >>> layer = DenseCaps(in_caps=1152, in_dim=8, out_caps=10, out_dim=16)
        >>> layer(torch.randn(2, 1152, 8)).activation.shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_caps: int,
        in_dim: int,
        out_caps: int,
        out_dim: int,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "dynamic",
        *,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_counts(in_caps=in_caps, in_dim=in_dim, out_caps=out_caps, out_dim=out_dim)
        self.sizes = (in_caps, in_dim, out_caps, out_dim)
        self.routing = create_routing(routing).build(*self.sizes)
        if self.routing.makes_votes:
            if bias:
                raise ValueError(
                    f"{self.routing.name} routing makes its votes itself: leave bias out"
                )
            self.register_parameter("weight", None)
        else:
            self.weight = nn.Parameter(torch.empty(in_caps, out_caps, out_dim, in_dim))
        self.bias = nn.Parameter(torch.zeros(out_caps, out_dim)) if bias else None
        self.reset_parameters()

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules: ...

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        if self.routing.makes_votes:
            return
        nn.init.trunc_normal_(self.weight, std=0.1, a=-0.2, b=0.2)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def votes(self, capsules: Capsules | Tensor) -> LinearVotes | PoseVotes:
        """The votes that `forward` routes."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        check_float_tensor("pose", pose)
        in_caps, in_dim, out_caps, out_dim = self.sizes
        if pose.shape[-2:] != (in_caps, in_dim):
            raise ValueError(
                f"expected poses [..., {in_caps}, {in_dim}] (in_caps, in_dim), "
                f"got shape {tuple(pose.shape)}"
            )
        if self.routing.makes_votes:
            return PoseVotes(pose, out_caps, out_dim)
        return LinearVotes(pose, self.weight, self.bias)

    def forward(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules:
        """Poses `[..., I, P]`, mask `[..., I]` (False = padding) → `Capsules`."""
        activation = capsules.activation if isinstance(capsules, Capsules) else None
        return self.routing(self.votes(capsules), activation, mask)

    def extra_repr(self) -> str:
        in_caps, in_dim, out_caps, out_dim = self.sizes
        return f"{in_caps}×{in_dim} → {out_caps}×{out_dim}, bias={self.bias is not None}"
