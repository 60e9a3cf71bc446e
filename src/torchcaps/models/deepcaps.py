"""DeepCaps: Rajasegaran and others (2019)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchcaps.functional import squash
from torchcaps.layers import ConvolvedCaps, DenseCaps
from torchcaps.models.classifier import ModelOutput
from torchcaps.models.routed_classifier import ABSENT, RoutedClassifier, class_routing
from torchcaps.routing.base import Routing
from torchcaps.routing.deepcaps import DeepCapsRouting
from torchcaps.routing.registry import routing_config
from torchcaps.types import Capsules, check_counts, check_several

__all__ = ["DeepCaps"]

GAIN = 2.5  # capsules of length 0.8 then stay so: (2.5 · 0.8)² / (1 + (2.5 · 0.8)²) = 0.8
ROUTING = {"name": "dynamic", "learned_bias": True}


class DeepCaps(RoutedClassifier, tags=["capsule-network", "routing-by-agreement"]):
    """Four cells of convolved capsules with skip connections; 3-D routing in the last.

    conv 3×3, ReLU, batch normalisation → four cells, each halving the map: capsules of stride 2,
    two more layers of them, and one beside those whose poses are added. In all of them a capsule is
    squash of a convolution over all types, but for the layer beside in the last cell, which
    is routed (`ConvolvedCaps` with competition "map"). The capsules of the last two cells together
    → `DenseCaps`, one capsule a class.

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`; any size works.
        conv_channels: of the first convolution, 128 in the paper.
        types: of capsules, 32 in the paper.
        dims: components of the poses in the four cells: 4, 8, 8, 8.
        pose_dim: D, 32 in the paper.
        routing: of the class capsules, as in `CapsNet`.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, D]`, activation `[B, J]`
        (lengths), reconstruction None.

    Parameters: 8,441,920 for 28×28 grey images and ten classes. (The paper has a decoder as well,
    which draws from the pose of one class alone; here there is none.)

    Reference: Rajasegaran, Jayasundara, Jayasekara, Jayasekara, Seneviratne, Rodrigo (2019),
    *DeepCaps: Going Deeper with Capsule Networks*, CVPR. Deviations: each pose is squashed by
    itself, and capsules keep their place (see `DeepCapsRouting`); weights of convolutions start
    larger, so that poses do not vanish (published: Glorot's distribution).

    Example:
        >>> model = DeepCaps(conv_channels=16, types=4)
        >>> model(torch.rand(2, 1, 28, 28)).activation.shape
        torch.Size([2, 10])
    """

    highest_threshold = 0.5
    paper = DeepCapsRouting.paper

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        conv_channels: int = 128,
        types: int = 32,
        dims: Sequence[int] = (4, 8, 8, 8),
        pose_dim: int = 32,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = ROUTING,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        conv_channels, types, pose_dim = check_counts(
            conv_channels=conv_channels, types=types, pose_dim=pose_dim
        )
        dims = check_several("dims", dims, 4)
        if dims[2] != dims[3]:
            raise ValueError(f"the last two of dims vote together and must be equal, got {dims!r}")
        self.options = {
            "conv_channels": conv_channels, "types": types, "dims": dims,
            "pose_dim": pose_dim,
        }  # fmt: skip
        self.stem = nn.Sequential(
            nn.Conv2d(self.channels, conv_channels, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(conv_channels),
        )
        cells = [Cell(conv_channels, 1, types, dims[0])]
        for number in (1, 2, 3):
            before, dim = dims[number - 1 : number + 1]
            cells.append(Cell(types * before, before, types, dim, routed=number == 3))
        self.cells = nn.ModuleList(cells)
        height, width = self.image_size
        in_caps = 0
        for number in range(4):
            height, width = (height + 1) // 2, (width + 1) // 2
            in_caps += types * height * width if number > 1 else 0
        self.classes = DenseCaps(
            in_caps,
            dims[3],
            self.num_classes,
            pose_dim,
            class_routing(routing),
            initial_length=ABSENT,
        )

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        return {**super().config, **self.options, "routing": routing_config(self.classes.routing)}

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`; labels are not looked at."""
        self.check_images(images)
        features = self.stem(images)
        maps: list[Tensor] = []
        for cell in self.cells:
            maps.append(cell(features))
            features = flat(maps[-1])
        pose = torch.cat([maps[3].flatten(1, 3), maps[2].flatten(1, 3)], dim=1)
        capsules = Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))
        return ModelOutput(*self.classes(capsules), None)


class Cell(nn.Module):
    """Features `[B, C, H, W]` → poses `[B, T, ⌈H/2⌉, ⌈W/2⌉, P]`: the third layer plus the one
    beside the second and third."""

    def __init__(
        self, in_channels: int, in_dim: int, types: int, dim: int, *, routed: bool = False
    ) -> None:
        super().__init__()
        width = types * dim
        self.first = SquashedMap(in_channels, in_dim, types, dim, stride=2)
        self.second = SquashedMap(width, dim, types, dim)
        self.third = SquashedMap(width, dim, types, dim)
        self.beside = (
            ConvolvedCaps(types, dim, types, dim, 3, 1, 1, "deepcaps", competition="map")
            if routed
            else SquashedMap(width, dim, types, dim)
        )

    def forward(self, features: Tensor) -> Tensor:
        halved = self.first(features)
        channels = flat(halved)
        squashed = isinstance(self.beside, SquashedMap)
        beside = self.beside(channels) if squashed else self.beside(halved).pose
        total: Tensor = self.third(flat(self.second(channels))) + beside
        return total


class StretchingConv(nn.Conv2d):
    """A convolution 3×3 that starts by stretching poses by `GAIN`."""

    def __init__(self, in_channels: int, in_dim: int, types: int, dim: int, stride: int) -> None:
        # Before the weight is drawn.
        self.deviation = GAIN * (in_dim / (9 * in_channels * dim)) ** 0.5
        super().__init__(in_channels, types * dim, 3, stride, 1, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.deviation)


class SquashedMap(nn.Module):
    """Capsules of a map without routing: squash(conv 3×3), `[B, C, H, W]` → `[B, T, H', W', P]`.

    Squash takes a short vector to the square of its length, so that poses of a deep network vanish
    where a convolution keeps their length. Here it starts by stretching them by `GAIN`.
    """

    def __init__(
        self, in_channels: int, in_dim: int, types: int, dim: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.types = types
        self.conv = StretchingConv(in_channels, in_dim, types, dim, stride)

    def forward(self, features: Tensor) -> Tensor:
        maps = self.conv(features).to(self.conv.weight.dtype)  # autocast gives bf16
        return squash(maps.unflatten(1, (self.types, -1)).movedim(2, -1))


def flat(pose: Tensor) -> Tensor:
    """Poses `[B, T, H, W, P]` as channels `[B, T·P, H, W]`."""
    return pose.movedim(-1, 2).flatten(1, 2)
