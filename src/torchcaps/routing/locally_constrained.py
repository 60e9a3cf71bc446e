"""Locally-constrained routing of SegCaps: LaLonde and Bagci (2018)."""

from typing import Self

import torch
from torch import nn

from torchcaps.routing.dynamic import DynamicRouting
from torchcaps.types import Paper

__all__ = ["LocallyConstrainedRouting"]


class LocallyConstrainedRouting(DynamicRouting):
    """Dynamic routing with a bias that is added after the sum over input capsules.

    b_ij = 0, then r times:
    c_ij = softmax_j b_ij,  s_j = Σ_i c_ij û_ij + bias_j,  v_j = squash(s_j),  b_ij += û_ij · v_j

    What is local are the votes: at each output position the windows of T types of capsules have
    been convolved to T input capsules, which compete there alone (`ConvolvedCaps`, `DeconvCaps`).
    In a dense layer it is the routing of the class capsules of DeepCaps.

    Args:
        iterations: r ≥ 1.
        squash: as in `DynamicRouting`.
        detach, backend: as for every `Routing`.

    Learned: `bias` `[J, D]`, shared by all positions; it starts at 0.1.

    Reference: LaLonde, Bagci (2018), *Capsules for Object Segmentation*, arXiv 1804.04241. Their
    code reshapes the axes (type, sample) of the votes to (sample, type), so that with more than one
    image in a batch votes of different images are mixed; here samples are independent. It divides
    by the length of s without a guard; squash here takes 0.

    Example:
        >>> routing = LocallyConstrainedRouting(3).build(2, 8, out_caps=4, out_dim=16)
        >>> routing(torch.randn(1, 6, 6, 2, 4, 16)).pose.shape  # 2 types at 6×6 positions
        torch.Size([1, 6, 6, 4, 16])
    """

    name = "locally_constrained"
    paper = Paper("LaLonde, Bagci", 2018, "Capsules for Object Segmentation", "arXiv 1804.04241")

    def __init__(
        self,
        iterations: int = 3,
        *,
        squash: str = "squash",
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(
            iterations, squash=squash, learned_bias=True, detach=detach, backend=backend
        )

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        self.bias = nn.Parameter(torch.full((out_caps, out_dim), 0.1))
        return self
