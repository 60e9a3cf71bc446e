"""What a decoder draws of held-out images, and how far off its drawings are."""

import torch
from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.losses import reconstruction_loss
from torchcaps.models import CapsNet

__all__ = ["drawing_error", "drawn", "mean_image_error"]


@torch.no_grad()
def drawn(model: CapsNet, images: Tensor, classes: Tensor) -> Tensor:
    """What the decoder makes of the poses of these classes, `[B, C, H, W]`."""
    device = model.classes.weight.device
    drawing = model(images.to(device), classes.to(device)).reconstruction
    assert drawing is not None
    return drawing.float().cpu()


def drawing_error(model: CapsNet, data: ImageData) -> float:
    """The sum of squared pixel errors of the drawings of the true class, mean over the images."""
    total = 0.0
    for indices in torch.split(torch.arange(len(data)), 250):
        images, labels = data.batch(indices)
        total += len(indices) * reconstruction_loss(drawn(model, images, labels), images).item()
    return total / len(data)


def mean_image_error(train: ImageData, test: ImageData) -> float:
    """The same error of drawing every image as the mean training image of its class."""
    total = 0.0
    for label in sorted(set(test.labels.tolist())):
        learnt, _ = train.batch((train.labels == label).nonzero().flatten())
        images, _ = test.batch((test.labels == label).nonzero().flatten())
        mean = learnt.mean(dim=0, keepdim=True).expand_as(images)
        total += len(images) * reconstruction_loss(mean, images).item()
    return total / len(test)
