"""Whether a network can take a step at all, found out before a run has a folder."""

from contextlib import suppress

import torch

from torchcaps.errors import InputError
from torchcaps.models import Classifier
from torchcaps.routing.base import Routing
from torchcaps.training.config import TrainConfig

__all__ = ["check_step"]

ALONE = "more than 1 value per channel"  # what torch says of a batch that cannot be normalised


def check_step(model: Classifier, config: TrainConfig) -> None:
    """Send a batch without memory through a network, as training does.

    Args:
        model: on the meta device, where nothing is computed; not to be used afterwards.
        config: the size of its batches, and the options that are named where they do not fit.

    Raises:
        InputError: options that contradict each other, or batches of one image where a layer
            normalises over the batch.
    """
    for module in model.modules():
        if isinstance(module, Routing):
            module.backend = "reference"  # kernels have no meta device
    shape = (config.batch_size, model.channels, *model.image_size)
    try:
        # A routing of one's own may look at its numbers, of which there are none here.
        with torch.no_grad(), suppress(RuntimeError):
            model.train()(torch.empty(shape, device="meta"))
    except (ValueError, TypeError) as error:
        if ALONE in str(error):
            raise InputError(
                f"--batch-size {config.batch_size} is too small for a {type(model).__name__}, "
                "which normalises over the images of a batch: take a larger one"
            ) from error
        given = {"--routing": config.routing, "--model-options": config.model_options}
        named = " and ".join(name for name, value in given.items() if value is not None)
        raise InputError(
            f"{named or 'the options'} cannot be used with a {type(model).__name__}: {error}"
        ) from error
