"""What every model of the package is: images in, poses, activations and a reconstruction out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from torchcaps.models.class_names import names_in_order
from torchcaps.models.pixels import check_range
from torchcaps.models.pretrained import Pretrained
from torchcaps.models.summary import Summary, count_parameters, routing_note, summarise
from torchcaps.models.trace import trace_layers
from torchcaps.routing.trace import RoutingTrace
from torchcaps.types import (
    Capsules,
    check_counts,
    check_same_dtype,
    exportable,
)

__all__ = ["Classifier", "Losses", "ModelOutput", "count_parameters"]

MOST_CLASSES = 1_000_000


@exportable
class ModelOutput(NamedTuple):
    """What a model makes of a batch of images.

    Attributes:
        pose: `[B, J, D]`, one vector a class.
        activation: `[B, J]`, how present each class is; the prediction is its argmax.
        reconstruction: `[B, C, H, W]` in [0, 1], or None where the model has no decoder.
    """

    pose: Tensor
    activation: Tensor
    reconstruction: Tensor | None


@exportable
class Losses(NamedTuple):
    """The loss to minimise and its two terms, each already weighted: total is their sum."""

    total: Tensor
    classification: Tensor
    reconstruction: Tensor

    @classmethod
    def of_classes(cls, loss: Tensor) -> "Losses":
        """Those of a network that draws nothing."""
        return cls(loss, loss, torch.zeros_like(loss))


class Classifier(Pretrained, pipeline_tag="image-classification"):
    """Base of the models of images: checked image shape, class names, saving and loading.

    Args:
        image_size: side of a square image, or (height, width), in pixels.
        channels: 1 for grey, 3 for RGB, or any other number.
        num_classes: J.
        class_names: J names in the order of the classes' numbers; default "0", "1", …
    """

    image_size: tuple[int, int]
    channels: int
    num_classes: int
    class_names: tuple[str, ...]
    highest_threshold: ClassVar[float] = 0.0
    # Whether a CPU trains it faster in float32 where the channels come last in memory, as the
    # convolutions of bf16 always have them: it depends on their sizes
    # (benchmarks/layouts.py).
    channels_last: ClassVar[bool] = False

    def __init__(
        self,
        image_size: int | Sequence[int],
        channels: int,
        num_classes: int,
        class_names: Sequence[str] | None,
    ) -> None:
        super().__init__()
        sides = image_size if isinstance(image_size, (list, tuple)) else (image_size, image_size)
        if len(sides) != 2:
            raise ValueError(f"image_size must be a side or (height, width), got {image_size!r}")
        height, width = sides
        height, width, channels, num_classes = check_counts(
            image_height=height, image_width=width, channels=channels, num_classes=num_classes
        )
        if num_classes > MOST_CLASSES:
            raise ValueError(
                f"num_classes is {num_classes}; expected at most {MOST_CLASSES:,}, whose names "
                "alone fill 60 MB"
            )
        self.image_size = (height, width)
        self.channels = channels
        self.num_classes = num_classes
        if class_names is None:
            class_names = [str(k) for k in range(num_classes)]
        names = names_in_order(class_names)
        if len(names) != num_classes:
            raise ValueError(f"class_names has {len(names)} names for {num_classes} classes")
        told = all(isinstance(name, str) and name.strip() for name in names)
        if len(set(names)) < len(names) or not told:
            raise ValueError(f"class_names must be names, each another one, got {names}")
        self.class_names = tuple(names)
        self.metadata = {}

    if TYPE_CHECKING:

        def __call__(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput: ...

    else:

        def __call__(self, *args, **kwargs):
            output = super().__call__(*args, **kwargs)
            # TorchScript has no None among outputs.
            return output[:2] if torch.jit.is_tracing() and output[2] is None else output

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was built with, those that every classifier has as they are now."""
        return {
            **super().config,
            "image_size": list(self.image_size),
            "channels": self.channels,
            "num_classes": self.num_classes,
            "class_names": names_in_order(self.class_names),
        }

    def card_usage(self) -> str:
        height, width = self.image_size
        shape = f"[B, {self.channels}, {height}, {width}]"
        return (
            f"{super().card_usage()}\n"
            f"pose, activation, reconstruction = model(images)  # images {shape} in [0, 1]"
        )

    def card_facts(self) -> dict[str, str]:
        return {"Classes": ", ".join(self.class_names), **super().card_facts()}

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1], labels `[B]` → `ModelOutput`."""
        raise NotImplementedError

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """The loss of an output that was computed with these images *and* labels."""
        raise NotImplementedError

    @property
    def finds_several(self) -> bool:
        """Whether its loss takes labels `[B, J]`, any number of classes in an image."""
        return False

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The class of each image, `[B]` int64."""
        return self(images).activation.argmax(dim=1)

    @property
    def threshold(self) -> float:
        """The largest activation below which an image is taken to show none of the classes.

        `metadata["threshold"]`, which training writes; else 0, which refuses nothing.
        """
        return float(self.metadata.get("threshold", 0))

    def trace(self, images: Tensor) -> dict[str, Capsules | RoutingTrace]:
        """What every capsule layer does with these images: couplings, logits and poses.

        The network runs in the mode that it is in, and records gradients where they are wanted:
        `model.eval()` and `torch.no_grad()` for looking alone.

        Args:
            images: as `forward` takes them.

        Returns:
            Name of a layer → `RoutingTrace` (coupling and logits `[r, B, I, J]`, pose
            `[r, B, J, D]`, activation `[r, B, J]`, of all r iterations; the last pose and
            activation are what the layer returned) of one that routes, `Capsules` of one that does
            not, in the order in which they ran. Nothing for a network without capsules.

        Example:
            >>> from torchcaps import load_pretrained
            >>> trace = load_pretrained("digits").trace(torch.rand(2, 1, 28, 28))
            >>> trace["primary"].pose.shape, trace["classes"].coupling.shape
            (torch.Size([2, 288, 8]), torch.Size([3, 2, 288, 10]))
        """
        return trace_layers(self, images)

    def summary(self) -> Summary:
        """Its layers as a table: outputs, learned values, operations for one image.

        Example:
            >>> from torchcaps import create_model
            >>> print(create_model("capsnet").summary())
            CapsNet: images 1×28×28 → 10 classes
            layer    kind         output     parameters  FLOPs/image
            conv     Conv2d       256×20×20      20,992       16.6 M
            primary  PrimaryCaps  1152×8      5,308,672        382 M
            classes  DenseCaps    10×16       1,474,560       4.06 M  dynamic
            decoder  Decoder      1×28×28     1,411,344       2.82 M
            total                             8,215,568        406 M
        """
        height, width = self.image_size
        title = (
            f"{type(self).__name__}: images {self.channels}×{height}×{width} → "
            f"{self.num_classes} classes"
        )
        image = torch.empty(1, self.channels, height, width, device="meta")
        dtype = next((p.dtype for p in self.parameters()), image.dtype)
        return summarise(self, image.to(dtype), title)

    def __repr__(self) -> str:
        """In one line; `summary()` has the layers."""
        routing = f", routing={note}" if (note := routing_note(self)) else ""
        return (
            f"{type(self).__name__}(image_size={self.image_size}, channels={self.channels}, "
            f"num_classes={self.num_classes}{routing}, {count_parameters(self):,} parameters)"
        )

    def check_images(self, images: Tensor) -> None:
        """Raise unless images are `[B, C, H, W]` as this model was built for."""
        if not isinstance(images, Tensor) or not images.dtype.is_floating_point:
            got = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"images must be a floating-point tensor in [0, 1], got {got}")
        expected = (self.channels, *self.image_size)
        if images.dim() != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"images must be [B, {', '.join(map(str, expected))}] (channels, height, width), "
                f"got shape {tuple(images.shape)}"
            )
        check_range(self, images)
        if (weight := next(self.parameters(), None)) is not None:
            check_same_dtype("images", images, weight)
