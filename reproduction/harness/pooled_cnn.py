"""The convolutional network that the paper sets beside CapsNet on larger images: with pooling."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from reproduction.harness.stem_cnn import cross_entropy
from torchcaps.models import Classifier, Losses, ModelOutput

__all__ = ["PooledCNN"]

KERNELS = (9, 5)


class PooledCNN(Classifier):
    """Two convolutions, 9×9 and 5×5, each with 2×2 pooling, and a fully connected layer.

    Args:
        image_size, channels, num_classes, class_names: as in `CapsNet`.
        conv_channels: of the convolutions, stride 1, zero-padded to keep the size.
        hidden: width of the fully connected layer.
        several: more than one class may be present: trained by the sigmoid cross entropy of each
            class, in place of the softmax cross entropy of all.

    Shape:
        images `[B, C, H, W]` in [0, 1] → `ModelOutput`: pose `[B, J, 1]`, the logit of each class;
        activation `[B, J]`, its sigmoid or softmax; reconstruction None.

    Parameters: 24,563,978 for 36×36 grey images and ten classes.

    Reference: Sabour, Frosst, Hinton (2017), §6.2. Padding is not stated there; with it the count
    is the published one.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 36,
        channels: int = 1,
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        *,
        conv_channels: Sequence[int] = (512, 256),
        hidden: int = 1024,
        several: bool = True,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        self.several = several
        layers: list[nn.Module] = []
        height, width = self.image_size
        for (wide_in, wide_out), kernel in zip(pairwise((channels, *conv_channels)), KERNELS):
            layers += [nn.Conv2d(wide_in, wide_out, kernel, padding=kernel // 2), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(conv_channels[-1] * height * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """images `[B, C, H, W]` in [0, 1] → `ModelOutput`."""
        self.check_images(images)
        logits: Tensor = self.layers(images)
        activation = logits.sigmoid() if self.several else logits.softmax(dim=1)
        return ModelOutput(logits.unsqueeze(-1), activation, None)

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        """Cross entropy, averaged over the batch; labels `[B]`, or `several`: targets `[B, J]`."""
        return Losses.of_classes(cross_entropy(output.pose.squeeze(-1), labels, self.several))
