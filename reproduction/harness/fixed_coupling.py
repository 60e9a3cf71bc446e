"""A control for experiments on routing: coupling that is random, and never routed."""

import torch
from torch import Tensor, nn

from reproduction.harness.training import Change
from torchcaps.functional import squash
from torchcaps.models import CapsNet, Classifier
from torchcaps.routing.dynamic import no_autocast
from torchcaps.seeding import mix_seed
from torchcaps.types import Capsules
from torchcaps.votes import LinearVotes

__all__ = ["FixedCoupling", "with_fixed_coupling"]


class FixedCoupling(nn.Module):
    """v_j = squash(Σ_i c_ij û_ij) with c drawn once: the same for every image, and not learned.

    The couplings of an input capsule are uniform over all that are ≥ 0 and sum to 1 (a flat
    Dirichlet distribution). With c_ij = 1/J in their place this would be routing with r = 1.

    Args:
        in_caps, out_caps: I and J.
        seed: of the draw.

    Shape:
        `LinearVotes` `[..., I, J, D]` → `Capsules(pose [..., J, D], activation [..., J])`.
    """

    coupling: Tensor  # [I, J]

    def __init__(self, in_caps: int, out_caps: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(mix_seed("coupling", seed))
        draws = -torch.log1p(-torch.rand(in_caps, out_caps, generator=generator))
        coupling = draws / draws.sum(dim=-1, keepdim=True)
        self.register_buffer("coupling", coupling, persistent=False)

    def forward(self, votes: LinearVotes, mask: Tensor | None = None) -> Capsules:
        """Votes, none of them masked → `Capsules`."""
        if mask is not None:
            raise ValueError("fixed coupling takes no mask")
        with no_autocast(votes):
            weight = self.coupling[:, :, None, None] * votes.weight
            pose = squash(torch.einsum("...ip,ijdp->...jd", votes.pose.to(weight.dtype), weight))
        return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))


def with_fixed_coupling(seed: int) -> Change:
    """Puts fixed coupling in the place of a capsule network's routing."""

    def change(model: Classifier) -> Classifier:
        assert isinstance(model, CapsNet)
        in_caps, out_caps = model.classes.weight.shape[:2]
        model.classes.routing = FixedCoupling(in_caps, out_caps, seed)
        return model

    return change
