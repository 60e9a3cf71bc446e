"""How many images a network is shown at once where nobody says, and what its answers must be."""

from collections.abc import Sequence

from torch import Tensor

from torchcaps.errors import InputError

__all__ = ["check_answers", "images_at_once"]

MOST = 256
PIXELS = 2**20  # of 256 images of 64×64: the memory of a network goes with the pixels


def images_at_once(image_size: Sequence[int]) -> int:
    """As many as are quick, and fewer of large ones, which would not find room.

    Example:
        >>> images_at_once((28, 28)), images_at_once((224, 224)), images_at_once((4000, 3000))
        (256, 20, 1)
    """
    height, width = image_size
    return max(1, min(MOST, PIXELS // (height * width)))


def check_answers(activation: Tensor, model: object) -> None:
    """Raise for activations that are no numbers: the largest of them would be no answer.

    Raises:
        InputError: NaN or infinite.
    """
    if not bool(activation.isfinite().all()):
        raise InputError(
            f"the {type(model).__name__} answers with {_first_strange(activation):g}: its weights, "
            "its mean and deviation, or the images are so large that they overflow; take another "
            "model, or train it anew"
        )


def _first_strange(activation: Tensor) -> float:
    return float(activation[~activation.isfinite()][0])
