"""The vectors that `agreement` computes with, and what routing makes of them."""

import math

import torch
from torch import Tensor

from torchcaps.functional import agreement
from torchcaps.routing import RoutingTrace, dynamic_routing_trace
from torchcaps.votes import LinearVotes

__all__ = ["ANGLES", "ITERATIONS", "VOTES", "dot_products", "three_to_two", "two_capsules"]

ANGLES = (180, 135, 90, 45, 0)  # degrees between vote and pose
ITERATIONS = 3

# Three input capsules and what W makes of them: turned by so many degrees, and longer.
POSES = ((0.8, 0.2), (0.5, 0.6), (-0.3, 0.7))
TURNS = ((15, 150), (25, -100), (120, 0))  # [input][output]
LONGER = 1.8

# Votes of five input capsules for two output capsules, as angles; all are of length 1. The first
# two agree on output 1, the next two on output 2; the last opposes the former and joins the latter.
VOTES = ((60, 300), (70, 170), (200, 20), (320, 35), (245, 25))


def unit(degrees: float) -> tuple[float, float]:
    """The vector of length 1 in a direction."""
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


def dot_products() -> tuple[Tensor, Tensor]:
    """(votes `[5, 2]` of length 1, agreement `[5]` of each with the pose (1, 0))."""
    votes = torch.tensor([unit(angle) for angle in ANGLES], dtype=torch.float64)
    pose = torch.tensor([unit(0)], dtype=torch.float64)
    return votes, agreement(votes[:, None], pose)[:, 0]


def three_to_two() -> tuple[LinearVotes, RoutingTrace]:
    """Three input capsules, two output capsules, three iterations."""
    turns = torch.deg2rad(torch.tensor(TURNS, dtype=torch.float64))
    cos, sin = turns.cos(), turns.sin()
    weight = LONGER * torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    votes = LinearVotes(torch.tensor(POSES, dtype=torch.float64), weight)
    return votes, dynamic_routing_trace(votes, ITERATIONS)


def two_capsules() -> tuple[Tensor, RoutingTrace]:
    """The votes `[5, 2, 2]` of `VOTES`, and what five iterations make of them."""
    votes = torch.tensor([[unit(a) for a in angles] for angles in VOTES], dtype=torch.float64)
    return votes, dynamic_routing_trace(votes, 5)
