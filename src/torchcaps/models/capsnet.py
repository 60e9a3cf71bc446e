"""CapsNet: the network of the paper, for any image size and any number of channels and classes."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchcaps.layers import DenseCaps, PrimaryCaps
from torchcaps.layers.primary import convolved_size
from torchcaps.models.capsule_classifier import CapsuleClassifier
from torchcaps.models.decoder import Decoder
from torchcaps.models.loss_scale import LossScale, find_loss_scale
from torchcaps.models.routed_classifier import class_routing
from torchcaps.routing.base import Routing
from torchcaps.types import Paper, check_counts, check_several, check_switch

__all__ = ["CapsNet"]


class CapsNet(CapsuleClassifier):
    """A convolution, primary capsules, class capsules by routing, and a decoder.

    conv 9×9 ReLU → `PrimaryCaps` 9×9 stride 2 → `DenseCaps` (one capsule a class, |v_k| is how
    present class k is) → `Decoder` on the pose of the true class, or without labels of the longest.

    Args:
        image_size: side of a square image, or [height, width], in pixels. At least 17 with the
            default kernels and strides.
        channels: of the image.
        num_classes: J.
        class_names: J names; default "0", "1", …
        conv_channels: 256 in the paper.
        primary_types, primary_dim: 32 types of 8-D capsules in the paper.
        pose_dim: D, 16 in the paper.
        routing: of the class capsules: a name ("em"), a dict with name and options
            ({"name": "em", "iterations": 3}), or a `Routing`; see `list_routings`.
        routing_bias: a bias in the votes (see `LinearVotes`); the paper has none.
        kernel_size, conv_stride, primary_stride: 9, 1 and 2 in the paper; larger strides keep large
            images affordable.
        decoder_hidden: widths of the decoder's hidden layers.
        reconstruct: False leaves the decoder out.
        loss_scale: "paper" (Eq 4 + 0.0005 · sum of squared errors), "authors" (their released
            code: half of Eq 4 averaged over the classes, the same reconstruction term), or a
            `LossScale`, or a dict with its fields.

    Shape:
        images `[B, C, H, W]` in [0, 1], labels `[B]` → `ModelOutput`: pose `[B, J, D]`, activation
        `[B, J]` (lengths), reconstruction `[B, C, H, W]` or None.

    Raises:
        ValueError: an image too small for the kernels, or an option out of range.

    Parameters: 8,215,568 for 28×28 grey images and ten classes, 6,804,224 of them without the
    decoder, 11,361,808 for 36×36.

    Reference: Sabour, Frosst, Hinton (2017), §4 and Figs 1–2. That of the routing is in its class.

    Example:
        >>> model = CapsNet(conv_channels=16, primary_types=4)
        >>> pose, activation, reconstruction = model(torch.rand(2, 1, 28, 28), torch.tensor([3, 7]))
        >>> pose.shape, activation.shape, reconstruction.shape
        (torch.Size([2, 10, 16]), torch.Size([2, 10]), torch.Size([2, 1, 28, 28]))
    """

    decoder: Decoder | None
    primary_kind: ClassVar[type[PrimaryCaps]] = PrimaryCaps
    paper = Paper(
        "Sabour, Frosst, Hinton", 2017, "Dynamic Routing Between Capsules", "arXiv 1710.09829"
    )

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        conv_channels: int = 256,
        primary_types: int = 32,
        primary_dim: int = 8,
        pose_dim: int = 16,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "dynamic",
        routing_bias: bool = False,
        kernel_size: int = 9,
        conv_stride: int = 1,
        primary_stride: int = 2,
        decoder_hidden: Sequence[int] = (512, 1024),
        reconstruct: bool = True,
        loss_scale: str | LossScale | Mapping[str, Any] = "paper",
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        check_switch("routing_bias", routing_bias)
        check_switch("reconstruct", reconstruct)
        conv_channels, primary_types, primary_dim, pose_dim = check_counts(
            conv_channels=conv_channels,
            primary_types=primary_types,
            primary_dim=primary_dim,
            pose_dim=pose_dim,
        )
        kernel_size, conv_stride, primary_stride = check_counts(
            kernel_size=kernel_size, conv_stride=conv_stride, primary_stride=primary_stride
        )
        smallest = (kernel_size - 1) * conv_stride + kernel_size
        if min(self.image_size) < smallest:
            height, width = self.image_size
            raise ValueError(
                f"images of {height}×{width} are too small for two {kernel_size}×{kernel_size} "
                f"convolutions: the smallest that works is {smallest}×{smallest}"
            )
        decoder_hidden = check_several("decoder_hidden", decoder_hidden)
        self.loss_scale = find_loss_scale(loss_scale)
        self.conv = nn.Conv2d(self.channels, conv_channels, kernel_size, conv_stride)
        self.primary = self.primary_kind(
            conv_channels, primary_types, primary_dim, kernel_size, primary_stride
        )
        self.primary_grid = self.primary.grid(
            *(convolved_size(side, kernel_size, conv_stride) for side in self.image_size)
        )
        self.classes = DenseCaps(
            in_caps=primary_types * self.primary_grid[0] * self.primary_grid[1],
            in_dim=primary_dim,
            out_caps=self.num_classes,
            out_dim=pose_dim,
            routing=class_routing(routing),
            bias=routing_bias,
            init="paper",
        )
        # Not registered where there is none: torch would then take the weights of one for expected.
        self.decoder = (
            Decoder(self.num_classes, pose_dim, (self.channels, *self.image_size), decoder_hidden)
            if reconstruct
            else None
        )

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        decoder = {} if self.decoder is None else {"decoder_hidden": self.decoder.hidden}
        return {
            **super().config,
            "conv_channels": self.conv.out_channels,
            "kernel_size": self.conv.kernel_size[0],
            "conv_stride": self.conv.stride[0],
            "primary_stride": self.primary.conv.stride[0],
            **decoder,
        }

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Version 0.1 had the options of dynamic routing among those of the network."""
        old = [name for name in ("iterations", "leaky", "detach") if name in values]
        if "routing" in values or not old:
            return values
        kept = {name: value for name, value in values.items() if name not in old}
        kept["routing"] = {"name": "dynamic"} | {name: values[name] for name in old}
        return kept

    def features(self, images: Tensor) -> Tensor:
        """images `[B, C, H, W]` in [0, 1] → ReLU of the first convolution."""
        return torch.relu(self.conv(images))
