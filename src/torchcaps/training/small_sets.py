"""Batches and epochs where there are few training images."""

import math
from dataclasses import replace

from torchcaps.training.config import EPOCHS, TrainConfig

__all__ = ["fit_to_size"]

SMALLEST_BATCH = 8  # normalisation over fewer images is noise
FEWEST_STEPS = 500  # fewer leave most of what a small set holds unlearned
MOST_EPOCHS = 100


def fit_to_size(config: TrainConfig, images: int) -> tuple[TrainConfig, list[str]]:
    """The config for so many images, with smaller batches or more epochs; and what to say of it.

    Smaller batches where the images do not fill one, or four of the default size. More epochs,
    unless their number is given, where the usual number of them makes fewer than 500 steps.

    Example:
        >>> config, said = fit_to_size(TrainConfig(), 540)
        >>> config.batch_size, config.epochs
        (64, 63)
        >>> said
        ['an epoch has 8 steps: 63 epochs are taken instead of 20 (--epochs sets their number)']
    """
    said = []
    asked = config.batch_size
    if images < (4 * asked if asked == TrainConfig.batch_size else asked):
        size = min(images, max(SMALLEST_BATCH, images // 4 // SMALLEST_BATCH * SMALLEST_BATCH))
        said.append(
            f"there are {images} training images, too few for --batch-size {asked}: "
            f"batches of {size} are taken"
        )
        config = replace(config, batch_size=size)
    if config.epochs is None:
        steps = images // config.batch_size
        epochs = min(MOST_EPOCHS, max(EPOCHS, math.ceil(FEWEST_STEPS / steps)))
        if epochs > EPOCHS:
            said.append(
                f"an epoch has {steps} steps: {epochs} epochs are taken instead of {EPOCHS} "
                "(--epochs sets their number)"
            )
        config = replace(config, epochs=epochs)
    return config, said
