"""SegCaps: capsules that say of every pixel whether it belongs to an object."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from torchcaps.layers import ConvolvedCaps, DeconvCaps
from torchcaps.losses import dice_loss
from torchcaps.models.pixels import check_range
from torchcaps.models.pretrained import Pretrained
from torchcaps.types import (
    Capsules,
    Paper,
    check_counts,
    check_real_tensor,
    check_same_dtype,
    check_switch,
    exportable,
)

__all__ = ["MaskOutput", "SegCaps"]

POSE = 16  # components of the poses at full resolution
# Types and components of each level: the layer that keeps the size, and the one that halves it.
LEVELS = (((4, 16), (4, 32)), ((8, 32), (8, 64)))
FACTOR = 8  # three layers halve the map


@exportable
class MaskOutput(NamedTuple):
    """What a model makes of images, pixel by pixel.

    Attributes:
        pose: `[B, K, H, W, 16]`, one capsule of each kind of object a pixel.
        activation: `[B, K, H, W]`, its length in [0, 1]: whether the pixel belongs to such an
            object. A pixel may belong to several.
        reconstruction: `[B, C, H, W]`: the image within the mask, or None without a decoder.
    """

    pose: Tensor
    activation: Tensor
    reconstruction: Tensor | None


class SegCaps(Pretrained, pipeline_tag="image-segmentation", tags=["capsule-network"]):
    """A U-shaped network of convolved capsules: images in, masks out.

    conv 5×5 (one type of 16-D capsules) → three times halved and three times doubled by capsules of
    5×5 and transposed 4×4 windows, with what was there at the same size beside → 1×1 capsules, one
    a kind of object; their length is the mask. A decoder of three 1×1 convolutions draws the masked
    part of the image from their poses.

    Args:
        channels: of the images.
        num_classes: K, kinds of objects.
        iterations: r of the locally-constrained routing; the layer after the image's takes one.
        reconstruct: False leaves the decoder out.

    Shape:
        images `[B, C, H, W]` in [0, 1], sides that are multiples of 8; masks `[B, K, H, W]` →
        `MaskOutput`. The reconstruction shows what is within `masks` — pass them when training —
        and without them what is within activations above ½.

    Parameters: 1,425,649 for one channel and one kind of object (published: 1.4 million).

    Reference: LaLonde, Bagci (2018), *Capsules for Object Segmentation*, arXiv 1804.04241, the
    network with three iterations. Trained there with batches of one image, in which alone its code
    is right; here samples are independent.

    Example:
        >>> model = SegCaps()
        >>> pose, activation, reconstruction = model(torch.rand(1, 1, 16, 24))
        >>> activation.shape, reconstruction.shape
        (torch.Size([1, 1, 16, 24]), torch.Size([1, 1, 16, 24]))
    """

    paper = Paper("LaLonde, Bagci", 2018, "Capsules for Object Segmentation", "arXiv 1804.04241")

    def __init__(
        self,
        channels: int = 1,
        num_classes: int = 1,
        *,
        iterations: int = 3,
        reconstruct: bool = True,
    ) -> None:
        super().__init__()
        channels, num_classes, iterations = check_counts(
            channels=channels, num_classes=num_classes, iterations=iterations
        )
        check_switch("reconstruct", reconstruct)
        self.metadata = {}
        self.channels, self.num_classes, self.iterations = channels, num_classes, iterations
        routing = {"name": "locally_constrained", "iterations": iterations}
        once = {**routing, "iterations": 1}
        self.conv = nn.Conv2d(channels, POSE, 5, padding=2)
        self.primary = ConvolvedCaps(1, POSE, 2, POSE, 5, 2, 2, once)
        widths = [(2, POSE), *(width for level in LEVELS for width in level), (8, 32)]
        self.down = nn.ModuleList(
            ConvolvedCaps(*before, *after, 5, 1 + number % 2, 2, routing)
            for number, (before, after) in enumerate(pairwise(widths))
        )
        up: list[nn.Module] = []
        for before, grown, beside, after in (
            ((8, 32), (8, 32), 8, (4, 32)),
            ((4, 32), (4, 16), 4, (4, 16)),
        ):
            up.append(DeconvCaps(*before, *grown, 4, 2, 1, routing))
            up.append(ConvolvedCaps(grown[0] + beside, grown[1], *after, 5, 1, 2, routing))
        up.append(DeconvCaps(4, 16, 2, POSE, 4, 2, 1, routing))
        self.up = nn.ModuleList(up)
        self.masks = ConvolvedCaps(3, POSE, num_classes, POSE, 1, routing=routing)
        self.decoder = None
        if reconstruct:
            self.decoder = nn.Sequential(
                nn.Conv2d(num_classes * POSE, 64, 1), nn.ReLU(),
                nn.Conv2d(64, 128, 1), nn.ReLU(),
                nn.Conv2d(128, channels, 1), nn.Sigmoid(),
            )  # fmt: skip

    if TYPE_CHECKING:

        def __call__(self, images: Tensor, masks: Tensor | None = None) -> MaskOutput: ...

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        return {
            **super().config,
            "channels": self.channels,
            "num_classes": self.num_classes,
            "iterations": self.iterations,
            "reconstruct": self.decoder is not None,
        }

    def card_usage(self) -> str:
        return (
            'import torchcaps\n\nmodel = torchcaps.SegCaps.from_pretrained("path/to/this/folder")\n'
            f"masks = model(images).activation > 0.5  # images [B, {self.channels}, H, W] in [0, 1]"
        )

    def forward(self, images: Tensor, masks: Tensor | None = None) -> MaskOutput:
        """images `[B, C, H, W]` in [0, 1], masks `[B, K, H, W]` → `MaskOutput`."""
        self.check_images(images)
        if masks is not None:
            expected = (len(images), self.num_classes, *images.shape[2:])
            check_real_tensor("masks", masks)
            if masks.shape != expected:
                raise ValueError(
                    f"masks must be [B, K, H, W] = {expected}, got {tuple(masks.shape)}"
                )
        pixels = torch.relu(self.conv(images)).movedim(1, -1).unsqueeze(1)  # [B, 1, H, W, 16]
        capsules = self.primary(pixels)
        beside: list[Tensor] = [pixels]
        for number, layer in enumerate(self.down):
            capsules = layer(capsules)
            if number in (0, 2):  # before it is halved
                beside.append(capsules.pose)
        for layer in self.up:
            capsules = layer(capsules)
            if isinstance(layer, DeconvCaps):
                pose = torch.cat([capsules.pose, beside.pop()], dim=1)
                capsules = Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))
        pose, activation = self.masks(capsules)
        if self.decoder is None:
            return MaskOutput(pose, activation, None)
        shown = activation > 0.5 if masks is None else masks
        within = (pose * shown.unsqueeze(-1).to(pose.dtype)).movedim(-1, 2).flatten(1, 2)
        return MaskOutput(pose, activation, self.decoder(within))

    def loss(self, output: MaskOutput, images: Tensor, masks: Tensor) -> Tensor:
        """The Dice loss, plus the mean squared error of the image within the masks."""
        loss = dice_loss(output.activation, masks)
        if output.reconstruction is None:
            return loss
        within = masks.amax(dim=1, keepdim=True).to(images.dtype)
        error = (output.reconstruction - images * within).square().mean()
        return loss + error

    def check_images(self, images: Tensor) -> None:
        """Raise unless images are `[B, C, H, W]` with sides that can be halved three times."""
        if not isinstance(images, Tensor) or not images.dtype.is_floating_point:
            got = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"images must be a floating-point tensor in [0, 1], got {got}")
        shape = images.shape
        if len(shape) != 4 or shape[1] != self.channels or any(s % FACTOR for s in shape[2:]):
            raise ValueError(
                f"images must be [B, {self.channels}, H, W] with sides that are multiples of "
                f"{FACTOR}, got shape {tuple(shape)}"
            )
        check_same_dtype("images", images, self.conv.weight)
        check_range(self, images)
