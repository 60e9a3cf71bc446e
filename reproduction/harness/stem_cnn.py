"""A control without capsules: the default network with dense layers in the place of its classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchcaps.models import Classifier, ImageCapsNet, Losses, ModelOutput
from torchcaps.models.stem import standardise
from torchcaps.seeding import mix_seed

__all__ = ["StemCNN", "cnn_beside", "cross_entropy"]


class StemCNN(Classifier):
    """`ImageCapsNet` up to the convolution of its primary capsules, then two dense layers.

    Args:
        image_size, channels, num_classes, class_names, mean, std: as in `ImageCapsNet`.
        hidden: width of the dense layer; 160 has as many parameters as the class capsules of 28×28
            pixels and ten classes (370,410 and 368,640).
        several: whether an image may show several classes, each told by itself.
        widths: other options of `ImageCapsNet` that its stem and its primary capsules are made by.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, 1]`, the logit of each class;
        activation `[B, J]`, its softmax or, for several classes, sigmoid; reconstruction None.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        hidden: int = 160,
        several: bool = False,
        **widths: Any,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        self.several = several
        capsules = ImageCapsNet(
            image_size, channels, num_classes, class_names, mean=mean, std=std, reconstruct=False,
            **widths,
        )  # fmt: skip
        in_caps, in_dim, _, _ = capsules.classes.sizes
        self.stem, self.conv = capsules.stem, capsules.primary.conv
        self.register_buffer("mean", capsules.mean_of_channels)
        self.register_buffer("std", capsules.std_of_channels)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(in_caps * in_dim, hidden), nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )  # fmt: skip

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`."""
        self.check_images(images)
        features = self.conv(self.stem(standardise(images, self.mean, self.std)))
        logits: Tensor = self.layers(torch.relu(features))
        activation = logits.sigmoid() if self.several else logits.softmax(dim=1)
        return ModelOutput(logits.unsqueeze(-1), activation, None)

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """Cross entropy, averaged over the batch; labels `[B]`, or `several`: targets `[B, J]`."""
        return Losses.of_classes(cross_entropy(output.pose.squeeze(-1), labels, self.several))


def cross_entropy(logits: Tensor, labels: Tensor, several: bool) -> Tensor:
    """Of labels `[B]`, or of each class by itself of targets `[B, J]`; averaged over the batch."""
    if not several:
        return F.cross_entropy(logits.float(), labels)
    each = F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
    return each.sum(dim=1).mean()


def cnn_beside(capsules: Classifier, seed: int, *, several: bool = False) -> StemCNN:
    """The CNN with the stem of a capsule network, whose weights start by a seed.

    Where it tells several classes, it has as many parameters as the capsules.
    """
    assert isinstance(capsules, ImageCapsNet)
    hidden = {}
    if several:
        in_caps, in_dim, out_caps, out_dim = capsules.classes.sizes
        weights = in_caps * in_dim * out_caps * out_dim
        hidden = {"hidden": round(weights / (in_caps * in_dim + out_caps))}
    torch.manual_seed(mix_seed("weights", seed))  # as for every other model
    return StemCNN(
        capsules.image_size,
        capsules.channels,
        capsules.num_classes,
        capsules.class_names,
        mean=capsules.mean,
        std=capsules.std,
        stem_channels=capsules.stem_channels,
        primary_types=capsules.primary.types,
        several=several,
        **hidden,
    )
