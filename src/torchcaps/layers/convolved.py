"""Capsules whose votes are convolutions of the maps of capsules below."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from torchcaps.layers.conv import check_pose_map
from torchcaps.layers.own_routing import own_routing
from torchcaps.routing.base import Routing
from torchcaps.types import Capsules, check_choice, check_counts, check_switch
from torchcaps.votes import Votes
from torchcaps.votes.convolved import ConvolvedVotes, MapVotes
from torchcaps.votes.windows import as_pair

__all__ = ["ConvolvedCaps", "DeconvCaps"]


class ConvolvedCaps(nn.Module):
    """Capsules to which each map of input capsules sends one vote a position, by a convolution.

    V_tc = W_c * u_t for child types t and parent types c: the window is summed before it is routed,
    so that at an output position T input capsules compete, where `ConvCaps` has T·K_y·K_x.

    Args:
        in_types: T, types of input capsules.
        in_dim: P, components of their poses.
        out_types: C, types of output capsules.
        out_dim: D, components of their poses.
        kernel_size, stride, padding: as of `torch.nn.Conv2d`, a number or (y, x). Beyond the border
            poses are zero.
        routing: as in `DenseCaps`, for T input and C output capsules.
        competition: for what the children let parents compete. "position": the types at one
            position, as in SegCaps. "map": all types at all positions, as in DeepCaps.
        shared: all types of input capsules share their weights, as in SegCaps and DeepCaps; False:
            each has its own, as in AR-CapsNet.
        bias: learn a bias `[T, C, D]`, added to every vote.

    Shape:
        `Capsules` or pose `[..., T, H, W, P]` → `Capsules(pose [..., C, F_y, F_x, D], activation
        [..., C, F_y, F_x])`. Activations of the input capsules are not looked at: a vote is a sum
        over several of them.

    Reference: LaLonde, Bagci (2018), *Capsules for Object Segmentation*; Rajasegaran and others
    (2019), *DeepCaps*; Choi and others (2019), *Attention Routing Between Capsules*.

    Example:
        >>> layer = ConvolvedCaps(2, 16, 4, 8, kernel_size=5, stride=2, padding=2)
        >>> layer(torch.randn(1, 2, 32, 32, 16)).pose.shape
        torch.Size([1, 4, 16, 16, 8])
    """

    transposed: ClassVar[bool] = False

    is_built = False  # after the constructor, which draws what is learned itself

    def __init__(
        self,
        in_types: int,
        in_dim: int,
        out_types: int,
        out_dim: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "locally_constrained",
        *,
        competition: str = "position",
        shared: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_counts(in_types=in_types, in_dim=in_dim, out_types=out_types, out_dim=out_dim)
        check_choice("competition", competition, ("position", "map"))
        check_switch("shared", shared)
        check_switch("bias", bias)
        self.sizes = (in_types, in_dim, out_types, out_dim)
        self.kernel_size = as_pair("kernel_size", kernel_size)
        self.stride = as_pair("stride", stride)
        self.padding = as_pair("padding", padding, least=0)
        self.competition = competition
        self.routing = own_routing(routing)
        if self.routing.needs_pose:
            raise ValueError(
                f"{self.routing.name} routing needs the poses of the input capsules, and "
                "ConvolvedCaps forms votes by a convolution: take ConvCaps"
            )
        self.routing.build(*self.sizes)
        kinds = 1 if shared else in_types
        self.weight = nn.Parameter(
            torch.empty(kinds, out_types, out_dim, in_dim, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(in_types, out_types, out_dim)) if bias else None
        self.reset_parameters()
        self.is_built = True

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor) -> Capsules: ...

    def reset_parameters(self) -> None:
        """Draw the weights anew, and what the routing learns."""
        self.draw_weights()
        if self.is_built:  # else it has just been drawn
            self.routing.reset_parameters()

    def draw_weights(self) -> None:
        """Those of the votes, whose components are then about as large as of poses."""
        seen = self.sizes[1] * self.kernel_size[0] * self.kernel_size[1]
        if self.transposed:  # a position is reached by one in stride² of the cells
            seen = max(1, seen // (self.stride[0] * self.stride[1]))
        nn.init.normal_(self.weight, std=seen**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def votes(self, capsules: Capsules | Tensor) -> Votes:
        """The votes `[..., F_y, F_x, T, C, D]` that `forward` routes."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        check_pose_map(pose, *self.sizes[:2])
        votes = ConvolvedVotes(
            pose, self.weight, self.bias, self.stride, self.padding, self.transposed
        )
        return MapVotes(votes) if self.competition == "map" else votes

    def forward(self, capsules: Capsules | Tensor) -> Capsules:
        """`[..., T, H, W, P]` → `Capsules` `[..., C, F_y, F_x, D]`."""
        routed = self.routing(self.votes(capsules))
        return Capsules(routed.pose.movedim(-2, -4), routed.activation.movedim(-1, -3))

    def extra_repr(self) -> str:
        in_types, in_dim, out_types, out_dim = self.sizes
        return (
            f"{in_types}×{in_dim} → {out_types}×{out_dim}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, competition={self.competition!r}, "
            f"shared={len(self.weight) == 1}, bias={self.bias is not None}"
        )


class DeconvCaps(ConvolvedCaps):
    """`ConvolvedCaps` by a transposed convolution: the map grows by the stride.

    Args: as `ConvolvedCaps`; kernel_size 4, stride 2 and padding 1 double the map.

    Shape:
        pose `[..., T, H, W, P]` → `Capsules(pose [..., C, F_y, F_x, D], …)` with
        F = (size − 1)·stride − 2·padding + kernel_size.

    Reference: LaLonde, Bagci (2018), *Capsules for Object Segmentation*, arXiv 1804.04241.

    Example:
        >>> layer = DeconvCaps(4, 8, 2, 16, kernel_size=4, stride=2, padding=1)
        >>> layer(torch.randn(1, 4, 16, 16, 8)).pose.shape
        torch.Size([1, 2, 32, 32, 16])
    """

    transposed: ClassVar[bool] = True
