"""What capsule networks for images share: features, primary capsules, class capsules, decoder."""

from typing import Any

from torch import Tensor, nn

from torchcaps.layers import DenseCaps, PrimaryCaps
from torchcaps.losses import reconstruction_loss
from torchcaps.models.classifier import Losses, ModelOutput
from torchcaps.models.loss_scale import LossScale, loss_scale_config
from torchcaps.models.routed_classifier import RoutedClassifier
from torchcaps.routing.registry import routing_config
from torchcaps.types import Capsules

__all__ = ["CapsuleClassifier"]


class CapsuleClassifier(RoutedClassifier, tags=["capsule-network", "routing-by-agreement"]):
    """Base of the capsule networks: features → `PrimaryCaps` → `DenseCaps`, one capsule a class.

    A subclass says how features are made of images (`features`), and sets the attributes below.

    Attributes:
        primary: the first capsules.
        primary_grid: (H', W') of their positions.
        classes: the class capsules; |v_k| is how present class k is.
        decoder: draws the image from the pose of one class, or None.
        loss_scale: weights of the two terms of the loss.
    """

    primary: PrimaryCaps
    primary_grid: tuple[int, int]
    classes: DenseCaps
    decoder: nn.Module | None
    loss_scale: LossScale
    # Midway between the lengths that Eq 4 asks of classes that are absent (0.1) and present (0.9).
    highest_threshold = 0.5

    def features(self, images: Tensor) -> Tensor:
        """images `[B, C, H, W]` in [0, 1] → what the primary capsules see, `[B, F, H'', W'']`."""
        raise NotImplementedError

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        return {
            **super().config,
            "primary_types": self.primary.types,
            "primary_dim": self.primary.dim,
            "pose_dim": self.classes.sizes[3],
            "routing": routing_config(self.classes.routing),
            "routing_bias": self.classes.bias is not None,
            "reconstruct": self.decoder is not None,
            "loss_scale": loss_scale_config(self.loss_scale),
        }

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
        return self.primary(self.features(images))

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """The loss that suits the routing plus reconstruction loss, on the model's scale.

        For lengths it is the margin loss (see `Routing.class_loss` and `loss_scale`).
        `output` must come from a forward pass with these labels, or the decoder is trained to draw
        a class that is not there.
        """
        scale = self.loss_scale
        classes = scale.margin * self.class_loss(output, labels)
        if scale.average_classes:
            classes = classes / self.num_classes
        if output.reconstruction is None:
            return Losses.of_classes(classes)
        drawing = scale.reconstruction * reconstruction_loss(output.reconstruction, images)
        return Losses(classes + drawing, classes, drawing)
