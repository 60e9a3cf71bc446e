"""The first layer of capsules: from feature maps to poses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from torchcaps.functional import soft_squash, squash
from torchcaps.types import Capsules, check_counts, check_float_tensor, check_same_dtype
from torchcaps.votes.windows import as_pair

__all__ = ["PrimaryCaps", "WholeMapCaps", "convolved_size"]


class PrimaryCaps(nn.Module):
    """A convolution whose channels are grouped into capsules: `types` of them at each position.

    u = squash(conv(x)), where channels t·dim … (t+1)·dim − 1 at one position are the pose of the
    capsule of type t there. (To reshape the channels-first output directly would make "capsules"
    of neighbouring pixels of one channel.)

    Args:
        in_channels: channels of the feature maps.
        types: capsule types, 32 in the paper.
        dim: P, components of a pose, 8 in the paper.
        kernel_size, stride: of the convolution, 9 and 2 in the paper.

    Shape:
        features `[B, in_channels, H, W]` → pose `[B, types·H'·W', dim]`, activation
        `[B, types·H'·W']`, with H' = ⌊(H − kernel_size) / stride⌋ + 1. Capsule (t, y, x) has index
        (t·H' + y)·W' + x.

    Raises:
        ValueError: features of another shape, or smaller than the kernel.

    Reference: Sabour, Frosst, Hinton (2017), §4. The authors' code divides the convolution by the
    number of types, having passed it through routing with one input; the paper does not.

    Example:
        >>> capsules = PrimaryCaps(256, types=32, dim=8)(torch.randn(2, 256, 20, 20))
        >>> capsules.pose.shape
        torch.Size([2, 1152, 8])
    """

    def __init__(
        self, in_channels: int, types: int = 32, dim: int = 8, kernel_size: int = 9, stride: int = 2
    ) -> None:
        super().__init__()
        in_channels, types, dim, kernel_size, stride = check_counts(
            in_channels=in_channels, types=types, dim=dim, kernel_size=kernel_size, stride=stride
        )
        self.types = types
        self.dim = dim
        self.conv = nn.Conv2d(in_channels, types * dim, kernel_size, stride)

    if TYPE_CHECKING:

        def __call__(self, features: Tensor) -> Capsules: ...

    def forward(self, features: Tensor) -> Capsules:
        """features `[B, in_channels, H, W]` → `Capsules`."""
        check_float_tensor("features", features)
        if features.dim() != 4 or features.shape[1] != self.conv.in_channels:
            raise ValueError(
                f"features must be [B, {self.conv.in_channels}, H, W], "
                f"got shape {tuple(features.shape)}"
            )
        check_same_dtype("features", features, self.conv.weight)
        self.grid(*features.shape[2:])
        # Under autocast the convolution gives bf16; poses keep the precision of the weights.
        maps = self.conv(features).to(self.conv.weight.dtype)  # [B, types·dim, H', W']
        grouped = maps.unflatten(1, (self.types, self.dim))  # [B, types, dim, H', W']
        pose = squash(grouped.movedim(2, -1).flatten(1, 3))  # [B, types·H'·W', dim]
        return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(H', W'): the grid of capsules over features of this size."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if min(height, width) < kernel:
            raise ValueError(
                f"features of {height}×{width} are smaller than the kernel, {kernel}×{kernel}"
            )
        return convolved_size(height, kernel, stride), convolved_size(width, kernel, stride)


class WholeMapCaps(nn.Module):
    """One capsule of each type for the whole map: every component sees one channel, all of it.

    u = soft_squash(conv(x)) with a depthwise convolution whose kernel is as large as the map, where
    channels t·dim … (t+1)·dim − 1 make the capsule of type t.

    Args:
        types: capsule types.
        dim: P, components of a pose.
        size: H and W of the features, a number or (y, x).

    Shape:
        features `[B, types·dim, H, W]` → `Capsules(pose [B, types, dim], activation [B, types])`.

    Reference: Mazzia, Salvetti, Chiaberge (2021), *Efficient-CapsNet*, Scientific Reports 11.

    Example:
        >>> WholeMapCaps(16, 8, (9, 9))(torch.randn(2, 128, 9, 9)).pose.shape
        torch.Size([2, 16, 8])
    """

    def __init__(self, types: int, dim: int, size: int | Sequence[int]) -> None:
        super().__init__()
        types, dim = check_counts(types=types, dim=dim)
        self.types, self.dim = types, dim
        kernel = as_pair("size", size)
        self.conv = nn.Conv2d(types * dim, types * dim, kernel, groups=types * dim)

    if TYPE_CHECKING:

        def __call__(self, features: Tensor) -> Capsules: ...

    def forward(self, features: Tensor) -> Capsules:
        """features `[B, types·dim, H, W]` → `Capsules`."""
        check_float_tensor("features", features)
        expected = (self.conv.in_channels, *self.conv.kernel_size)
        if features.dim() != 4 or features.shape[1:] != expected:
            raise ValueError(
                f"features must be [B, {', '.join(map(str, expected))}], "
                f"got shape {tuple(features.shape)}"
            )
        check_same_dtype("features", features, self.conv.weight)
        components = self.conv(features).to(self.conv.weight.dtype).flatten(1)
        pose = soft_squash(components.unflatten(1, (self.types, self.dim)))
        return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))


def convolved_size(size: int, kernel_size: int, stride: int = 1) -> int:
    """Positions of an unpadded kernel along an axis: ⌊(size − kernel_size) / stride⌋ + 1.

    Example:
        >>> convolved_size(20, kernel_size=9, stride=2)
        6
    """
    return (size - kernel_size) // stride + 1
