"""Capsules with inverted dot-product attention on a ResNet: Tsai and others (2020)."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchcaps.layers import ConvCaps, DenseCaps, route_concurrently
from torchcaps.layers.voting import VotingLayer
from torchcaps.models.classifier import ModelOutput
from torchcaps.models.resnet import ShallowResNet
from torchcaps.models.routed_classifier import RoutedClassifier, class_routing
from torchcaps.routing.attention import AttentionRouting
from torchcaps.routing.base import Routing
from torchcaps.routing.registry import routing_config
from torchcaps.types import Capsules, check_counts, check_several, check_switch

__all__ = ["AttentionCapsNet"]

SMALLEST = 13  # side of an image that leaves a window to both convolutional layers
ROUTING = {"name": "attention", "iterations": 2}


class AttentionCapsNet(RoutedClassifier, tags=["capsule-network", "attention-routing"]):
    """A ResNet, and capsules whose poses are matrices, normalised, that children attend to.

    `ShallowResNet` → 1×1 convolution, LayerNorm of each pose → `ConvCaps` 3×3 stride 2 →
    `ConvCaps` 3×3 → (dense capsules) → one capsule a class. One linear map of the poses of all
    classes gives the logits; the loss is their cross entropy.

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`; at least 13 pixels a side.
        widths, blocks: of the ResNet.
        types: of capsules in the primary and both convolutional layers.
        dim: components of the poses, a square number.
        dense: capsules of dense layers before the classes: none for CIFAR-10, 20 for CIFAR-100.
        routing: of all layers.
        concurrent: all layers are routed at the same time, as published, which holds their votes;
            False: one after the other.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, dim]`, activation `[B, J]`
        (σ of the logits), reconstruction None.

    Parameters: 1,828,817 for CIFAR-10; 2,799,629 for CIFAR-100 with dim=36 and dense=(20,). Both as
    the published code has them.

    Reference: Tsai, Srivastava, Goh, Salakhutdinov (2020), *Capsules with Inverted Dot-Product
    Attention Routing*, ICLR. Trained there by SGD from 0.1. Deviations: their windows mix positions
    with components of poses; here a capsule stays whole. By default one layer is routed after the
    other, which holds no votes; with `concurrent` as published.

    Example:
        >>> model = AttentionCapsNet(32, 3, widths=(8, 16), blocks=(1, 1), types=4)
        >>> model(torch.rand(2, 3, 32, 32)).activation.shape
        torch.Size([2, 10])
    """

    paper = AttentionRouting.paper

    def __init__(
        self,
        image_size: int | Sequence[int] = 32,
        channels: int = 3,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        widths: Sequence[int] = (64, 128),
        blocks: Sequence[int] = (3, 4),
        types: int = 32,
        dim: int = 16,
        dense: Sequence[int] = (),
        routing: str | Mapping[str, Any] | Routing[Any, Any] = ROUTING,
        concurrent: bool = False,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        types, dim = check_counts(types=types, dim=dim)
        check_switch("concurrent", concurrent)
        widths, blocks = check_several("widths", widths, 2), check_several("blocks", blocks, 2)
        dense = check_several("dense", dense)
        if min(self.image_size) < SMALLEST:
            height, width = self.image_size
            raise ValueError(
                f"images of {height}×{width} are too small: the smallest that works is "
                f"{SMALLEST}×{SMALLEST}"
            )
        routing = class_routing(routing)
        if concurrent and not isinstance(routing, AttentionRouting):
            raise ValueError("concurrent routing is of attention alone: leave out concurrent")
        self.options = {
            "widths": widths, "blocks": blocks, "types": types, "dim": dim,
            "dense": dense, "concurrent": concurrent,
        }  # fmt: skip
        self.backbone = ShallowResNet(self.channels, widths, blocks)
        self.primary = NormalisedCapsMap(self.backbone.out_channels, types, dim)
        layers: list[nn.Module] = []
        size = self.backbone.grid(*self.image_size)
        for stride in (2, 1):
            inner = between(routing)
            layer = WindowCaps(
                types, dim, types, dim, 3, stride, routing=inner, competition="window"
            )
            layers.append(layer)
            size = layer.grid(*size)
        in_caps = types * size[0] * size[1]
        for out_caps in dense:
            layers.append(
                DenseOfMap(in_caps, dim, out_caps, dim, between(routing), matrix_poses=True)
            )
            in_caps = out_caps
        self.layers = nn.ModuleList(layers)
        self.classes = DenseOfMap(
            in_caps, dim, self.num_classes, dim, copy.deepcopy(routing), matrix_poses=True
        )

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        return {**super().config, **self.options, "routing": routing_config(self.classes.routing)}

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`; labels are not looked at."""
        self.check_images(images)
        capsules = self.primary(self.backbone(images))
        if self.options["concurrent"]:
            stack = [*self.layers, self.classes]
            *_, found = route_concurrently(stack, capsules, self.classes.routing.iterations)
        else:
            for layer in self.layers:
                capsules = layer(capsules)
            found = self.classes(capsules)
        return ModelOutput(*found, None)


class NormalisedCapsMap(nn.Module):
    """Capsules of a map, pose = LayerNorm(conv 1×1), activations 1.

    features `[B, C, H, W]` → `Capsules(pose [B, T, H, W, P], activation [B, T, H, W])`.
    """

    def __init__(self, in_channels: int, types: int, dim: int) -> None:
        super().__init__()
        self.types = types
        self.conv = nn.Conv2d(in_channels, types * dim, 1, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Capsules:
        maps = self.conv(features).to(self.conv.weight.dtype)  # autocast gives bf16
        pose = self.norm(maps.unflatten(1, (self.types, -1)).movedim(2, -1))
        return Capsules(pose, torch.ones_like(pose[..., 0]))


class DrawnForAttention(VotingLayer):
    """Weights of variance J / (I · √P), so that Σ_i V_ij / J has components of variance 1/J."""

    def draw_weights(self) -> None:
        in_caps, in_dim, out_caps, _ = self.sizes
        nn.init.normal_(self.weight, std=(out_caps / (in_caps * in_dim**0.5)) ** 0.5)


class WindowCaps(DrawnForAttention, ConvCaps):
    """`ConvCaps` whose weights start as attention needs them."""


class DenseOfMap(DrawnForAttention, DenseCaps):
    """`DenseCaps` on all capsules of a map `[B, T, H, W, P]`, or on `[B, I, P]`."""

    def forward(self, capsules: Capsules | Tensor, mask: Tensor | None = None) -> Capsules:
        """Capsules of a map or dense ones → `Capsules [B, J, D]`."""
        assert isinstance(capsules, Capsules)
        pose, activation = capsules
        if pose.dim() == 5:
            pose, activation = pose.flatten(1, 3), activation.flatten(1)
        return super().forward(Capsules(pose, activation), mask)


def between(routing: Routing[Any, Any]) -> Routing[Any, Any]:
    """The routing of a layer below the classes: without activations where it is attention."""
    own = copy.deepcopy(routing)
    if isinstance(own, AttentionRouting):
        own.activations = False
    return own
