"""3-D routing of DeepCaps: Rajasegaran and others (2019)."""

from torch import Tensor

from torchcaps.functional import SQUASHES
from torchcaps.routing.locally_constrained import LocallyConstrainedRouting
from torchcaps.types import Paper, check_switch
from torchcaps.votes import Votes
from torchcaps.votes.convolved import MapVotes

__all__ = ["DeepCapsRouting"]


class DeepCapsRouting(LocallyConstrainedRouting):
    """Dynamic routing in which a child shares itself out over a whole map.

    b = 0, then r times, for child types t, parent types c and output positions p:
    k_tcp = softmax_{c,p} b_tcp,  s_cp = Σ_t k_tcp V_tcp + bias_c,  v_cp = squash(s_cp),
    b_tcp += V_tcp · v_cp

    The softmax over the map is that of the votes (`MapVotes`; `ConvolvedCaps` with competition
    "map"); of votes without a map it is over the parents, as everywhere. With C parents at F×F
    positions a coupling is about 1 / (C·F²), so that poses become shorter the larger the map is.

    Args:
        iterations: r ≥ 1.
        joint_norm: squash all poses of a parent type on a map together, as one vector, as the
            authors' code does: all but one position are then short. False, as in the paper: each
            pose by itself.
        squash, detach, backend: as in `LocallyConstrainedRouting`.

    Learned: `bias` `[J, D]`, as in `LocallyConstrainedRouting`.

    Reference: Rajasegaran, Jayasundara, Jayasekara, Jayasekara, Seneviratne, Rodrigo (2019),
    *DeepCaps: Going Deeper with Capsule Networks*, CVPR. Their code reshapes positions, types and
    components into each other before the convolution; here a capsule stays where it is.

    Example:
        >>> import torch
        >>> from torchcaps.votes import FormedVotes
        >>> routing = DeepCapsRouting(3).build(2, 8, out_caps=4, out_dim=16)
        >>> routing(MapVotes(FormedVotes(torch.randn(1, 6, 6, 2, 4, 16)))).pose.shape
        torch.Size([1, 6, 6, 4, 16])
    """

    name = "deepcaps"
    paper = Paper(
        "Rajasegaran, Jayasundara, Jayasekara, Jayasekara, Seneviratne, Rodrigo",
        2019,
        "DeepCaps: Going Deeper with Capsule Networks",
        "CVPR",
    )

    def __init__(
        self,
        iterations: int = 3,
        *,
        joint_norm: bool = False,
        squash: str = "squash",
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__(iterations, squash=squash, detach=detach, backend=backend)
        check_switch("joint_norm", joint_norm)
        self.joint_norm = joint_norm

    def check_arguments(
        self, votes: Votes | Tensor, activation: Tensor | None, mask: Tensor | None
    ) -> tuple[Votes, Tensor | None]:
        if self.joint_norm and not isinstance(votes, MapVotes):
            raise ValueError(
                "joint_norm squashes the poses of a map together: pass MapVotes, as "
                "ConvolvedCaps with competition 'map' does"
            )
        return super().check_arguments(votes, activation, mask)

    def squashed(self, s: Tensor) -> Tensor:
        if not self.joint_norm or s.dim() < 4:  # a layer asks for the length of a single pose
            return super().squashed(s)
        of_types = s.movedim(-2, -4)  # [..., C, F_y, F_x, D]
        v = SQUASHES[self.squash](of_types.flatten(-3)).unflatten(-1, of_types.shape[-3:])
        of_positions: Tensor = v.movedim(-4, -2)
        return of_positions
