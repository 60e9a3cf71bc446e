"""What layers share whose input capsules vote with weights of their own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torchcaps.routing.base import Routing
from torchcaps.routing.registry import create_routing
from torchcaps.types import check_switch
from torchcaps.votes import LinearVotes, MatrixVotes, PoseVotes, WeightedVotes

__all__ = ["VotingLayer"]


class VotingLayer(nn.Module):
    """The weights of votes of I × P → J × D capsules, and the routing that was built for them.

    Args:
        sizes: I, P, J and D.
        routing: as in `DenseCaps`.
        bias: learn a bias `[J, D]`, added to every vote.
        matrix_poses: poses are √P×√P matrices, and so are weights.

    Attributes:
        weight: as the form of the votes has it; None where the routing makes its votes itself.
        bias: `[J, D]` or None.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int, int],
        routing: str | Mapping[str, Any] | Routing[Any, Any],
        *,
        bias: bool,
        matrix_poses: bool,
    ) -> None:
        super().__init__()
        check_switch("matrix_poses", matrix_poses)
        self.sizes = sizes
        self.form: type[WeightedVotes] = MatrixVotes if matrix_poses else LinearVotes
        self.routing = create_routing(routing).build(*sizes)
        if self.routing.makes_votes:
            if bias:
                raise ValueError(
                    f"{self.routing.name} routing makes its votes itself: leave bias out"
                )
            self.register_parameter("weight", None)
        else:
            self.weight = nn.Parameter(torch.empty(self.form.weight_shape(*sizes)))
        self.bias = nn.Parameter(torch.zeros(sizes[2:])) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        if self.routing.makes_votes:
            return
        draw_weight(self.weight, self.form)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def votes_of(self, pose: Tensor) -> WeightedVotes | PoseVotes:
        """The votes of poses `[..., I, P]`."""
        if self.routing.makes_votes:
            return PoseVotes(pose, *self.sizes[2:])
        return self.form(pose, self.weight, self.bias)


def draw_weight(weight: Tensor, form: type[WeightedVotes]) -> None:
    """Start the weight of votes as a normal, truncated at two s.d."""
    deviation = 0.3 if form is MatrixVotes else 0.1
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
