"""Inputs and what the decoder made of them."""

from collections.abc import Sequence

from torch import Tensor

from torchcaps.training.pictures.style import INK, WRONG, Path
from torchcaps.training.pictures.tiles import check_count, draw_tiles

__all__ = ["draw_reconstructions"]


def draw_reconstructions(
    images: Tensor,
    reconstructions: Tensor,
    labels: Tensor,
    predictions: Tensor,
    class_names: Sequence[str],
    *,
    path: Path,
) -> None:
    """Draw each input above its reconstruction, with its class, and mark the wrong predictions.

    Up to ten pairs stand side by side; more continue below.

    Args:
        images: [N, C, H, W] in [0, 1], N ≥ 1. One channel is grey, three are RGB, of any other
            number the mean is shown. NaN is shown in pink.
        reconstructions: the same shape and range.
        labels, predictions: [N], true and predicted class.
        class_names: the name of each class.
        path: the PNG file to write.

    Raises:
        ValueError: the shapes do not belong together, or N is 0.
    """
    count = len(images)
    if count == 0 or images.shape != reconstructions.shape:
        raise ValueError(
            "images and reconstructions need one shape [N, C, H, W] with N of at least 1, "
            f"not {list(images.shape)} and {list(reconstructions.shape)}"
        )
    check_count(count, labels=labels, predictions=predictions)
    key = {"class, predicted right": INK}
    if (labels != predictions).any():
        key = {
            "class, where it is predicted right": INK,
            "true class → predicted class, where it is not": WRONG,
        }
    draw_tiles(
        [images, reconstructions],
        labels,
        predictions,
        [""] * count,
        class_names,
        title="Inputs (above) and their reconstructions (below)",
        key=key,
        most=10,
        largest=1.3,
        path=path,
    )
