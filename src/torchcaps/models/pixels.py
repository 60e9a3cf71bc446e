"""Whether images look as if their pixels went from 0 to 255, which is wrong however it ends."""

import math

import torch
from torch import Tensor, nn

from torchcaps.types import values_at_hand

__all__ = ["check_range"]

MOST_NORMALISED = 16.0  # far beyond what subtracting a mean and dividing by a deviation leaves
LOOKED = "_has_looked"  # the attribute of a model that has looked at images on a GPU


def check_range(model: nn.Module, images: Tensor) -> None:
    """Raise for pixels from 0 to 255, and for what is no number.

    Numbers somewhat outside [0, 1], of pixels that were normalised, are a person's own choice. On a
    GPU, which would have to be waited for, a model looks at its first images alone.
    """
    if images.numel() == 0 or not values_at_hand(images):
        return
    if images.device.type != "cpu" and getattr(model, LOOKED, False):
        return
    if images.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return
    least, largest = map(float, images.detach().aminmax())
    if not math.isfinite(least) or not math.isfinite(largest):
        raise ValueError(
            "images hold NaN or infinite numbers; expected floats in [0, 1]: look at where they "
            "come from"
        )
    if largest > MOST_NORMALISED:
        raise ValueError(
            f"images hold numbers up to {largest:g}; expected floats in [0, 1]: divide pixels by "
            "255"
        )
    if images.device.type != "cpu":
        setattr(model, LOOKED, True)
