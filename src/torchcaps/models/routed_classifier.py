"""What networks share whose class capsules are routed: the loss that suits, a line of the card."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from torchcaps.layers import ClassCaps, DenseCaps
from torchcaps.models.class_losses import CLASS_LOSSES, SEVERAL_CLASSES, check_one_class
from torchcaps.models.classifier import Classifier, Losses, ModelOutput
from torchcaps.routing.attention import AttentionRouting
from torchcaps.routing.base import Routing
from torchcaps.routing.registry import create_routing
from torchcaps.types import check_choice

__all__ = ["ABSENT", "RoutedClassifier", "class_routing"]

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
            check_one_class(labels, f"{routing.name} routing")
        return SEVERAL_CLASSES[routing.class_loss](output.activation, labels)

    @property
    def finds_several(self) -> bool:
        return self.classes.routing.class_loss in SEVERAL_CLASSES

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """The loss that suits the routing: for lengths the margin loss."""
        return Losses.of_classes(self.class_loss(output, labels))


def class_routing(routing: str | Mapping[str, Any] | Routing[Any, Any]) -> Routing[Any, Any]:
    """The routing of class capsules, from its name, its name and options, or as it is.

    Raises:
        ValueError: it gives all classes the same activation.
    """
    created = create_routing(routing)
    if isinstance(created, AttentionRouting) and not created.activations:
        raise ValueError(
            f"{created.name} routing with activations=False gives every class the activation 1, "
            "from which no class can be learned: leave activations out"
        )
    return created
