"""A decoder of convolutions: for images so large that fully connected layers do not pay."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from torchcaps.models.decoder import mask_poses

__all__ = ["ConvDecoder"]

FIRST_GRID = 12  # the side from which the image is grown, at most
WIDTHS = (64, 32, 16)  # channels, from the smallest grid up


class ConvDecoder(nn.Module):
    """Draws the image from the pose of the class present, from a small grid up.

    A fully connected layer gives 64 maps of H/2ⁿ × W/2ⁿ; n times they are doubled in size (nearest
    neighbours) and convolved, 3×3, ReLU; a last convolution gives the channels, sigmoid. The poses
    of all other classes are masked by zeros.

    Args:
        num_classes: J.
        pose_dim: D.
        image_shape: (channels, height, width).

    Reference: the part of the decoder of Sabour, Frosst, Hinton (2017), §4.1; its layers are ours.

    Example:
        >>> decoder = ConvDecoder(10, 16, (3, 64, 48))
        >>> decoder(torch.randn(2, 10, 16), torch.tensor([3, 7])).shape
        torch.Size([2, 3, 64, 48])
    """

    def __init__(self, num_classes: int, pose_dim: int, image_shape: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        doublings = 0
        while max(height, width) / 2**doublings > FIRST_GRID:
            doublings += 1
        self.grid = tuple(-(-side // 2**doublings) for side in (height, width))
        widths = [WIDTHS[min(n, len(WIDTHS) - 1)] for n in range(doublings + 1)]
        self.first = nn.Linear(num_classes * pose_dim, widths[0] * self.grid[0] * self.grid[1])
        layers: list[nn.Module] = [nn.ReLU()]
        for n in range(doublings):
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(widths[n], widths[n + 1], 3, padding=1),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1))

    if TYPE_CHECKING:

        def __call__(self, pose: Tensor, labels: Tensor) -> Tensor: ...

    def forward(self, pose: Tensor, labels: Tensor) -> Tensor:
        """pose `[B, J, D]`, labels `[B]` (or targets `[B, J]`) → images `[B, C, H, W]`."""
        small = self.first(mask_poses(pose, labels).flatten(1)).unflatten(1, (-1, *self.grid))
        _, height, width = self.image_shape
        return torch.sigmoid(self.layers(small)[:, :, :height, :width])
