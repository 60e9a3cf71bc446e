"""Fully connected capsules: every input capsule votes for every output capsule."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchcaps.routing.base import Routing
from torchcaps.routing.registry import create_routing
from torchcaps.types import Capsules, check_choice, check_counts, check_float_tensor, check_number
from torchcaps.votes import LinearVotes

__all__ = ["DenseCaps"]

INITS = ("scaled", "paper")
INPUT_LENGTH = 0.5  # of the input capsules that "scaled" counts on
REFERENCE_MOVE = 288 / 10 * (8 * 16) ** 0.5  # of a layer for which rates of Adam are well known


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
        init: how the weights start. "scaled": normal, with the s.d. that gives votes the length
            which the routing asks for (`Routing.initial_vote_length`), for inputs of length ½: the
            output capsules have `initial_length`, whatever I, J and the depth of a stack.
            "paper": of s.d. 0.1 truncated at two s.d., as in the authors' code, made for I = 1152
            and J = 10: with fewer classes or more inputs all capsules start, and stay, saturated.
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
    ) -> None:
        super().__init__()
        in_caps, in_dim, out_caps, out_dim = check_counts(
            in_caps=in_caps, in_dim=in_dim, out_caps=out_caps, out_dim=out_dim
        )
        check_choice("init", init, INITS)
        check_number("initial_length", initial_length, least=1e-6, most=1 - 1e-6)
        self.init = init
        self.initial_length = initial_length
        self.routing = create_routing(routing).build(in_caps, in_dim, out_caps, out_dim)
        self.weight = nn.Parameter(torch.empty(in_caps, out_caps, out_dim, in_dim))
        self.bias = nn.Parameter(torch.zeros(out_caps, out_dim)) if bias else None
        self.reset_parameters()

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules: ...

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        if self.init == "paper":
            nn.init.trunc_normal_(self.weight, std=0.1, a=-0.2, b=0.2)
        else:
            in_caps, out_caps, out_dim, _ = self.weight.shape
            length = self.routing.initial_vote_length(
                in_caps, out_caps, out_dim, self.initial_length
            )
            # |W u|² is D · s.d.² · |u|² on average.
            nn.init.normal_(self.weight, std=length / (INPUT_LENGTH * out_dim**0.5))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def learning_rates(self) -> dict[str, float]:
        """Factor of the learning rate by name of parameter, where it is not 1."""
        if self.init == "paper":
            return {}
        in_caps, out_caps, out_dim, in_dim = self.weight.shape
        moved = self.routing.vote_gain(in_caps, out_caps) * (out_dim * in_dim) ** 0.5
        return {"weight": min(1.0, REFERENCE_MOVE / moved)}

    def votes(self, capsules: Capsules | Tensor) -> LinearVotes:
        """The votes that `forward` routes."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        check_float_tensor("pose", pose)
        in_caps, _, _, in_dim = self.weight.shape
        if pose.shape[-2:] != (in_caps, in_dim):
            raise ValueError(
                f"expected poses [..., {in_caps}, {in_dim}] (in_caps, in_dim), "
                f"got shape {tuple(pose.shape)}"
            )
        return LinearVotes(pose, self.weight, self.bias)

    def forward(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules:
        """Poses `[..., I, P]`, mask `[..., I]` (False = padding) → `Capsules`."""
        activation = capsules.activation if isinstance(capsules, Capsules) else None
        return self.routing(self.votes(capsules), activation, mask)

    def extra_repr(self) -> str:
        in_caps, out_caps, out_dim, in_dim = self.weight.shape
        return (
            f"{in_caps}×{in_dim} → {out_caps}×{out_dim}, bias={self.bias is not None}, "
            f"init={self.init!r}"
        )
