"""Self-routing: Hahn, Pyeon, Kim (2019)."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from torchcaps.functional import weighted_sum
from torchcaps.routing.base import Routing
from torchcaps.routing.law import Law
from torchcaps.routing.moments import by_mass
from torchcaps.routing.packed import PackedVotes
from torchcaps.routing.tile import Tile
from torchcaps.types import Capsules, Paper

__all__ = ["SelfRouting"]


class Totals(NamedTuple):
    """Σ_i a_i c_ij `[..., J, 1]`, and Σ_i a_i c_ij V_ij `[..., J, D]`."""

    mass: Tensor
    votes: Tensor


class SelfRouting(Routing[Totals, Totals]):
    """Every input capsule routes itself, by a linear map of its pose; no iterations, no agreement.

    c_ij = softmax_j (w_ij · u_i + b_ij),  a_j = Σ_i a_i c_ij / Σ_k Σ_i a_i c_ik,
    pose_j = Σ_i a_i c_ij V_ij / Σ_i a_i c_ij

    The denominator of a_j is Σ_i a_i where the couplings of each input capsule sum to 1 (in a
    convolution whose children compete over all windows: what of them comes to this window). So the
    activations of the output capsules sum to 1, and those of the classes are a distribution (the
    authors' loss is the log-likelihood, −ln a_y). They are 0 where no input capsule is active. The
    couplings depend on poses, which formed votes do not have.

    Args:
        backend: as for every `Routing`.

    Learned: `weight` w `[I, J, P]` and `bias` b `[I, J]`. Both start at 0, as in the authors' code:
        then every coupling is 1/J.

    Reference: Hahn, Pyeon, Kim (2019), *Self-Routing Capsule Networks*, NeurIPS 32.

    Example:
        >>> from torchcaps import LinearVotes
        >>> routing = SelfRouting().build(in_caps=6, in_dim=8, out_caps=10, out_dim=16)
        >>> votes = LinearVotes(torch.randn(2, 6, 8), torch.randn(6, 10, 16, 8))
        >>> routing(votes, torch.rand(2, 6)).activation.sum(dim=-1).allclose(torch.ones(2))
        True
    """

    name = "self_routing"
    fused = True
    paper = Paper("Hahn, Pyeon, Kim", 2019, "Self-Routing Capsule Networks", "NeurIPS 32")
    class_loss = "likelihood"
    laws = frozenset(
        {
            Law.ROTATION_EQUIVARIANT,
            Law.COUPLING_SHARES_ONE_UNIT,
            Law.INACTIVE_INPUTS_HAVE_NO_INFLUENCE,
        }
    )
    needs_pose = True

    def __init__(self, *, backend: str = "auto") -> None:
        super().__init__(1, backend=backend)
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        self.weight = nn.Parameter(torch.zeros(in_caps, out_caps, in_dim))
        self.bias = nn.Parameter(torch.zeros(in_caps, out_caps))
        return self

    @property
    def built_for(self) -> dict[str, int]:
        in_caps, out_caps, in_dim = self.weight.shape
        return {"in_caps": in_caps, "in_dim": in_dim, "out_caps": out_caps}

    def start(self, tile: Tile) -> Tensor:
        """w_ij · u_i + b_ij"""
        weight, bias = self.weight[tile.indices], self.bias[tile.indices]
        return torch.einsum("...ip,ijp->...ij", tile.pose, weight) + bias

    def gather(self, tile: Tile, coupling: Tensor, state: Totals) -> Totals:
        w = coupling * tile.activation.unsqueeze(-1)
        return Totals(w.sum(dim=-2).unsqueeze(-1), weighted_sum(w, tile.votes))

    def sweep_packed(self, votes: PackedVotes, state: Totals, t: int) -> Totals:
        return Totals(*votes.coupled_by_poses(self.weight, self.bias))

    def settle(self, statistics: Totals, state: Totals, t: int) -> Totals:
        return statistics

    def finish(self, state: Totals) -> Capsules:
        mass, votes = state
        active = mass.sum(dim=-2, keepdim=True)
        return Capsules(divided(votes, mass), divided(mass, active).squeeze(-1))


def divided(x: Tensor, mass: Tensor) -> Tensor:
    """x / mass; 0 where nothing is active, and constant where the slopes would overflow."""
    return by_mass(lambda m: [x / m], mass)[0]
