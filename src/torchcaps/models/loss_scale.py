"""How the two terms of a capsule network's loss are weighed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torchcaps.types import check_choice, check_number, check_switch

__all__ = ["LOSS_SCALES", "LossScale", "find_loss_scale"]


class LossScale(NamedTuple):
    """Weights of the two terms of the loss.

    Attributes:
        margin: factor of Eq 4.
        average_classes: divide Eq 4 by the number of classes.
        reconstruction: factor of the sum of squared pixel errors.
    """

    margin: float
    average_classes: bool
    reconstruction: float


LOSS_SCALES = {
    # §4.1: Eq 4 summed over the classes, plus 0.0005 of the sum of squared errors.
    "paper": LossScale(margin=1.0, average_classes=False, reconstruction=0.0005),
    # The authors' code: half of Eq 4, averaged over the classes. With ten of them, the
    # reconstruction weighs 20 times more beside it than in the paper.
    "authors": LossScale(margin=0.5, average_classes=True, reconstruction=0.0005),
}


def find_loss_scale(scale: str | LossScale | Mapping[str, Any]) -> LossScale:
    """A loss scale by its name, by its fields, or as it is."""
    if isinstance(scale, Mapping):
        try:
            scale = LossScale(**scale)
        except TypeError as error:
            fields = ", ".join(LossScale._fields)
            raise ValueError(f"loss_scale must have the fields {fields}, got {scale!r}") from error
    if isinstance(scale, LossScale):
        check_number("margin of loss_scale", scale.margin, least=0)
        check_switch("average_classes of loss_scale", scale.average_classes)
        check_number("reconstruction of loss_scale", scale.reconstruction, least=0)
        return scale
    check_choice("loss_scale", scale, tuple(LOSS_SCALES))
    return LOSS_SCALES[scale]


def loss_scale_config(scale: LossScale) -> str | dict[str, Any]:
    """The name of a loss scale, or its fields: a JSON value that `find_loss_scale` takes."""
    names = {known: name for name, known in LOSS_SCALES.items()}
    return names.get(scale, scale._asdict())
