"""Weighted sums of votes and their squares, from which parents that are Gaussians are fitted.

They are taken about a centre, which no result depends on: the mean of the iteration before. As
ΣV² − μ², a small variance would be lost in float32.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchcaps.functional import weighted_sum
from torchcaps.routing.base import Routing, StateT
from torchcaps.routing.packed import PackedVotes
from torchcaps.routing.tile import Tile

__all__ = [
    "LEAST_FLOOR",
    "GaussianRouting",
    "Moments",
    "about",
    "by_mass",
    "constant_if_too_large",
    "least_variance",
    "moments",
    "spread_about",
    "starting_centre",
    "weighted_total",
    "widest",
]

ORDINARY = 1e6  # votes up to this size are taken as they are; squares of larger ones could overflow
# Variances of votes that were brought to unit size: less than this is lost to rounding.
SMALLEST = {torch.float32: 1e-12, torch.float64: 1e-28}
LEAST_FLOOR = 1e-12  # of a variance, that may be asked for


class Moments(NamedTuple):
    """Σ_i w_ij `[..., J, 1]`, Σ_i w_ij d_ij and Σ_i w_ij d_ij² `[..., J, D]`, where
    w_ij = R_ij a_i and d_ij = (V_ij − centre_j) / scale_j."""

    mass: Tensor
    first: Tensor
    second: Tensor


class GaussianRouting(Routing[Moments, StateT]):
    """What routings share whose parents are Gaussians; their states have a centre and a scale.

    A subclass states `first_state`, `density`, and `first_share`, the coupling that it starts from.
    """

    widens = True

    def begin(self, tile: Tile) -> StateT:
        """Sums are taken about the mean of the tile's votes."""
        return self.first_state(*starting_centre(tile))

    def widen(self, state: Any, other: Any) -> Any:
        return widest(state, other)

    def begin_packed(self, votes: PackedVotes) -> StateT:
        centre = votes.mean_vote()
        return self.first_state(centre, torch.ones_like(centre[..., :1]))

    def first_state(self, centre: Tensor, scale: Tensor) -> StateT:
        """That before the first iteration: nothing is known."""
        raise NotImplementedError

    def view(self, tile: Tile, state: Any) -> Tile:
        """d_ij = (V_ij − centre_j) / scale_j in the place of the votes."""
        return about(tile, state.centre, state.scale)

    def density(self, state: StateT) -> tuple[Tensor, Tensor]:
        """The logit of a vote at the centre `[..., J]`, and what is subtracted for every d_ijh²
        `[..., J, D]`."""
        raise NotImplementedError

    def first_share(self, outputs: int) -> float:
        """The coupling of the first iteration, or `SHARED`."""
        raise NotImplementedError

    def sweep_packed(self, votes: PackedVotes, state: Any, t: int) -> Moments:
        density = None if t == 1 else self.density(state)
        return Moments(*votes.moments(state.centre, density, self.first_share(votes.outputs[0])))


def starting_centre(tile: Tile) -> tuple[Tensor, Tensor]:
    """The mean of the tile's votes `[..., J, D]`, weighted by activation as the sums are, and their
    size `[..., J, 1]` where that is above what is ordinary (1 elsewhere)."""
    votes, weight = tile.votes, tile.activation.clamp(min=0)
    total = weight.sum(dim=-1)[..., None, None]
    total = torch.where(total > 0, total, torch.ones_like(total))
    centre = (weight[..., None, None] * votes).sum(dim=-3) / total
    sizes = [votes.abs().amax(dim=-1), torch.zeros_like(centre[..., 0]).unsqueeze(-2)]
    size = torch.cat(sizes, dim=-2).amax(dim=-2).unsqueeze(-1)  # 0 where there is no child
    return centre, torch.where(size > ORDINARY, size, torch.ones_like(size))


def least_variance(floor: float, scale: Tensor) -> Tensor:
    """What is added to a variance of votes that were divided by their scale."""
    return (floor / scale.square()).clamp(min=SMALLEST[scale.dtype])


def widest(state: Any, other: Any) -> Any:
    """A state before the first iteration, with the larger one of two scales, and the other centre
    where no child was active."""
    unseen = (state.centre == 0).all(dim=-1, keepdim=True)
    centre = torch.where(unseen, other.centre, state.centre)
    return state._replace(centre=centre, scale=torch.maximum(state.scale, other.scale))


def about(tile: Tile, centre: Tensor, scale: Tensor) -> Tile:
    """The tile with d_ij = (V_ij − centre_j) / scale_j in the place of the votes."""
    unit = 1 / scale
    d = torch.addcmul(-(unit * centre).unsqueeze(-3), tile.votes, unit.unsqueeze(-3))
    return replace(tile, votes=d)


def moments(tile: Tile, coupling: Tensor) -> Moments:
    """Those of the votes d_ij that the tile holds, with w_ij = R_ij a_i."""
    w = coupling * tile.activation.unsqueeze(-1)  # [..., i, J]
    first, second = (weighted_sum(w, power) for power in (tile.votes, tile.votes.square()))
    return Moments(w.sum(dim=-2).unsqueeze(-1), first, second)


def weighted_total(statistics: Moments, centre: Tensor, scale: Tensor) -> Tensor:
    """Σ_i w_ij V_ij, `[..., J, D]`."""
    return centre * statistics.mass + scale * statistics.first


def spread_about(mean: Tensor, statistics: Moments, centre: Tensor, scale: Tensor) -> Tensor:
    """Σ_i w_ij (V_ij − mean_j)² / scale_j², `[..., J, D]`."""
    m, first, second = statistics
    shift = (mean - centre) / scale
    return (second - 2 * shift * first + shift.square() * m).clamp(min=0)


def by_mass(fit: Callable[[Tensor], Sequence[Tensor]], mass: Tensor) -> list[Tensor]:
    """What is fitted to the children of a parent by dividing by their mass `[..., J, 1]`.

    A parent to which nothing has come takes 1 for its mass. It, and one of so little mass that
    slopes overflow, is a constant in backward: infinity times 0 there would be NaN everywhere.

    Args:
        fit: what is fitted `[..., J, ·]`, first the mean, for these masses.
        mass: Σ_i w_ij.
    """
    one = torch.ones_like(mass)
    with torch.no_grad():
        constants = [part.detach() for part in fit(torch.where(mass > 0, mass, one))]
    largest = constants[0].abs().amax(dim=-1, keepdim=True).clamp(min=1)
    bearable = largest / mass < torch.finfo(mass.dtype).max / 256  # and sums of some of them
    fitted = fit(torch.where(bearable, mass, one))
    return [torch.where(bearable, part, constant) for part, constant in zip(fitted, constants)]


def constant_if_too_large(logits: Tensor, scale: Tensor) -> Tensor:
    """The logits, without a gradient where squares of the votes overflow: theirs would too."""
    too_large = scale > math.sqrt(torch.finfo(scale.dtype).max) / 32  # and sums of some of them
    return torch.where(too_large.any(dim=-2, keepdim=True), logits.detach(), logits)
