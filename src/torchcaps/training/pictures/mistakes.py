"""The images that a model takes for another class."""

from collections.abc import Sequence

from torch import Tensor

from torchcaps.training.pictures.style import WRONG, Path
from torchcaps.training.pictures.text import thousands
from torchcaps.training.pictures.tiles import MARGIN, check_count, draw_tiles, sheet, write

__all__ = ["draw_mistakes"]


def draw_mistakes(
    images: Tensor,
    labels: Tensor,
    predictions: Tensor,
    confidences: Tensor,
    class_names: Sequence[str],
    *,
    path: Path,
    total: int,
    warning: str = "",
) -> None:
    """Draw the most confident mistakes as tiles, each with "true → predicted (confidence)".

    Without any mistake the figure says so in words.

    Args:
        images: [N, C, H, W] in [0, 1], drawn in this order: sort by falling confidence before.
            Shown as in `draw_reconstructions`. N may be 0; beyond 24 the rest is not drawn.
        labels, predictions: [N], true and predicted class.
        confidences: [N] in [0, 1], the activation of the predicted class.
        class_names: the name of each class.
        path: the PNG file to write.
        total: how many mistakes there are in all, drawn or not.
        warning: what is wrong with the network, said above them in place of their confidence: of
            one that has not learned it means nothing.

    Raises:
        ValueError: the shapes do not belong together, or `total` is not a possible number.
    """
    check_count(len(images), labels=labels, predictions=predictions, confidences=confidences)
    if total < len(images) or (total > 0 and len(images) == 0):
        raise ValueError(f"total is {total} mistakes, but {len(images)} images came with it")
    if total == 0:
        with sheet(5.0, path=path) as axes:
            words = "No mistakes: every prediction is right."
            write(axes, MARGIN, 0.38, words, size=11, weight="bold")
        return
    count = min(len(images), 24)
    draw_tiles(
        [images[:count]],
        labels[:count],
        predictions[:count],
        [f" ({_rounded(confidence)})" for confidence in confidences[:count].tolist()],
        class_names,
        title=f"{count} of {thousands(total)} mistakes" if warning else _title(count, total),
        key={"true class → predicted class (its activation)": WRONG},
        warning=warning,
        most=6,
        largest=1.4,
        path=path,
    )


def _rounded(confidence: float) -> str:
    """Two decimals, but never a certainty that is not there."""
    return f"{confidence:.2f}" if confidence < 0.995 else "> 0.99"


def _title(count: int, total: int) -> str:
    if count < total:
        return f"The {count} most confident of {thousands(total)} mistakes"
    return f"The {count} mistakes, the most confident first" if count > 1 else "The only mistake"
