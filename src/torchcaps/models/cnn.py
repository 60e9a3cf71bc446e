"""The convolutional network that the paper compares CapsNet with."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchcaps.models.class_losses import check_one_class, checked
from torchcaps.models.classifier import Classifier, Losses, ModelOutput
from torchcaps.types import Paper, check_number, check_several

__all__ = ["BaselineCNN"]


class BaselineCNN(Classifier):
    """Three 5×5 convolutions (256, 256, 128), two fully connected layers (328, 192), dropout.

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`; any size works.
        conv_channels: of the convolutions, 5×5, stride 1, zero-padded to keep the size.
        hidden: widths of the fully connected layers.
        dropout: probability, before the last layer.
        label_smoothing: ε of the cross entropy: the true class counts 1 − ε + ε/J, others ε/J.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, 1]`, the logit of each class
        (a one-dimensional pose); activation `[B, J]`, its softmax; reconstruction None. Labels are
        not looked at.

    Raises:
        ValueError, TypeError: an option out of range, or of another type.

    Parameters: 35,445,522 for 28×28 grey images and ten classes.

    Reference: Sabour, Frosst, Hinton (2017), §5. Padding and the rate of dropout are not stated
    there; with padding the count is the published one.

    Example:
        >>> model = BaselineCNN(conv_channels=(8, 8, 8), hidden=(32, 16))
        >>> model(torch.rand(2, 1, 28, 28)).activation.shape
        torch.Size([2, 10])
    """

    paper = Paper("Sabour, Frosst, Hinton", 2017, "Dynamic Routing Between Capsules", "§5")

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        conv_channels: Sequence[int] = (256, 256, 128),
        hidden: Sequence[int] = (328, 192),
        dropout: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be from 0 up to, not including, 1, got {label_smoothing!r}"
            )
        check_number("dropout", dropout, least=0, most=1)
        self.label_smoothing = float(label_smoothing)
        layers: list[nn.Module] = []
        widths = [channels, *check_several("conv_channels", conv_channels)]
        for width_in, width_out in pairwise(widths):
            layers += [nn.Conv2d(width_in, width_out, 5, padding=2), nn.ReLU()]
        layers.append(nn.Flatten())
        flat = widths[-1] * self.image_size[0] * self.image_size[1]
        widths = [flat, *check_several("hidden", hidden)]
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers, nn.Dropout(dropout), nn.Linear(widths[-1], num_classes)
        )

    @property
    def config(self) -> dict[str, Any]:
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        (dropout,) = (layer for layer in self.layers if isinstance(layer, nn.Dropout))
        return {
            **super().config,
            "conv_channels": [
                layer.out_channels for layer in self.layers if isinstance(layer, nn.Conv2d)
            ],
            "hidden": [layer.out_features for layer in linear[:-1]],
            "dropout": dropout.p,
            "label_smoothing": self.label_smoothing,
        }

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`."""
        self.check_images(images)
        logits: Tensor = self.layers(images)
        return ModelOutput(logits.unsqueeze(-1), torch.softmax(logits, dim=1), None)

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """Cross entropy, averaged over the batch."""
        check_one_class(labels, type(self).__name__)
        logits, targets = checked(output.pose.squeeze(-1), labels)
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        return Losses.of_classes(loss)
