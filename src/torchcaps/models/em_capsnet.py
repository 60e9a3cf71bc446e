"""Matrix capsules with EM routing: Hinton, Sabour, Frosst (2018)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from torchcaps.losses import spread_loss, spread_margin
from torchcaps.models.classifier import Losses, ModelOutput
from torchcaps.models.matrix_capsnet import MatrixCapsNet
from torchcaps.routing.base import Routing
from torchcaps.types import Paper

__all__ = ["EMCapsNet"]

# Two iterations, as public networks that train have; costs are means over the 16 components.
ROUTING = {"name": "em", "iterations": 2, "lambda_scale": 1 / 16}


class EMCapsNet(MatrixCapsNet):
    """Matrix capsules: 4×4 poses, EM routing in windows, class capsules that know where they look.

    conv 5×5 stride 2 (A channels), batch normalisation, ReLU → B types of primary capsules →
    C types, 3×3 stride 2 → D types, 3×3 → one capsule a class, over the whole map with
    coordinates. The spread loss, whose margin grows with the steps trained as in the authors' code
    (`spread_margin`): 0.21 at first, 0.22 after 20,000, 0.9 after 300,000.

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`.
        conv_channels: A.
        primary_types: B.
        types: C and D.
        padding: of the first convolution: 2 makes 14×14 positions of 28×28 pixels, 0 of 32×32.
        routing: of all layers, each with parameters of its own; default: two iterations of EM, with
            costs that are means over the components of a pose, so that capsules start half active.
        competition: as in `ConvCaps`.
        coordinates: as in `ClassCaps`.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, 16]`, activation `[B, J]`,
        reconstruction None.

    Parameters: 319,028 for A = B = C = D = 32, one channel and ten classes ("310K" in the paper's
    table, for smallNORB's five); 67,282 for 64, 8, 16, 16 and five classes.

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR. The batch
    normalisation is not in the paper; public networks that train have it.

    Example:
        >>> model = EMCapsNet(conv_channels=16, primary_types=4, types=(4, 4))
        >>> model(torch.rand(2, 1, 28, 28)).activation.shape
        torch.Size([2, 10])
    """

    paper = Paper("Hinton, Sabour, Frosst", 2018, "Matrix Capsules with EM Routing", "ICLR")
    stem_bias: ClassVar[bool] = True
    primary_norm: ClassVar[str] = "none"
    steps_trained: Tensor

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        conv_channels: int = 32,
        primary_types: int = 32,
        types: Sequence[int] = (32, 32),
        padding: int = 2,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = ROUTING,
        competition: str = "all",
        coordinates: bool = True,
    ) -> None:
        super().__init__(
            image_size, channels, num_classes, class_names, conv_channels=conv_channels,
            primary_types=primary_types, types=types, padding=padding, routing=routing,
            competition=competition, coordinates=coordinates,
        )  # fmt: skip
        self.register_buffer("steps_trained", torch.zeros((), dtype=torch.int64))

    def reset_parameters(self) -> None:
        """Count the steps from 0 again; the layers draw their weights themselves."""
        self.steps_trained.zero_()

    @property
    def finds_several(self) -> bool:
        return False  # of the spread loss

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """The spread loss; in training mode it counts the steps that its margin depends on."""
        margin = spread_margin(self.steps_trained)
        if self.training:
            self.steps_trained += 1
        loss = spread_loss(output.activation, labels, margin)
        return Losses.of_classes(loss)
