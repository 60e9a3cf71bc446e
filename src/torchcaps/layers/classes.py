"""Class capsules over a map: the whole map votes, with the same weights at every position."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from torchcaps.layers.conv import check_map, check_pose_map
from torchcaps.layers.own_routing import own_routing
from torchcaps.layers.voting import draw_weight
from torchcaps.routing.base import Routing
from torchcaps.types import Capsules, check_counts, check_switch
from torchcaps.votes import LinearVotes, MatrixVotes, WeightedVotes
from torchcaps.votes.windows import as_pair

__all__ = ["ClassCaps"]


class ClassCaps(nn.Module):
    """Capsules of classes, for which all capsules of a map vote with weights of their type alone.

    V_ij = U_i W_tj for a child i of type t, wherever it is, plus its coordinates: so that the pose
    of a class can hold where on the map it was seen, though the weights do not depend on it.

    Args:
        in_types: T, types of input capsules.
        in_dim: P, components of their poses.
        classes: J, number of output capsules.
        out_dim: D, components of their poses.
        size: H and W of the map, a number or (y, x).
        routing: as in `DenseCaps`; what it learns for each input capsule, it learns for each of
            T·H·W.
        coordinates: add (y + ½) / H and (x + ½) / W of the child to two components of its votes:
            to the first two of the right-hand column of a matrix, to the first two of a vector.
        matrix_poses: as in `ConvCaps`.

    Shape:
        `Capsules` or pose `[..., T, H, W, P]` (activation `[..., T, H, W]`) →
        `Capsules(pose [..., J, D], activation [..., J])`. An optional mask `[..., T, H, W]` is
        False for capsules that do not count.

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR, §4
    (coordinate addition).

    Example:
        >>> layer = ClassCaps(in_types=16, in_dim=16, classes=5, out_dim=16, size=4)
        >>> layer(torch.randn(2, 16, 4, 4, 16)).activation.shape
        torch.Size([2, 5])
    """

    coordinates: Tensor

    is_built = False  # after the constructor, which draws what is learned itself

    def __init__(
        self,
        in_types: int,
        in_dim: int,
        classes: int,
        out_dim: int,
        size: int | Sequence[int],
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "em",
        *,
        coordinates: bool = True,
        matrix_poses: bool = True,
    ) -> None:
        super().__init__()
        check_counts(in_types=in_types, in_dim=in_dim, classes=classes, out_dim=out_dim)
        check_switch("coordinates", coordinates)
        check_switch("matrix_poses", matrix_poses)
        self.size = as_pair("size", size)
        self.sizes = (in_types, in_dim, classes, out_dim)
        self.form: type[WeightedVotes] = MatrixVotes if matrix_poses else LinearVotes
        in_caps = in_types * self.size[0] * self.size[1]
        self.routing = own_routing(routing)
        if self.routing.makes_votes:
            raise ValueError(
                f"{self.routing.name} routing makes its votes itself, and ClassCaps shares the "
                "weights of votes: take DenseCaps"
            )
        self.routing.build(in_caps, *self.sizes[1:])
        self.weight = nn.Parameter(torch.empty(self.form.weight_shape(*self.sizes)))
        self.adds_coordinates = coordinates
        first, step = (self.weight.shape[-1] - 1, self.weight.shape[-1]) if matrix_poses else (0, 1)
        self.places = (first, first + step)  # components that the coordinates are added to
        if coordinates and out_dim <= first + step:
            raise ValueError(f"poses of {out_dim} components have no place for two coordinates")
        self.register_buffer("coordinates", self.added_to_votes().to(self.weight), persistent=False)
        self.register_load_state_dict_post_hook(restore_coordinates)  # type: ignore[no-untyped-call]
        self.reset_parameters()
        self.is_built = True

    if TYPE_CHECKING:

        def __call__(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules: ...

    def added_to_votes(self) -> Tensor:
        """The coordinates of each position, `[H, W, D]`, where they are added to votes; else 0."""
        (height, width), (y, x) = self.size, self.places
        exact: Any = {"dtype": torch.float64, "device": "cpu"}  # not every device has float64
        added = torch.zeros(height, width, self.sizes[-1], **exact)
        if self.adds_coordinates:
            added[..., y] = ((torch.arange(height, **exact) + 0.5) / height).unsqueeze(1)
            added[..., x] = (torch.arange(width, **exact) + 0.5) / width
        return added

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = self.coordinates.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.coordinates.dtype != before:  # else they would keep what an earlier dtype rounded
            restore_coordinates(self)
        return self

    def reset_parameters(self) -> None:
        """Draw the weights and what the routing learns anew.

        The coordinates are computed again: after `to_empty` they are undefined.
        """
        self.draw_weights()
        restore_coordinates(self)
        if self.is_built:  # else it has just been drawn
            self.routing.reset_parameters()

    def draw_weights(self) -> None:
        """Those of the votes."""
        draw_weight(self.weight, self.form)

    def votes(self, capsules: Capsules | Tensor) -> WeightedVotes:
        """The votes `[..., T·H·W, J, D]` that `forward` routes."""
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        in_types, in_dim, classes, _ = self.sizes
        check_pose_map(pose, in_types, in_dim)
        if pose.shape[-3:-1] != self.size:
            raise ValueError(
                f"expected a map of {self.size[0]}×{self.size[1]} capsules, "
                f"got {pose.shape[-3]}×{pose.shape[-2]}"
            )
        positions = self.size[0] * self.size[1]
        weight = self.weight.repeat_interleave(positions, dim=0)
        bias = self.coordinates.flatten(0, 1).repeat(in_types, 1).unsqueeze(1)
        return self.form(pose.flatten(-4, -2), weight, bias.expand(-1, classes, -1))

    def forward(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules:
        """`[..., T, H, W, P]` → `Capsules` `[..., J, D]`."""
        votes = self.votes(capsules)
        pose = capsules.pose if isinstance(capsules, Capsules) else capsules
        activation = None
        if isinstance(capsules, Capsules):
            check_map("activation", capsules.activation, pose)
            activation = capsules.activation.flatten(-3, -1)
        if mask is not None:
            check_map("mask", mask, pose)
            mask = mask.flatten(-3, -1)
        return self.routing(votes, activation, mask)

    def extra_repr(self) -> str:
        in_types, in_dim, classes, out_dim = self.sizes
        return (
            f"{in_types}×{in_dim} → {classes}×{out_dim}, size={self.size}, "
            f"coordinates={self.adds_coordinates}, matrix_poses={self.form is MatrixVotes}"
        )


def restore_coordinates(layer: ClassCaps, keys: object = None) -> None:
    """Compute the coordinates again after weights were loaded, with which they are not saved.

    After `to_empty` they are undefined until then.
    """
    layer.coordinates = layer.added_to_votes().to(layer.weight)
