"""Whether a file answers as PyTorch does."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from torchcaps.errors import InputError
from torchcaps.models import Classifier
from torchcaps.models.images_at_once import check_answers

__all__ = ["Comparison", "compare"]

BATCHES = (1, 7, 64)  # sizes that take turns
CLOSE = 1e-3  # activations that differ by less may change places


class Comparison(NamedTuple):
    """What a file answered beside PyTorch.

    Attributes:
        images: on which both were tried.
        largest_difference: of any number in any output.
        other_classes: images to which the file gave another class.
    """

    images: int
    largest_difference: float
    other_classes: int


@torch.no_grad()
def compare(
    run: Callable[[Tensor], dict[str, Tensor]], model: Classifier, images: Tensor
) -> Comparison:
    """Run images through a file and through the model, a few at a time.

    Args:
        run: what the file computes.
        model: it was exported from; on the CPU, in evaluation mode.
        images: `[N, C, H, W]`, N ≥ 1.

    Raises:
        InputError: PyTorch's activations are not finite; the file's class of an image is another,
            though PyTorch's two best are not close; or the file's numbers are not finite where
            PyTorch's are.
    """
    largest, other, wrong = 0.0, 0, 0
    for some in in_turn(images):
        expected = {k: v for k, v in model(some)._asdict().items() if v is not None}
        check_answers(expected["activation"], model)
        found = run(some)
        for name, value in expected.items():
            difference = (found[name] - value).abs()
            same = (found[name] == value) | (found[name].isnan() & value.isnan())
            # Not a number in one alone is as far as can be: of 0 and NaN `max` gives 0.
            far = difference.nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(same, 0)
            largest = max(largest, float(far.amax()))
        classes = found["activation"].argmax(dim=1, keepdim=True)
        activation = expected["activation"]
        missing = activation.amax(dim=1) - activation.gather(1, classes)[:, 0]
        other += int((classes[:, 0] != activation.argmax(dim=1)).sum())
        wrong += int((missing > CLOSE).sum())
    if wrong or not largest < float("inf"):
        raise InputError(
            f"the exported network gives another class than PyTorch to {wrong} of {len(images)} "
            f"images (largest difference {largest:.2g}), so that nothing was written: use the "
            "model from Python"
        )
    return Comparison(len(images), largest, other)


def in_turn(images: Tensor) -> list[Tensor]:
    """The images in batches of 1, 7, 64, 1, 7, 64, …: the last one may be smaller."""
    batches: list[Tensor] = []
    while len(images):
        size = BATCHES[len(batches) % len(BATCHES)]
        batches.append(images[:size])
        images = images[size:]
    return batches
