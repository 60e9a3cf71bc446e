"""A control for experiments on routing: coupling that is random, and never routed."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from reproduction.harness.training import Change
from torchcaps.functional import squash, weighted_sum
from torchcaps.models import CapsNet, Classifier
from torchcaps.routing import Law, Routing, Tile, register_routing
from torchcaps.seeding import mix_seed
from torchcaps.types import Capsules, Paper

__all__ = ["FixedCoupling", "with_fixed_coupling"]


class Total(NamedTuple):
    """s_j, `[..., J, D]`."""

    s: Tensor


@register_routing
class FixedCoupling(Routing[Total, Total]):
    """v_j = squash(Σ_i c_ij û_ij) with c drawn once: the same for every image, and not learned.

    The couplings of an input capsule are uniform over all that are ≥ 0 and sum to 1 (a flat
    Dirichlet distribution). With c_ij = 1/J in their place this would be routing with r = 1.

    Args:
        seed: of the draw.
    """

    name = "fixed-coupling"
    paper = Paper("torchcaps", 2026, "a control: coupling drawn once", "reproduction")
    laws = frozenset(
        {
            Law.ODD,
            Law.ROTATION_EQUIVARIANT,
            Law.LENGTH_IS_ACTIVATION,
            Law.COUPLING_SHARES_ONE_UNIT,
        }
    )
    coupling: Tensor  # [I, J]

    def __init__(self, seed: int = 0, *, backend: str = "auto") -> None:
        super().__init__(1, backend=backend)
        self.seed = seed

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        generator = torch.Generator().manual_seed(mix_seed("coupling", self.seed))
        draws = -torch.log1p(-torch.rand(in_caps, out_caps, generator=generator, device="cpu"))
        coupling = draws / draws.sum(dim=-1, keepdim=True)
        self.register_buffer("coupling", coupling)
        return self

    @property
    def built_for(self) -> dict[str, int]:
        in_caps, out_caps = self.coupling.shape
        return {"in_caps": in_caps, "out_caps": out_caps}

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        """c_ij, whatever the votes."""
        return self.coupling[tile.indices].to(logits.dtype).expand_as(logits)

    def gather(self, tile: Tile, coupling: Tensor, state: Total) -> Total:
        """s_j = Σ_i c_ij û_ij"""
        return Total(weighted_sum(coupling, tile.votes))

    def settle(self, statistics: Total, state: Total, t: int) -> Total:
        return statistics

    def finish(self, state: Total) -> Capsules:
        """v_j = squash(s_j), and its length."""
        pose = squash(state.s)
        return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))


def with_fixed_coupling(seed: int) -> Change:
    """Puts fixed coupling in the place of a capsule network's routing."""

    def change(model: Classifier) -> Classifier:
        assert isinstance(model, CapsNet)
        in_caps, out_caps, out_dim, in_dim = model.classes.weight.shape
        model.classes.routing = FixedCoupling(seed).build(in_caps, in_dim, out_caps, out_dim)
        return model

    return change
