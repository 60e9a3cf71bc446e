"""What networks of matrix capsules share: maps of capsules from the image to the classes."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from torchcaps.layers import ClassCaps, ConvCaps, PrimaryCapsMap
from torchcaps.models.classifier import ModelOutput
from torchcaps.models.routed_classifier import RoutedClassifier, class_routing
from torchcaps.plain_numbers import is_whole
from torchcaps.routing.base import Routing
from torchcaps.routing.registry import routing_config
from torchcaps.types import check_counts, check_several

__all__ = ["MatrixCapsNet"]

POSE = 16  # components of a pose: 4×4


class MatrixCapsNet(RoutedClassifier, tags=["capsule-network", "matrix-capsules"]):
    """Base of the networks of matrix capsules: all poses are 4×4, all routing in windows.

    conv 5×5 stride 2, batch normalisation, ReLU → `PrimaryCapsMap` 1×1 → `ConvCaps` 3×3 stride 2
    → `ConvCaps` 3×3 → `ClassCaps` with coordinates; no decoder. A subclass sets the attributes
    below, and may have a loss of its own.

    Attributes:
        stem_bias: the first convolution has a bias beside that of the normalisation.
        primary_norm: of the primary capsules, as in `PrimaryCapsMap`.
        conv_kind, class_kind: classes of the layers, which draw their weights.
    """

    stem_bias: ClassVar[bool]
    primary_norm: ClassVar[str]
    conv_kind: ClassVar[type[ConvCaps]] = ConvCaps
    class_kind: ClassVar[type[ClassCaps]] = ClassCaps
    classes: ClassCaps

    def __init__(
        self,
        image_size: int | Sequence[int],
        channels: int,
        num_classes: int,
        class_names: Sequence[str] | None,
        *,
        conv_channels: int,
        primary_types: int,
        types: Sequence[int],
        padding: int,
        routing: str | Mapping[str, Any] | Routing[Any, Any],
        competition: str,
        coordinates: bool,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        conv_channels, primary_types = check_counts(
            conv_channels=conv_channels, primary_types=primary_types
        )
        types = check_several("types", types, 2)  # one for each ConvCaps
        if not is_whole(padding) or padding < 0:
            raise ValueError(f"padding must be a whole number from 0, got {padding!r}")
        self.padding = int(padding)
        self.stem = nn.Sequential(
            nn.Conv2d(self.channels, conv_channels, 5, 2, self.padding, bias=self.stem_bias),
            nn.BatchNorm2d(conv_channels),
            nn.ReLU(),
        )
        self.primary = PrimaryCapsMap(conv_channels, primary_types, POSE, norm=self.primary_norm)
        routing = class_routing(routing)
        layers, in_types, size = [], primary_types, self.stem_grid()
        for out_types, stride in zip(types, (2, 1)):
            own = copy.deepcopy(routing)
            layer = self.conv_kind(
                in_types, POSE, out_types, POSE, 3, stride, routing=own, competition=competition
            )
            layers.append(layer)
            in_types, size = out_types, layer.grid(*size)
        self.layers = nn.Sequential(*layers)
        own = copy.deepcopy(routing)
        self.classes = self.class_kind(
            in_types, POSE, self.num_classes, POSE, size, own, coordinates=coordinates
        )

    def stem_grid(self) -> tuple[int, int]:
        """(H', W'): the positions of the first capsules.

        Raises:
            ValueError: the image is too small for the layers after them.
        """
        y, x = ((side + 2 * self.padding - 5) // 2 + 1 for side in self.image_size)
        if min(y, x) < 7:  # 3×3 of stride 2, then 3×3
            height, width = self.image_size
            raise ValueError(
                f"images of {height}×{width} are too small: the smallest that works is "
                f"{17 - 2 * self.padding}×{17 - 2 * self.padding}"
            )
        return y, x

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        conv = self.stem[0]
        assert isinstance(conv, nn.Conv2d)
        first, *_ = layers = [layer for layer in self.layers if isinstance(layer, ConvCaps)]
        return {
            **super().config,
            "conv_channels": conv.out_channels,
            "primary_types": self.primary.types,
            "types": [layer.sizes[2] for layer in layers],
            "padding": self.padding,
            "routing": routing_config(self.classes.routing),
            "competition": first.competition,
            "coordinates": self.classes.adds_coordinates,
        }

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`; labels are not looked at."""
        self.check_images(images)
        pose, activation = self.classes(self.layers(self.primary(self.stem(images))))
        return ModelOutput(pose, activation, None)
