"""The decoder: from the pose of one class back to the image."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from torchcaps.losses import class_targets
from torchcaps.types import check_several

__all__ = ["Decoder"]


class Decoder(nn.Module):
    """Three fully connected layers that draw the image from the pose of the class present.

    160 → 512 ReLU → 1024 ReLU → 784 sigmoid in the paper; the poses of all other classes are
    masked by zeros.

    Args:
        num_classes: J.
        pose_dim: D.
        image_shape: (channels, height, width).
        hidden: widths of the hidden layers.

    Raises:
        ValueError: a width that is no positive whole number.

    Reference: Sabour, Frosst, Hinton (2017), §4.1 and Fig 2.

    Example:
        >>> decoder = Decoder(10, 16, (1, 28, 28))
        >>> decoder(torch.randn(2, 10, 16), torch.tensor([3, 7])).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        num_classes: int,
        pose_dim: int,
        image_shape: Sequence[int],
        hidden: Sequence[int] = (512, 1024),
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        widths = [num_classes * pose_dim, *check_several("hidden", hidden)]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        pixels = torch.Size(self.image_shape).numel()
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], pixels), nn.Sigmoid())

    if TYPE_CHECKING:

        def __call__(self, pose: Tensor, labels: Tensor) -> Tensor: ...

    @property
    def hidden(self) -> list[int]:
        """Widths of the hidden layers."""
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        return [layer.out_features for layer in linear[:-1]]

    def forward(self, pose: Tensor, labels: Tensor) -> Tensor:
        """pose `[B, J, D]`, labels `[B]` (or targets `[B, J]`) → images `[B, C, H, W]`."""
        pixels: Tensor = self.layers(mask_poses(pose, labels).flatten(1))
        images: Tensor = pixels.unflatten(1, self.image_shape)
        return images


def mask_poses(pose: Tensor, labels: Tensor) -> Tensor:
    """Poses `[B, J, D]`, zero but for the classes in labels `[B]` (or targets `[B, J]`)."""
    present = class_targets(labels, pose.shape[:2]).unsqueeze(-1)
    # `where`, not a product: a NaN in the pose of a masked class must not get through.
    return torch.where(present.bool(), pose, torch.zeros_like(pose))
