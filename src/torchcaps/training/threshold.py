"""How long the longest class capsule is where an image shows one of the classes."""

import math

import torch

from torchcaps.data import ImageData
from torchcaps.models import Classifier
from torchcaps.training.metrics import evaluate

__all__ = ["choose_threshold"]

REFUSED = 0.01  # of the images that show one of the classes, at most
LOOKED_AT = 2000


def choose_threshold(model: Classifier, known: ImageData) -> float:
    """The largest activation below which a model says that an image shows none of its classes.

    `model.highest_threshold`, or less where that would refuse more than one known image in a
    hundred, as with a network that was hardly trained: two decimals, rounded down.

    Args:
        model: trained.
        known: images of its classes that it may be chosen on: not the held-out ones.

    Example:
        >>> from torchcaps import create_model
        >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
        >>> data = ImageData(images, torch.zeros(4, dtype=torch.int64), ("a", "b"), "toy")
        >>> choose_threshold(create_model("capsnet_small", num_classes=2), data)
        0.0
    """
    if model.highest_threshold == 0:
        return 0.0
    step = -(-len(known) // LOOKED_AT)
    some = known.subset(torch.arange(0, len(known), step))
    largest = evaluate(model, some).activation.amax(dim=1)
    share = float(torch.quantile(largest, REFUSED, interpolation="lower"))
    if not share > 0:  # nor where it is not a number
        return 0.0
    return min(model.highest_threshold, math.floor(100 * share) / 100)
