"""What networks share whose class capsules are routed: the loss that suits, a line of the card."""

from torch import Tensor

from torchcaps.layers import ClassCaps, DenseCaps
from torchcaps.models.class_losses import CLASS_LOSSES, SEVERAL_CLASSES
from torchcaps.models.classifier import Classifier, Losses, ModelOutput
from torchcaps.types import check_choice

__all__ = ["ABSENT", "RoutedClassifier"]

ABSENT = 0.1  # the length that class capsules may start from: m⁻ of the margin loss


class RoutedClassifier(Classifier):
    """Base of the networks that end in a layer of class capsules.

    Attributes:
        classes: that layer.
    """

    classes: DenseCaps | ClassCaps

    def card_facts(self) -> dict[str, str]:
        routing = self.classes.routing
        options = ", ".join(f"{name} {value}" for name, value in routing.options().items())
        return {**super().card_facts(), "Routing": f"{routing.name} ({options})"}

    def class_loss(self, output: ModelOutput, labels: Tensor) -> Tensor:
        """The loss that the routing names (`Routing.class_loss`), averaged over the batch.

        Of labels `[B, J]` each class is asked for by itself.
        """
        routing = self.classes.routing
        check_choice("class_loss of a routing", routing.class_loss, tuple(CLASS_LOSSES))
        if not isinstance(labels, Tensor) or labels.dim() != 2:
            return CLASS_LOSSES[routing.class_loss](output.activation, labels)
        if not self.finds_several:
            raise ValueError(f"labels must be [B]: {routing.name} routing finds one class an image")
        return SEVERAL_CLASSES[routing.class_loss](output.activation, labels)

    @property
    def finds_several(self) -> bool:
        return self.classes.routing.class_loss in SEVERAL_CLASSES

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """The loss that suits the routing: for lengths the margin loss."""
        return Losses.of_classes(self.class_loss(output, labels))
