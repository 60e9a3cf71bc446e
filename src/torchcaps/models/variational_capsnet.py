"""Matrix capsules with variational Bayes routing: Ribeiro, Leontidis, Kollias (2020)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from torchcaps.layers import ClassCaps, ConvCaps
from torchcaps.models.matrix_capsnet import MatrixCapsNet
from torchcaps.routing.base import Routing
from torchcaps.types import Paper

__all__ = ["VariationalCapsNet"]


class GlorotConvCaps(ConvCaps):
    """`ConvCaps` whose weights start as published."""

    def draw_weights(self) -> None:
        draw_weight(self.weight, self.in_types, self.kernel_size)


class GlorotClassCaps(ClassCaps):
    """`ClassCaps` whose weights start as published."""

    def draw_weights(self) -> None:
        draw_weight(self.weight, self.sizes[0], self.size)


class VariationalCapsNet(MatrixCapsNet):
    """Matrix capsules whose parents are mixtures with priors, which keep variances from collapsing.

    conv 5×5 stride 2, batch normalisation, ReLU → primary capsules, normalised by types →
    16 types, 3×3 stride 2 → 16 types, 3×3 → one capsule a class, over the whole map with
    coordinates. Cross entropy of the logits of the activations of the classes (the loss that suits
    the routing).

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`.
        conv_channels, primary_types, types: 64, 8, (16, 16) in the paper.
        padding: of the first convolution: 2 makes 14×14 positions of 28×28 pixels; 0, as in the
            paper, of 32×32.
        routing, competition, coordinates: as in `EMCapsNet`.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, 16]`, activation `[B, J]`,
        reconstruction None.

    Parameters: 68,714 for two channels and five classes (smallNORB).

    Reference: Ribeiro, Leontidis, Kollias (2020), *Capsule Routing via Variational Bayes*, AAAI.
    Deviation: their coordinates do not depend on the position (see `ClassCaps` for what they are
    here).

    Example:
        >>> import torch
        >>> model = VariationalCapsNet(conv_channels=16, primary_types=4, types=(4, 4))
        >>> model(torch.rand(2, 1, 28, 28)).activation.shape
        torch.Size([2, 10])
    """

    paper = Paper(
        "Ribeiro, Leontidis, Kollias", 2020, "Capsule Routing via Variational Bayes", "AAAI 34"
    )
    stem_bias: ClassVar[bool] = False
    primary_norm: ClassVar[str] = "types"
    conv_kind: ClassVar[type[ConvCaps]] = GlorotConvCaps
    class_kind: ClassVar[type[ClassCaps]] = GlorotClassCaps

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        conv_channels: int = 64,
        primary_types: int = 8,
        types: Sequence[int] = (16, 16),
        padding: int = 2,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "variational",
        competition: str = "all",
        coordinates: bool = True,
    ) -> None:
        super().__init__(
            image_size, channels, num_classes, class_names, conv_channels=conv_channels,
            primary_types=primary_types, types=types, padding=padding, routing=routing,
            competition=competition, coordinates=coordinates,
        )  # fmt: skip


def draw_weight(weight: nn.Parameter, in_types: int, kernel: Sequence[int]) -> None:
    """Glorot's uniform distribution, as published, for weights `[I, J, √D, √D]`.

    The votes are then small beside the prior's unit variance, and couplings start near 1/J. Votes
    as large as the prior make them all but 0 or 1, and the network does not learn.
    """
    window = kernel[0] * kernel[1] * weight.shape[-1] ** 2
    bound = (6 / (window * (in_types + weight.shape[1]))) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
