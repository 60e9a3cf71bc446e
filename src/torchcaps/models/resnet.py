"""Residual networks for small images: the features that some capsule networks see."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ResNet20", "ShallowResNet"]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, added to what they are given.

    Where the map shrinks or widens, what is given is subsampled and padded with empty channels:
    shortcuts have no parameters. With `projected` it is a normalised 1×1 convolution there.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, projected: bool = False
    ) -> None:
        super().__init__()
        self.projection = None
        if projected and (stride > 1 or in_channels != out_channels):
            self.projection = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.added = out_channels - in_channels
        self.stride = stride
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            return torch.relu(self.projection(x) + self.layers(x))
        kept = x[:, :, :: self.stride, :: self.stride]
        before = self.added // 2
        kept = F.pad(kept, (0, 0, 0, 0, before, self.added - before))
        return torch.relu(kept + self.layers(x))


class ResNet20(nn.Sequential):
    """A 3×3 convolution and nine residual blocks, of 16, 32 and 64 channels; no pooling.

    Args:
        channels: of the image.

    Shape:
        images `[B, C, H, W]` → features `[B, 64, ⌈H/4⌉, ⌈W/4⌉]`.

    Reference: He, Zhang, Ren, Sun (2016), *Deep Residual Learning for Image Recognition*, §4.2,
    shortcuts A.

    Example:
        >>> ResNet20(3)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 64, 8, 8])
    """

    out_channels = 64

    def __init__(self, channels: int) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(channels, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ]
        width = 16
        for out_channels in (16, 32, 64):
            for number in range(3):
                stride = 2 if number == 0 and out_channels > 16 else 1
                layers.append(ResidualBlock(width, out_channels, stride))
                width = out_channels
        super().__init__(*layers)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The size of the features of images of this size."""
        return (height + 3) // 4, (width + 3) // 4


class ShallowResNet(nn.Sequential):
    """A 3×3 convolution and two rows of residual blocks, the second on a map of half the side.

    Args:
        channels: of the image.
        widths: channels of the two rows.
        blocks: how many each has.

    Shape:
        images `[B, C, H, W]` → features `[B, widths[1], ⌈H/2⌉, ⌈W/2⌉]`.

    Reference: Tsai and others (2020), *Capsules with Inverted Dot-Product Attention Routing*;
    shortcuts as B of He, Zhang, Ren, Sun (2016), *Deep Residual Learning for Image Recognition*.

    Example:
        >>> ShallowResNet(3, widths=(8, 16), blocks=(1, 1))(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 16, 16, 16])
    """

    def __init__(
        self, channels: int, widths: Sequence[int] = (64, 128), blocks: Sequence[int] = (3, 4)
    ) -> None:
        first, second = widths
        layers: list[nn.Module] = [
            nn.Conv2d(channels, first, 3, 1, 1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
        ]
        width = first
        for out_channels, count, stride in ((first, blocks[0], 1), (second, blocks[1], 2)):
            for number in range(count):
                step = stride if number == 0 else 1
                layers.append(ResidualBlock(width, out_channels, step, projected=True))
                width = out_channels
        super().__init__(*layers)
        self.out_channels = second

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The size of the features of images of this size."""
        return (height + 1) // 2, (width + 1) // 2
