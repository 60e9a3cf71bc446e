"""What layers share whose input capsules vote with weights of their own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torchcaps.layers.own_routing import own_routing
from torchcaps.routing.base import Routing
from torchcaps.types import check_choice, check_number, check_switch
from torchcaps.votes import LinearVotes, MatrixVotes, PoseVotes, WeightedVotes

__all__ = ["VotingLayer"]

INITS = ("scaled", "paper")
INPUT_LENGTH = 0.5  # of the input capsules that "scaled" counts on
REFERENCE_MOVE = 288 / 10 * (8 * 16) ** 0.5  # of a layer for which rates of Adam are well known


class VotingLayer(nn.Module):
    """The weights of votes of I × P → J × D capsules, and the routing that was built for them.

    Args:
        sizes: I, P, J and D.
        routing: as in `DenseCaps`.
        bias: learn a bias `[J, D]`, added to every vote.
        matrix_poses: poses are √P×√P matrices, and so are weights.
        init: how the weights start, "scaled" or "paper", as in `DenseCaps`.
        initial_length: of the output capsules before training, with "scaled", as there.

    Attributes:
        weight: as the form of the votes has it; None where the routing makes its votes itself.
        bias: `[J, D]` or None.
    """

    is_built = False  # after the constructor, which draws what is learned itself

    def __init__(
        self,
        sizes: tuple[int, int, int, int],
        routing: str | Mapping[str, Any] | Routing[Any, Any],
        *,
        bias: bool,
        matrix_poses: bool,
        init: str = "paper",
        initial_length: float = 0.5,
    ) -> None:
        super().__init__()
        check_choice("init", init, INITS)
        check_number("initial_length", initial_length, least=1e-6, most=1 - 1e-6)
        self.init = init
        self.initial_length = initial_length
        check_switch("matrix_poses", matrix_poses)
        check_switch("bias", bias)
        self.sizes = sizes
        self.form: type[WeightedVotes] = MatrixVotes if matrix_poses else LinearVotes
        self.routing = own_routing(routing)
        if self.routing.makes_votes and bias:
            raise ValueError(f"{self.routing.name} routing makes its votes itself: leave bias out")
        self.routing.build(*sizes)
        if self.routing.makes_votes:
            self.register_parameter("weight", None)
        else:
            self.weight = nn.Parameter(torch.empty(self.form.weight_shape(*sizes)))
        self.bias = nn.Parameter(torch.zeros(sizes[2:])) if bias else None
        self.reset_parameters()
        self.is_built = True

    def reset_parameters(self) -> None:
        """Draw the weights anew, and what the routing learns."""
        if not self.routing.makes_votes:
            self.draw_weights()
        if self.is_built:  # else it has just been drawn
            self.routing.reset_parameters()

    def draw_weights(self) -> None:
        """Those of the votes."""
        if self.init == "paper":
            draw_weight(self.weight, self.form)
        else:
            in_caps, _, out_caps, out_dim = self.sizes
            length = self.routing.initial_vote_length(
                in_caps, out_caps, out_dim, self.initial_length
            )
            # For a weight of n rows |W u|² is n · s.d.² · |u|² on average.
            nn.init.normal_(self.weight, std=length / (INPUT_LENGTH * self.weight.shape[-2] ** 0.5))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def learning_rates(self) -> dict[str, float]:
        """Factor of the learning rate by name of parameter, where it is not 1."""
        if self.init == "paper" or self.routing.makes_votes:
            return {}
        in_caps, _, out_caps, _ = self.sizes
        rows, columns = self.weight.shape[-2:]
        moved = self.routing.vote_gain(in_caps, out_caps) * (rows * columns) ** 0.5
        return {"weight": min(1.0, REFERENCE_MOVE / moved)}

    def votes_of(self, pose: Tensor) -> WeightedVotes | PoseVotes:
        """The votes of poses `[..., I, P]`."""
        if self.routing.makes_votes:
            return PoseVotes(pose, *self.sizes[2:])
        return self.form(pose, self.weight, self.bias)


def draw_weight(weight: Tensor, form: type[WeightedVotes]) -> None:
    """Start the weight of votes as a normal, truncated at two s.d."""
    deviation = 0.3 if form is MatrixVotes else 0.1
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
