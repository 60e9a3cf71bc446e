"""What every model of the package is: images in, poses, activations and a reconstruction out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from torchcaps.models.pretrained import Pretrained
from torchcaps.types import check_counts, exportable

__all__ = ["Classifier", "Losses", "ModelOutput", "values_at_hand"]

MOST_NORMALISED = 16.0  # far beyond what subtracting a mean and dividing by a deviation leaves


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


class Classifier(Pretrained, pipeline_tag="image-classification"):
    """Base of the models of images: checked image shape, class names, saving and loading.

    Args:
        image_size: side of a square image, or (height, width), in pixels.
        channels: 1 for grey, 3 for RGB, or any other number.
        num_classes: J.
        class_names: J names; default "0", "1", …
    """

    image_size: tuple[int, int]
    channels: int
    num_classes: int
    class_names: tuple[str, ...]
    highest_threshold: ClassVar[float] = 0.0

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
        self.image_size = (height, width)
        self.channels = channels
        self.num_classes = num_classes
        names = [str(k) for k in range(num_classes)] if class_names is None else list(class_names)
        if len(names) != num_classes:
            raise ValueError(f"class_names has {len(names)} names for {num_classes} classes")
        if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"class_names must be strings, each another one, got {names}")
        self.class_names = tuple(names)
        self.metadata = {}
        self._has_looked = False

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
            "class_names": list(self.class_names),
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
        self._check_range(images)

    def _check_range(self, images: Tensor) -> None:
        """Raise for pixels from 0 to 255, which are wrong however well they are predicted.

        Numbers somewhat outside [0, 1], of pixels that were normalised, are a person's own choice.
        On a GPU, which would have to be waited for, only the first images are looked at.
        """
        if images.numel() == 0 or not values_at_hand(images):
            return
        if images.device.type != "cpu":
            if self._has_looked or torch.cuda.is_current_stream_capturing():
                return
            self._has_looked = True
        largest = float(images.detach().amax())
        if largest > MOST_NORMALISED:
            raise ValueError(
                f"images hold numbers up to {largest:g}; expected floats in [0, 1]: divide pixels "
                "by 255"
            )


def values_at_hand(tensor: Tensor) -> bool:
    """Whether Python may look at the numbers in a tensor: not where calls are only recorded.

    Example:
        >>> values_at_hand(torch.zeros(2)), values_at_hand(torch.zeros(2, device="meta"))
        (True, False)
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    transformed = torch._C._are_functorch_transforms_active()
    # Of subclasses, those of torch.export among them, nothing is known.
    plain = type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta
    return plain and not recorded and not transformed


def count_parameters(module: nn.Module) -> int:
    """Number of learned values.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in module.parameters())
