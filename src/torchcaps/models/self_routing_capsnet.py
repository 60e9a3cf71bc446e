"""Self-routing capsules on a ResNet: Hahn, Pyeon, Kim (2019)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchcaps.layers import PrimaryCapsMap
from torchcaps.models.class_losses import check_one_class, likelihood_loss
from torchcaps.models.classifier import Classifier, Losses, ModelOutput
from torchcaps.models.resnet import ResNet20
from torchcaps.routing.self_routing import SelfRouting
from torchcaps.types import Paper
from torchcaps.votes import LinearVotes

__all__ = ["SelfRoutingCapsNet"]


class SelfRoutingCapsNet(Classifier, tags=["capsule-network", "self-routing"]):
    """ResNet-20, primary capsules, and classes that their own linear routers choose.

    `ResNet20` → `PrimaryCapsMap` 3×3, normalised by channels → `SelfRouting` of all capsules of the
    map to one capsule a class. The activations of the classes are a distribution; the loss is its
    negative log-likelihood.

    The published last layer has no poses. The pose of a class is here the mean of the poses of the
    capsules that were routed to it, which takes no parameters and changes no activation.

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`; any size works.
        types, dim: of the primary capsules, 32 and 16 in the paper.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, dim]`, activation `[B, J]`,
        which sums to 1, reconstruction None.

    Parameters: 931,664 for 32×32 RGB images and ten classes (CIFAR-10), as published.

    Reference: Hahn, Pyeon, Kim (2019), *Self-Routing Capsule Networks*, NeurIPS 32. Trained there
    by SGD with a rate of 0.1 for 350 epochs.

    Example:
        >>> model = SelfRoutingCapsNet(32, 3)
        >>> model(torch.rand(2, 3, 32, 32)).activation.shape
        torch.Size([2, 10])
    """

    paper = Paper("Hahn, Pyeon, Kim", 2019, "Self-Routing Capsule Networks", "NeurIPS 32")

    def __init__(
        self,
        image_size: int | Sequence[int] = 32,
        channels: int = 3,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        types: int = 32,
        dim: int = 16,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        self.backbone = ResNet20(self.channels)
        self.primary = PrimaryCapsMap(
            self.backbone.out_channels, types, dim, 3, padding=1, norm="channels"
        )
        height, width = self.backbone.grid(*self.image_size)
        self.dim = dim
        self.routing = SelfRouting().build(types * height * width, dim, self.num_classes, dim)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        return {**super().config, "types": self.primary.types, "dim": self.dim}

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`; labels are not looked at."""
        self.check_images(images)
        capsules = self.primary(self.backbone(images))
        pose = capsules.pose.flatten(1, 3)
        itself = torch.eye(self.dim, dtype=pose.dtype, device=pose.device)
        weight = itself.expand(1, self.num_classes, -1, -1)  # a capsule votes for its own pose
        routed = self.routing(LinearVotes(pose, weight), capsules.activation.flatten(1))
        return ModelOutput(routed.pose, routed.activation, None)

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """−ln a_y, averaged over the batch."""
        check_one_class(labels, type(self).__name__)
        return Losses.of_classes(likelihood_loss(output.activation, labels))
