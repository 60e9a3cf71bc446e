"""Small convolutions with normalisation: what primary capsules see of an image of any size."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

__all__ = ["Stem", "StemPlan", "plan_stem"]

UNPADDED = 23  # smallest side that leaves a primary capsule without padding
PADDED_AGAIN = 48  # from here on a single halving leaves thousands of capsules
MOST_FEATURES = 24  # side of the features of larger images, before the primary capsules
MANY_FEATURES = 12 * 12  # beyond which primary capsules take every other position


class StemPlan(NamedTuple):
    """How a stem shrinks an image.

    Attributes:
        halvings: how often the side is halved, by convolutions of stride 2.
        padded: whether the convolutions keep the border.
        first_stride: of the first convolution: 2 counts as one of the halvings.
    """

    halvings: int
    padded: bool
    first_stride: int


def plan_stem(height: int, width: int) -> StemPlan:
    """The plan for images of so many pixels: halvings by their area, padding by the smaller side.

    Example:
        >>> plan_stem(28, 28), plan_stem(64, 64).halvings, plan_stem(224, 224).halvings
        (StemPlan(halvings=1, padded=False, first_stride=1), 2, 4)
        >>> plan_stem(30, 600).halvings  # a strip: by the smaller side alone it would be 1
        3
    """
    side = math.sqrt(height * width)
    if side < PADDED_AGAIN:
        return StemPlan(int(side >= UNPADDED // 2), min(height, width) < UNPADDED, 1)
    halvings = 1
    while side / 2**halvings >= MOST_FEATURES:
        halvings += 1
    return StemPlan(halvings, padded=True, first_stride=2 if halvings > 2 else 1)


class Stem(nn.Sequential):
    """Convolutions, each followed by batch normalisation and ReLU.

    kernel·32, then for each halving 3×3 of stride 2 and 3×3 (64 channels, from the second on 128),
    then 3×3·128.

    Args:
        channels: of the image.
        kernel_size: of the first convolution.
        widths: channels of the first convolution, of the first halving, and of all the others.
        plan: how the image is shrunk.
    """

    def __init__(
        self, channels: int, kernel_size: int, widths: Sequence[int], plan: StemPlan
    ) -> None:
        first, middle, last = widths
        convolutions = [(first, kernel_size, plan.first_stride)]
        for number in range(plan.halvings - (plan.first_stride - 1)):
            width = middle if number == 0 else last
            convolutions += [(width, 3, 2), (width, 3, 1)]
        convolutions.append((last, 3, 1))
        layers: list[nn.Module] = []
        for width, kernel, stride in convolutions:
            padding = kernel // 2 if plan.padded else 0
            layers += [
                # The normalisation has the bias.
                nn.Conv2d(channels, width, kernel, stride, padding, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        super().__init__(*layers)
        self.out_channels = channels

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """The convolutions, in order."""
        return [layer for layer in self if isinstance(layer, nn.Conv2d)]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(H'', W''): the size of the features of images of this size."""
        for conv in self.convolutions:
            kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
            height, width = (
                (side + 2 * padding - kernel) // stride + 1 for side in (height, width)
            )
        return height, width


def standardise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(x − mean) / s.d., channel by channel: images `[B, C, H, W]`, mean and std `[C]`."""
    return (images - mean[:, None, None]) / std[:, None, None]
