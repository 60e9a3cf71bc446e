"""Fully connected capsules: every input capsule votes for every output capsule."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchcaps.routing.base import Routing
from torchcaps.routing.registry import create_routing
from torchcaps.types import Capsules, check_counts, check_float_tensor, check_switch
from torchcaps.votes import LinearVotes, MatrixVotes, WeightedVotes

__all__ = ["DenseCaps"]


class DenseCaps(nn.Module):
    """Output capsules that each input capsule predicts by a matrix of its own.

    û_ij = W_ij u_i (+ bias_j), then routing (Eq 2). With `matrix_poses`, V_ij = U_i W_ij.

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
        matrix_poses: poses are √P×√P matrices, row after row, and W_ij is one too (`MatrixVotes`);
            in_dim and out_dim are then the same square number.

    Shape:
        `Capsules` or pose `[..., I, P]` → `Capsules(pose [..., J, D], activation [..., J])`. Given
        poses alone, a routing that looks at the activations of the input capsules takes them for 1.

    Weights start as a normal of s.d. 0.1 truncated at two s.d., as in the authors' code; N(0, 1)
    does not train. (With `matrix_poses` the s.d. is 0.3, as in the code of Hinton and others.)

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
        matrix_poses: bool = False,
    ) -> None:
        super().__init__()
        check_counts(in_caps=in_caps, in_dim=in_dim, out_caps=out_caps, out_dim=out_dim)
        check_switch("matrix_poses", matrix_poses)
        self.sizes = (in_caps, in_dim, out_caps, out_dim)
        self.form: type[WeightedVotes] = MatrixVotes if matrix_poses else LinearVotes
        self.routing = create_routing(routing).build(*self.sizes)
        self.weight = nn.Parameter(torch.empty(self.form.weight_shape(*self.sizes)))
        self.bias = nn.Parameter(torch.zeros(out_caps, out_dim)) if bias else None
        self.reset_parameters()

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules: ...

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        draw_weight(self.weight, self.form)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def votes(self, capsules: Capsules | Tensor) -> WeightedVotes:
        """The votes that `forward` routes."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        check_float_tensor("pose", pose)
        in_caps, in_dim = self.sizes[:2]
        if pose.shape[-2:] != (in_caps, in_dim):
            raise ValueError(
                f"expected poses [..., {in_caps}, {in_dim}] (in_caps, in_dim), "
                f"got shape {tuple(pose.shape)}"
            )
        return self.form(pose, self.weight, self.bias)

    def forward(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules:
        """Poses `[..., I, P]`, mask `[..., I]` (False = padding) → `Capsules`."""
        activation = capsules.activation if isinstance(capsules, Capsules) else None
        return self.routing(self.votes(capsules), activation, mask)

    def extra_repr(self) -> str:
        in_caps, in_dim, out_caps, out_dim = self.sizes
        matrix = ", matrix_poses=True" if self.form is MatrixVotes else ""
        return f"{in_caps}×{in_dim} → {out_caps}×{out_dim}, bias={self.bias is not None}{matrix}"


def draw_weight(weight: Tensor, form: type[WeightedVotes]) -> None:
    """Start the weight of votes as a normal, truncated at two s.d."""
    deviation = 0.3 if form is MatrixVotes else 0.1
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
