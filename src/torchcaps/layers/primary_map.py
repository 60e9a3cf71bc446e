"""The first capsules of a map: a pose and an activation of their own at each position."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from torchcaps.types import (
    Capsules,
    check_choice,
    check_counts,
    check_float_tensor,
    check_same_dtype,
)
from torchcaps.votes.windows import as_pair

__all__ = ["PrimaryCapsMap"]

NORMS = ("none", "types", "channels")


class PrimaryCapsMap(nn.Module):
    """Two convolutions of the features: one gives the poses of a map of capsules, one activations.

    pose = conv(x),  a = σ(conv'(x)), where channels t·dim … (t+1)·dim − 1 are the pose of type t.

    Args:
        in_channels: of the features.
        types: T, capsule types at each position.
        dim: P, components of a pose.
        kernel_size, stride, padding: of both convolutions, a number or (y, x).
        norm: batch normalisation, in the place of biases: "none"; "types", one mean and variance
            for all components of a type; "channels", for each component. Activations are
            normalised before the σ, by type.

    Shape:
        features `[B, in_channels, H, W]` → `Capsules(pose [B, T, F_y, F_x, P],
        activation [B, T, F_y, F_x])`, activations in [0, 1].

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing* (no norm); Ribeiro
    and others (2020) by types; Hahn and others (2019) by channels.

    Example:
        >>> capsules = PrimaryCapsMap(64, types=8, dim=16)(torch.randn(2, 64, 14, 14))
        >>> capsules.pose.shape, capsules.activation.shape
        (torch.Size([2, 8, 14, 14, 16]), torch.Size([2, 8, 14, 14]))
    """

    def __init__(
        self,
        in_channels: int,
        types: int,
        dim: int,
        kernel_size: int | Sequence[int] = 1,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        *,
        norm: str = "none",
    ) -> None:
        super().__init__()
        in_channels, types, dim = check_counts(in_channels=in_channels, types=types, dim=dim)
        check_choice("norm", norm, NORMS)
        window = (
            as_pair("kernel_size", kernel_size),
            as_pair("stride", stride),
            as_pair("padding", padding, least=0),
        )
        bias = norm == "none"
        self.types, self.padding = types, window[2]
        self.pose = nn.Conv2d(in_channels, types * dim, *window, bias=bias)
        self.activation = nn.Conv2d(in_channels, types, *window, bias=bias)
        self.norm = norm
        self.activation_norm = nn.Identity() if bias else nn.BatchNorm2d(types)
        self.pose_norm: nn.Module = nn.Identity()
        if norm == "types":
            self.pose_norm = nn.BatchNorm3d(types)
        elif norm == "channels":
            self.pose_norm = nn.BatchNorm2d(types * dim)

    if TYPE_CHECKING:

        def __call__(self, features: Tensor) -> Capsules: ...

    def forward(self, features: Tensor) -> Capsules:
        """features `[B, in_channels, H, W]` → `Capsules`."""
        check_float_tensor("features", features)
        if features.dim() != 4 or features.shape[1] != self.pose.in_channels:
            raise ValueError(
                f"features must be [B, {self.pose.in_channels}, H, W], "
                f"got shape {tuple(features.shape)}"
            )
        check_same_dtype("features", features, self.pose.weight)
        kernel, padding = self.pose.kernel_size, self.padding
        if any(s + 2 * p < k for s, p, k in zip(features.shape[2:], padding, kernel)):
            raise ValueError(
                f"features of {features.shape[2]}×{features.shape[3]} are smaller than the kernel, "
                f"{kernel[0]}×{kernel[1]}, with their padding too"
            )
        poses = self.pose(features).to(self.pose.weight.dtype)  # autocast gives bf16
        logits = self.activation(features).to(self.activation.weight.dtype)
        if self.norm == "channels":
            poses = self.pose_norm(poses)
        poses = poses.unflatten(1, (self.types, -1))  # [B, T, P, F_y, F_x]
        if self.norm == "types":
            poses = self.pose_norm(poses)
        return Capsules(poses.movedim(2, -1), torch.sigmoid(self.activation_norm(logits)))
