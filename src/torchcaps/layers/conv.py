"""Convolutional capsules: routing in windows of a map, with weights shared over its positions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from torchcaps.layers.voting import VotingLayer
from torchcaps.routing.base import Routing
from torchcaps.types import (
    Capsules,
    check_bool_tensor,
    check_choice,
    check_counts,
    check_float_tensor,
)
from torchcaps.votes import MatrixVotes, Votes
from torchcaps.votes.windows import Windows, WindowVotes, as_pair

__all__ = ["ConvCaps"]

COMPETITIONS = ("all", "window")


class ConvCaps(VotingLayer):
    """Capsules that each see a window of a map of capsules; weights are shared over positions.

    At each output position the K_y·K_x·T capsules in the window vote for C types,
    V_ij = U_i W_ij (+ bias_j), and are routed to them. W depends on the child's type, on where it
    lies in the window, and on the type of the parent; what the routing learns likewise.

    Args:
        in_types: T, types of input capsules.
        in_dim: P, components of their poses.
        out_types: C, types of output capsules.
        out_dim: D, components of their poses.
        kernel_size, stride, padding: as of `torch.nn.Conv2d`, a number or (y, x). Capsules beyond
            the border do not exist: they are masked, and take part in nothing.
        routing: a name ("em"), a dict with name and options, or a `Routing`, as in `DenseCaps`.
        competition: for what children let parents compete. "all": all types at all positions whose
            window holds the child, for every stride, as EM routing was published; a child hands
            out 1 in all. "window": the types at one position; a child hands out 1 to each of up to
            ⌈K / stride⌉² positions.
        matrix_poses: poses are √P×√P matrices, row after row, and W_ij is one too; in_dim and
            out_dim are then the same square number. False: W_ij is any linear map of the vector.
        bias: learn a bias `[C, D]`, added to every vote.

    Shape:
        `Capsules` or pose `[..., T, H, W, P]` (activation `[..., T, H, W]`) →
        `Capsules(pose [..., C, F_y, F_x, D], activation [..., C, F_y, F_x])` with
        F = ⌊(size + 2·padding − kernel_size) / stride⌋ + 1 along each axis. An optional mask
        `[..., T, H, W]` is False for capsules that do not count.

    Windows are gathered before they are routed: K_y·K_x poses for each one of the map. Their votes,
    C times larger, are formed a few types at a time (see `Routing`).

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR.

    Example:
        >>> import torch
        >>> layer = ConvCaps(8, 16, 16, 16, kernel_size=3, stride=2)
        >>> pose, activation = layer(Capsules(torch.randn(2, 8, 7, 7, 16), torch.rand(2, 8, 7, 7)))
        >>> pose.shape, activation.shape
        (torch.Size([2, 16, 3, 3, 16]), torch.Size([2, 16, 3, 3]))
    """

    def __init__(
        self,
        in_types: int,
        in_dim: int,
        out_types: int,
        out_dim: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "em",
        *,
        competition: str = "all",
        matrix_poses: bool = True,
        bias: bool = False,
    ) -> None:
        check_counts(in_types=in_types, in_dim=in_dim, out_types=out_types, out_dim=out_dim)
        check_choice("competition", competition, COMPETITIONS)
        kernel = as_pair("kernel_size", kernel_size)
        sizes = (in_types * kernel[0] * kernel[1], in_dim, out_types, out_dim)
        self.in_types, self.kernel_size = in_types, kernel  # before the weights are drawn
        super().__init__(sizes, routing, bias=bias, matrix_poses=matrix_poses)
        if competition == "all" and self.routing.makes_votes:
            raise ValueError(
                f"{self.routing.name} routing makes its votes itself, for one window at a time: "
                "take competition='window'"
            )
        self.stride = as_pair("stride", stride)
        self.padding = as_pair("padding", padding, least=0)
        self.competition = competition

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules: ...

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(F_y, F_x): the output positions over a map of this size.

        Raises:
            ValueError: it is smaller than the kernel.
        """
        return self.windows(height, width).grid

    def windows(self, height: int, width: int) -> Windows:
        """The windows of a map of this size."""
        windows = Windows((height, width), self.kernel_size, self.stride, self.padding)
        if min(windows.grid) < 1:
            kernel, padding = self.kernel_size, self.padding
            raise ValueError(
                f"a map of {height}×{width} capsules, padded by {padding[0]} and {padding[1]}, is "
                f"smaller than the kernel, {kernel[0]}×{kernel[1]}"
            )
        return windows

    def votes(self, capsules: Capsules | Tensor) -> Votes:
        """The votes `[..., F_y, F_x, T·K_y·K_x, C, D]` that `forward` routes."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        check_pose_map(pose, self.in_types, self.sizes[1])
        windows = self.windows(*pose.shape[-3:-1])
        votes = self.votes_of(windows.gather(pose))
        return WindowVotes.of(votes, windows) if self.competition == "all" else votes

    def forward(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules:
        """`[..., T, H, W, P]` → `Capsules` `[..., C, F_y, F_x, D]`."""
        votes = self.votes(capsules)
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        windows = self.windows(*pose.shape[-3:-1])
        activation = None
        if isinstance(capsules, Capsules):
            check_map("activation", capsules.activation, pose)
            activation = windows.gather(capsules.activation.unsqueeze(-1)).squeeze(-1)
        seen = None if self.padding == (0, 0) else windows.inside(pose.device)
        if seen is not None:
            seen = seen.repeat(1, 1, self.in_types).expand(votes.shape[:-2])
        if mask is not None:
            check_map("mask", mask, pose)
            counted = windows.gather(mask.unsqueeze(-1).to(pose.dtype)).squeeze(-1) > 0.5
            seen = counted if seen is None else seen & counted
        routed = self.routing(votes, activation, seen)
        return Capsules(routed.pose.movedim(-2, -4), routed.activation.movedim(-1, -3))

    def extra_repr(self) -> str:
        _, in_dim, out_types, out_dim = self.sizes
        return (
            f"{self.in_types}×{in_dim} → {out_types}×{out_dim}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, competition={self.competition!r}, "
            f"matrix_poses={self.form is MatrixVotes}, bias={self.bias is not None}"
        )


def check_pose_map(pose: Tensor, types: int, dim: int) -> None:
    """Raise unless these are poses `[..., types, H, W, dim]`."""
    check_float_tensor("pose", pose)
    if pose.dim() < 4 or (pose.shape[-4], pose.shape[-1]) != (types, dim):
        raise ValueError(
            f"expected poses [..., {types}, H, W, {dim}] (in_types, height, width, in_dim), "
            f"got shape {tuple(pose.shape)}"
        )
    if 0 in pose.shape[-3:-1]:
        height, width = pose.shape[-3:-1]
        raise ValueError(f"expected a map with positions, got one of {height}×{width} capsules")


def check_map(name: str, values: Tensor, pose: Tensor) -> None:
    """Raise unless there is a value for each capsule of a map of poses `[..., T, H, W, P]`."""
    (check_bool_tensor if name == "mask" else check_float_tensor)(name, values)
    if values.shape != pose.shape[:-1]:
        raise ValueError(
            f"{name} must be [..., T, H, W] = {tuple(pose.shape[:-1])}, got {tuple(values.shape)}"
        )
