"""Efficient-CapsNet: Mazzia, Salvetti, Chiaberge (2021)."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from torchcaps.layers import DenseCaps, WholeMapCaps
from torchcaps.layers.primary import convolved_size
from torchcaps.models.capsule_classifier import CapsuleClassifier
from torchcaps.models.decoder import Decoder
from torchcaps.models.loss_scale import LossScale, find_loss_scale
from torchcaps.models.routed_classifier import ABSENT, class_routing
from torchcaps.routing.base import Routing
from torchcaps.types import Paper, check_counts, check_several, check_switch

__all__ = ["EfficientCapsNet"]

KERNELS = ((5, 1), (3, 1), (3, 1), (3, 2))  # size and stride of the convolutions
SMALLEST = 11  # side of an image of which they leave anything


class EfficientCapsNet(CapsuleClassifier):
    """Four small convolutions, 16 primary capsules of the whole map, routing by self-attention.

    conv 5×5, 3×3, 3×3, 3×3 stride 2, each ReLU, then batch normalisation → `WholeMapCaps` →
    `DenseCaps`, one capsule a class.

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`; at least 11 pixels a side.
        conv_channels: of the first three convolutions; the fourth has primary_types · primary_dim.
        primary_types, primary_dim: 16 capsules of 8 components in the paper.
        pose_dim: D.
        routing, routing_bias, decoder_hidden: as in `CapsNet`.
        reconstruct: train a decoder as well, which the published count of parameters leaves out.
        loss_scale: as in `CapsNet`; default: the paper's, the margin loss + 0.392 · the mean
            squared error of a pixel.

    Shape:
        images `[B, C, H, W]` in [0, 1], labels `[B]` → `ModelOutput`: pose `[B, J, D]`, activation
        `[B, J]` (lengths), reconstruction `[B, C, H, W]` or None.

    Parameters: 161,824 for 28×28 grey images and ten classes, as published.

    Reference: Mazzia, Salvetti, Chiaberge (2021), *Efficient-CapsNet: Capsule Network with
    Self-Attention Routing*, Scientific Reports 11. Deviation: weights of votes start as in
    `DenseCaps`, with capsules of length 0.1.

    Example:
        >>> import torch
        >>> model = EfficientCapsNet()
        >>> model(torch.rand(2, 1, 28, 28)).activation.shape
        torch.Size([2, 10])
    """

    channels_last = True
    primary: WholeMapCaps  # type: ignore[assignment]  # it has no grid of positions
    paper = Paper(
        "Mazzia, Salvetti, Chiaberge",
        2021,
        "Efficient-CapsNet: Capsule Network with Self-Attention Routing",
        "Scientific Reports 11",
    )

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        conv_channels: Sequence[int] = (32, 64, 64),
        primary_types: int = 16,
        primary_dim: int = 8,
        pose_dim: int = 16,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "self_attention",
        routing_bias: bool = False,
        decoder_hidden: Sequence[int] = (512, 1024),
        reconstruct: bool = False,
        loss_scale: str | LossScale | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        check_switch("routing_bias", routing_bias)
        check_switch("reconstruct", reconstruct)
        primary_types, primary_dim, pose_dim = check_counts(
            primary_types=primary_types, primary_dim=primary_dim, pose_dim=pose_dim
        )
        self.conv_channels = check_several("conv_channels", conv_channels, 3)
        height, width = self.image_size
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"images of {height}×{width} are too small for the four convolutions: the smallest "
                f"that works is {SMALLEST}×{SMALLEST}"
            )
        self.decoder_hidden = check_several("decoder_hidden", decoder_hidden)
        self.stem = convolutions([self.channels, *self.conv_channels, primary_types * primary_dim])
        for kernel, stride in KERNELS:
            height, width = (convolved_size(side, kernel, stride) for side in (height, width))
        self.primary = WholeMapCaps(primary_types, primary_dim, (height, width))
        self.primary_grid = (1, 1)
        self.classes = DenseCaps(
            primary_types,
            primary_dim,
            self.num_classes,
            pose_dim,
            routing=class_routing(routing),
            bias=routing_bias,
            initial_length=ABSENT,
        )
        shape = (self.channels, *self.image_size)
        if loss_scale is None:
            loss_scale = LossScale(1.0, False, round(0.392 / math.prod(shape), 8))
        self.loss_scale = find_loss_scale(loss_scale)
        self.decoder = (
            Decoder(self.num_classes, pose_dim, shape, self.decoder_hidden) if reconstruct else None
        )

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        own = {"conv_channels": self.conv_channels, "decoder_hidden": self.decoder_hidden}
        return {**super().config, **own}

    def features(self, images: Tensor) -> Tensor:
        """images `[B, C, H, W]` in [0, 1] → what the primary capsules see."""
        features: Tensor = self.stem(images)
        return features


def convolutions(widths: Sequence[int]) -> nn.Sequential:
    """The stem: each convolution is followed by ReLU, then by batch normalisation."""
    layers: list[nn.Module] = []
    for (width_in, width_out), (kernel, stride) in zip(pairwise(widths), KERNELS):
        layers += [
            nn.Conv2d(width_in, width_out, kernel, stride), nn.ReLU(), nn.BatchNorm2d(width_out)
        ]  # fmt: skip
    return nn.Sequential(*layers)
