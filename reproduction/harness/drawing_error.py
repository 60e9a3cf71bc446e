"""What a decoder draws of held-out images, and how far off its drawings are."""

import torch
from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.models import CapsNet

__all__ = ["drawing_errors", "drawn", "mean_image_errors", "principal_errors"]


@torch.no_grad()
def drawn(model: CapsNet, images: Tensor, classes: Tensor) -> Tensor:
    """What the decoder makes of the poses of these classes, `[B, C, H, W]`."""
    device = model.classes.weight.device
    drawing = model(images.to(device), classes.to(device)).reconstruction
    assert drawing is not None
    return drawing.float().cpu()


def drawing_errors(model: CapsNet, data: ImageData) -> Tensor:
    """The sum of squared pixel errors of the drawing of the true class, of each image, `[N]`."""
    errors = []
    for indices in torch.split(torch.arange(len(data)), 250):
        images, labels = data.batch(indices)
        errors.append(squared_errors(drawn(model, images, labels), images))
    return torch.cat(errors)


def mean_image_errors(train: ImageData, test: ImageData) -> Tensor:
    """The same errors of drawing every image as the mean training image of its class."""
    return principal_errors(train, test, 0)


def principal_errors(train: ImageData, test: ImageData, components: int) -> Tensor:
    """The same of drawing an image by principal components of the training images of its class.

    As a class capsule of so many numbers, but linear: the mean image of the class, and what is left
    of the image along the directions in which those of the class vary most.

    Args:
        train: where means and directions come from.
        test: which images are drawn.
        components: how many directions, for each class; fewer where it has fewer images.
    """
    errors = torch.zeros(len(test), dtype=torch.float64)
    for label in sorted(set(test.labels.tolist())):
        learnt, _ = train.batch((train.labels == label).nonzero().flatten())
        places = (test.labels == label).nonzero().flatten()
        images = test.batch(places)[0].flatten(1).double()
        x = learnt.flatten(1).double()
        mean = x.mean(dim=0)
        centred = images - mean
        _, directions = torch.linalg.eigh((x - mean).T @ (x - mean))  # the strongest come last
        kept = directions[:, directions.shape[1] - min(components, len(x) - 1) :]
        errors[places] = squared_errors(centred @ kept @ kept.T, centred)
    return errors.float()


def squared_errors(drawings: Tensor, images: Tensor) -> Tensor:
    """Sums over the pixels, `[N]`."""
    return (drawings - images).square().flatten(1).sum(dim=1)
