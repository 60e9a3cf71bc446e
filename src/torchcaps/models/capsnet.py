"""CapsNet: the network of the paper, for any image size and any number of channels and classes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchcaps.functional import margin_loss, reconstruction_loss
from torchcaps.layers import DenseCaps, PrimaryCaps
from torchcaps.layers.primary import convolved_size
from torchcaps.models.decoder import Decoder
from torchcaps.models.interface import Classifier, Losses, ModelOutput
from torchcaps.routing import DynamicRouting
from torchcaps.types import Capsules, check_counts

__all__ = ["LOSS_SCALES", "CapsNet", "LossScale"]


class LossScale(NamedTuple):
    """Weights of the two terms of the loss.

    Attributes:
        margin: factor of Eq 4.
        average_classes: divide Eq 4 by the number of classes.
        reconstruction: factor of the sum of squared pixel errors.
    """

    margin: float
    average_classes: bool
    reconstruction: float


LOSS_SCALES = {
    # §4.1: Eq 4 summed over the classes, plus 0.0005 of the sum of squared errors.
    "paper": LossScale(margin=1.0, average_classes=False, reconstruction=0.0005),
    # The authors' code: half of Eq 4, averaged over the classes. With ten of them, the
    # reconstruction weighs 20 times more beside it than in the paper.
    "authors": LossScale(margin=0.5, average_classes=True, reconstruction=0.0005),
}


class CapsNet(Classifier):
    """A convolution, primary capsules, class capsules by dynamic routing, and a decoder.

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
        iterations: of routing.
        leaky, detach: see `dynamic_routing`.
        routing_bias: a bias in the votes (see `LinearVotes`); the paper has none.
        kernel_size, conv_stride, primary_stride: 9, 1 and 2 in the paper; larger strides keep large
            images affordable.
        decoder_hidden: widths of the decoder's hidden layers.
        reconstruct: False leaves the decoder out.
        loss_scale: "paper" (Eq 4 + 0.0005 · sum of squared errors) or "authors" (their released
            code: half of Eq 4 averaged over the classes, the same reconstruction term).

    Shape:
        images `[B, C, H, W]` in [0, 1], labels `[B]` → `ModelOutput`: pose `[B, J, D]`, activation
        `[B, J]` (lengths), reconstruction `[B, C, H, W]` or None.

    Raises:
        ValueError: an image too small for the kernels, or an option out of range.

    Parameters: 8,215,568 for 28×28 grey images and ten classes, 6,804,224 of them without the
    decoder, 11,361,808 for 36×36.

    Reference: Sabour, Frosst, Hinton (2017), §4 and Figs 1–2.

    Example:
        >>> model = CapsNet(conv_channels=16, primary_types=4)
        >>> pose, activation, reconstruction = model(torch.rand(2, 1, 28, 28), torch.tensor([3, 7]))
        >>> pose.shape, activation.shape, reconstruction.shape
        (torch.Size([2, 10, 16]), torch.Size([2, 10]), torch.Size([2, 1, 28, 28]))
    """

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
        iterations: int = 3,
        leaky: bool = False,
        detach: bool = False,
        routing_bias: bool = False,
        kernel_size: int = 9,
        conv_stride: int = 1,
        primary_stride: int = 2,
        decoder_hidden: Sequence[int] = (512, 1024),
        reconstruct: bool = True,
        loss_scale: str = "paper",
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        if loss_scale not in LOSS_SCALES:
            raise ValueError(
                f"loss_scale must be one of {', '.join(LOSS_SCALES)}, got {loss_scale!r}"
            )
        check_counts(
            conv_channels=conv_channels,
            primary_types=primary_types,
            primary_dim=primary_dim,
            pose_dim=pose_dim,
            kernel_size=kernel_size,
            conv_stride=conv_stride,
            primary_stride=primary_stride,
        )
        smallest = (kernel_size - 1) * conv_stride + kernel_size
        if min(self.image_size) < smallest:
            height, width = self.image_size
            raise ValueError(
                f"images of {height}×{width} are too small for two {kernel_size}×{kernel_size} "
                f"convolutions: the smallest that works is {smallest}×{smallest}"
            )
        self.loss_scale = LOSS_SCALES[loss_scale]
        self.conv = nn.Conv2d(channels, conv_channels, kernel_size, conv_stride)
        self.primary = PrimaryCaps(
            conv_channels, primary_types, primary_dim, kernel_size, primary_stride
        )
        self.primary_grid = self.primary.grid(
            *(convolved_size(side, kernel_size, conv_stride) for side in self.image_size)
        )
        self.classes = DenseCaps(
            in_caps=primary_types * self.primary_grid[0] * self.primary_grid[1],
            in_dim=primary_dim,
            out_caps=num_classes,
            out_dim=pose_dim,
            routing=DynamicRouting(iterations, leaky=leaky, detach=detach),
            bias=routing_bias,
        )
        self.decoder = (
            Decoder(num_classes, pose_dim, (channels, *self.image_size), decoder_hidden)
            if reconstruct
            else None
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`.

        The reconstruction shows the class in `labels` — pass them when training — and without
        labels the longest capsule.
        """
        pose, activation = self.classes(self.primary_capsules(images))
        if self.decoder is None:
            return ModelOutput(pose, activation, None)
        shown = activation.argmax(dim=1) if labels is None else labels
        return ModelOutput(pose, activation, self.decoder(pose, shown))

    def primary_capsules(self, images: Tensor) -> Capsules:
        """The first capsules: pose `[B, types·H'·W', P]`, activation `[B, types·H'·W']`."""
        self.check_images(images)
        capsules: Capsules = self.primary(torch.relu(self.conv(images)))
        return capsules

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """Margin loss plus reconstruction loss, on the model's scale (see `loss_scale`).

        `output` must come from a forward pass with these labels, or the decoder is trained to draw
        a class that is not there.
        """
        scale = self.loss_scale
        margin = scale.margin * margin_loss(output.activation, labels)
        if scale.average_classes:
            margin = margin / self.num_classes
        if output.reconstruction is None:
            return Losses(margin, margin, torch.zeros_like(margin))
        drawing = scale.reconstruction * reconstruction_loss(output.reconstruction, images)
        return Losses(margin + drawing, margin, drawing)
