"""Fully connected capsules: every input capsule votes for every output capsule."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from torchcaps.layers.voting import VotingLayer
from torchcaps.routing.base import Routing
from torchcaps.types import Capsules, check_counts, check_float_tensor
from torchcaps.votes import MatrixVotes, PoseVotes, WeightedVotes

__all__ = ["DenseCaps"]


class DenseCaps(VotingLayer):
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
        init: how the weights start. "scaled": normal, with the s.d. that gives votes the length
            which the routing asks for (`Routing.initial_vote_length`), for inputs of length ½: the
            output capsules have about `initial_length`, whatever I, J and the depth of a stack
            (of 1,000 output capsules, fewer than 1,000 input capsules cannot make them so long).
            "paper": of s.d. 0.1 truncated at two s.d., as in the authors' code (with
            `matrix_poses` 0.3), made for I = 1152 and J = 10: with fewer classes or more inputs all
            capsules start, and stay, saturated.
        initial_length: of the output capsules before training, with "scaled", between 0 and 1: ½
            within a network; capsules of classes learn faster from a smaller one, 0.1, since most
            classes are absent.

    Shape:
        `Capsules` or pose `[..., I, P]` → `Capsules(pose [..., J, D], activation [..., J])`. Given
        poses alone, a routing that looks at the activations of the input capsules takes them for 1.

    Attributes:
        learning_rates: by which factor the learning rate of a parameter should be multiplied, by
            name; `torchcaps.training` does. Adam moves every entry of W by about the learning rate,
            so that all votes for a capsule may move alike: s_j by up to
            rate · √(P D) · `Routing.vote_gain`. With "scaled" this is kept at what it is for
            I = 288, P = 8, J = 10, D = 16, where larger; with "paper" all rates are equal.

    Reference: Sabour, Frosst, Hinton (2017), §2 and §4 (DigitCaps).

    Example:
        >>> import torch
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
        init: str = "scaled",
        initial_length: float = 0.5,
        matrix_poses: bool = False,
    ) -> None:
        in_caps, in_dim, out_caps, out_dim = check_counts(
            in_caps=in_caps, in_dim=in_dim, out_caps=out_caps, out_dim=out_dim
        )
        super().__init__(
            (in_caps, in_dim, out_caps, out_dim),
            routing,
            bias=bias,
            matrix_poses=matrix_poses,
            init=init,
            initial_length=initial_length,
        )

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules: ...

    def votes(self, capsules: Capsules | Tensor) -> WeightedVotes | PoseVotes:
        """The votes that `forward` routes."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        check_float_tensor("pose", pose)
        in_caps, in_dim = self.sizes[:2]
        if pose.shape[-2:] != (in_caps, in_dim):
            raise ValueError(
                f"expected poses [..., {in_caps}, {in_dim}] (in_caps, in_dim), "
                f"got shape {tuple(pose.shape)}"
            )
        return self.votes_of(pose)

    def forward(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules:
        """Poses `[..., I, P]`, mask `[..., I]` (False = padding) → `Capsules`."""
        activation = capsules.activation if isinstance(capsules, Capsules) else None
        return self.routing(self.votes(capsules), activation, mask)

    def extra_repr(self) -> str:
        in_caps, in_dim, out_caps, out_dim = self.sizes
        matrix = ", matrix_poses=True" if self.form is MatrixVotes else ""
        return (
            f"{in_caps}×{in_dim} → {out_caps}×{out_dim}, bias={self.bias is not None}{matrix}, "
            f"init={self.init!r}"
        )
