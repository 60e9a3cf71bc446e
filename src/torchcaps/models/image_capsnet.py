"""ImageCapsNet: a capsule network for images of any size, what `torchcaps train` trains."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from torchcaps.layers import DenseCaps, PrimaryCaps
from torchcaps.models.capsule_classifier import CapsuleClassifier
from torchcaps.models.conv_decoder import ConvDecoder
from torchcaps.models.decoder import Decoder
from torchcaps.models.loss_scale import LossScale, find_loss_scale
from torchcaps.models.routed_classifier import ABSENT, class_routing
from torchcaps.models.stem import MANY_FEATURES, Stem, StemPlan, plan_stem, standardise
from torchcaps.plain_numbers import is_number, is_whole
from torchcaps.routing.base import Routing
from torchcaps.types import check_counts, check_several, check_switch

__all__ = ["ImageCapsNet"]

LARGEST_DENSE = 40  # pixels a side: beyond, fully connected layers draw worse and cost more
PAPER_PIXELS = 784  # the images for which the weights of the losses were found


class ImageCapsNet(CapsuleClassifier):
    """A stem of small normalised convolutions, primary capsules, class capsules, a decoder.

    (x − mean) / s.d. → `Stem` → `PrimaryCaps` 5×5 → `DenseCaps` (one capsule a class, |v_k| is how
    present class k is) → a decoder on the pose of the true class, or without labels of the longest.

    The network of the paper (`CapsNet`) was made for digits of 28×28 and ten classes: on two
    classes, or on larger images, its class capsules saturate within the first steps, and it answers
    one class for ever. This one differs in what keeps that from happening, whatever the images:
    standardised input, batch normalisation, and class capsules whose weights *and learning rates*
    are scaled by their number of inputs and classes (`DenseCaps(init="scaled")`).

    Args:
        image_size: side of a square image, or [height, width], in pixels; any.
        channels: of the image.
        num_classes: J.
        class_names: J names; default "0", "1", …
        mean, std: of each channel of the training images, in [0, 1]; a number counts for all
            channels. `torchcaps train` measures them.
        stem_channels: of the stem's first convolution, its first halving, and the others.
        kernel_size: of the first convolution.
        halvings: how often the stem halves the side; default: by the image's size, so that at most
            24×24 features are left (one halving below 48 pixels).
        primary_types, primary_dim: 16 types of 8-D capsules.
        primary_kernel_size: of the primary capsules; smaller where there are fewer features.
        primary_stride: default 1, or 2 where there are more than 12×12 features of a large image.
        pose_dim: D.
        routing, routing_bias: as in `CapsNet`.
        decoder_hidden: widths of the decoder's hidden layers, for images of up to 40 pixels; larger
            ones have a `ConvDecoder`.
        reconstruct: False leaves the decoder out.
        loss_scale: as in `CapsNet`; default: Eq 4 + 0.01 · the squared error of 784 pixels, the
            authors' ratio.

    Shape:
        images `[B, C, H, W]` in [0, 1], labels `[B]` → `ModelOutput`: pose `[B, J, D]`, activation
        `[B, J]` (lengths), reconstruction `[B, C, H, W]` or None.

    Raises:
        ValueError: an option out of range.

    Reference: the capsules are those of Sabour, Frosst, Hinton (2017); the stem, the scaling and
    the loss's weights are this project's (see docs/any_images.md).

    Example:
        >>> model = ImageCapsNet(image_size=64, channels=3, num_classes=2, reconstruct=False)
        >>> model(torch.rand(4, 3, 64, 64)).activation.shape
        torch.Size([4, 2])
    """

    channels_last = True
    stem: Stem
    mean_of_channels: Tensor
    std_of_channels: Tensor

    def __init__(
        self,
        image_size: int | Sequence[int] = 28,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        stem_channels: Sequence[int] = (32, 64, 128),
        kernel_size: int = 5,
        halvings: int | None = None,
        primary_types: int = 16,
        primary_dim: int = 8,
        primary_kernel_size: int = 5,
        primary_stride: int | None = None,
        pose_dim: int = 16,
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "dynamic",
        routing_bias: bool = False,
        decoder_hidden: Sequence[int] = (512, 1024),
        reconstruct: bool = True,
        loss_scale: str | LossScale | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        check_switch("routing_bias", routing_bias)
        check_switch("reconstruct", reconstruct)
        primary_types, primary_dim, pose_dim = check_counts(
            primary_types=primary_types, primary_dim=primary_dim, pose_dim=pose_dim
        )
        kernel_size, primary_kernel_size = check_counts(
            kernel_size=kernel_size, primary_kernel_size=primary_kernel_size
        )
        self.standardise_by(mean, std)
        self.stem_channels = check_several("stem_channels", stem_channels, 3)
        decoder_hidden = check_several("decoder_hidden", decoder_hidden)
        plan = self.plan(halvings, kernel_size)
        self.halvings = plan.halvings
        self.stem = Stem(self.channels, kernel_size, self.stem_channels, plan)
        features = self.stem.grid(*self.image_size)
        kernel = min(primary_kernel_size, *features)
        self.primary_kernel_size = primary_kernel_size
        if primary_stride is None:
            primary_stride = 2 if plan.padded and math.prod(features) > MANY_FEATURES else 1
        self.primary = PrimaryCaps(
            self.stem.out_channels, primary_types, primary_dim, kernel, primary_stride
        )
        self.primary_grid = self.primary.grid(*features)
        self.classes = DenseCaps(
            in_caps=primary_types * self.primary_grid[0] * self.primary_grid[1],
            in_dim=primary_dim,
            out_caps=self.num_classes,
            out_dim=pose_dim,
            routing=class_routing(routing),
            bias=routing_bias,
            initial_length=ABSENT,
        )
        shape = (self.channels, *self.image_size)
        if loss_scale is None:
            loss_scale = LossScale(1.0, False, round(0.01 * PAPER_PIXELS / math.prod(shape), 8))
        self.loss_scale = find_loss_scale(loss_scale)
        self.decoder = None
        if reconstruct and max(self.image_size) > LARGEST_DENSE:
            self.decoder = ConvDecoder(self.num_classes, pose_dim, shape)
        elif reconstruct:
            self.decoder = Decoder(self.num_classes, pose_dim, shape, decoder_hidden)

    def standardise_by(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        """Take these off every image that comes; called once."""
        self.mean = [float(value) for value in per_channel("mean", mean, self.channels)]
        self.std = [float(value) for value in per_channel("std", std, self.channels)]
        if not all(0 < value < math.inf for value in self.std):  # also false for NaN
            raise ValueError(f"std must be positive for every channel, got {self.std}")
        if not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean must be finite for every channel, got {self.mean}")
        # Of the config, not of the weights: what is loaded without them would standardise wrongly.
        self.register_buffer("mean_of_channels", torch.tensor(self.mean), persistent=False)
        self.register_buffer("std_of_channels", torch.tensor(self.std), persistent=False)
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            restore_standardisation
        )

    def reset_parameters(self) -> None:
        """Set mean and s.d. again; the layers draw their weights themselves.

        After `to_empty` they are undefined.
        """
        self.mean_of_channels = self.mean_of_channels.new_tensor(self.mean)
        self.std_of_channels = self.std_of_channels.new_tensor(self.std)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = self.mean_of_channels.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.mean_of_channels.dtype != before:  # else they keep what an earlier dtype rounded
            restore_standardisation(self)
        return self

    def plan(self, halvings: int | None, kernel_size: int) -> StemPlan:
        """How the stem shrinks the image; with other options than ours it is padded."""
        plan = plan_stem(*self.image_size)
        if halvings is None and kernel_size <= 5:
            return plan
        if halvings is None:
            halvings = plan.halvings
        elif not is_whole(halvings) or halvings < 0:
            raise ValueError(f"halvings must be an integer of at least 0, got {halvings!r}")
        most = math.ceil(math.log2(max(self.image_size)))
        if halvings > most:
            raise ValueError(
                f"halvings must be at most {most}, by which images of {self.image_size[0]}×"
                f"{self.image_size[1]} become one pixel, got {halvings}"
            )
        halvings = int(halvings)
        if halvings == plan.halvings and kernel_size <= 5:
            return plan
        return StemPlan(halvings, padded=True, first_stride=2 if halvings > 2 else 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again as it stands now (JSON values)."""
        decoder = (
            {"decoder_hidden": self.decoder.hidden} if isinstance(self.decoder, Decoder) else {}
        )
        return {
            **super().config,
            "mean": self.mean,
            "std": self.std,
            "stem_channels": self.stem_channels,
            "kernel_size": self.stem.convolutions[0].kernel_size[0],
            "halvings": self.halvings,
            "primary_kernel_size": self.primary_kernel_size,
            "primary_stride": self.primary.conv.stride[0],
            **decoder,
        }

    def features(self, images: Tensor) -> Tensor:
        """images `[B, C, H, W]` in [0, 1] → what the stem makes of them, standardised."""
        features: Tensor = self.stem(
            standardise(images, self.mean_of_channels, self.std_of_channels)
        )
        return features


def restore_standardisation(model: ImageCapsNet, keys: object = None) -> None:
    """Set mean and s.d. again after weights were loaded, with which they are not saved.

    After `to_empty` they are undefined until then.
    """
    like = next(model.parameters())
    model.mean_of_channels = like.new_tensor(model.mean)
    model.std_of_channels = like.new_tensor(model.std)


def per_channel(name: str, value: float | Sequence[float], channels: int) -> list[float]:
    """A number for each channel, from one for all of them or from as many."""
    values: list[Any] = [value] * channels if is_number(value) else list(value)  # type: ignore[arg-type]
    if len(values) != channels:
        raise ValueError(f"{name} has {len(values)} numbers for {channels} channels")
    return values
