"""Images that a model was not trained on, to be tried on its page."""

from torchcaps.data import ImageData, load_data
from torchcaps.errors import InputError
from torchcaps.models import Classifier
from torchcaps.training.build import describe_data, load_data_of
from torchcaps.training.config import read_train_config
from torchcaps.training.run_folder import RunFolder

__all__ = ["held_out_images"]


def held_out_images(model: Classifier, run: RunFolder | None = None) -> ImageData | None:
    """The held-out images of the run's data; the digits of the package if they cannot be had.

    Args:
        model: whose shape and classes they must have.
        run: in which it was trained, where that is known.

    Returns:
        The images, or None where there are none of the model's shape and classes.
    """
    test = None if run is None else images_of_run(run)
    for images in (test, load_data("mnist5k").test):
        if images is not None and (images.channels, images.image_size, images.class_names) == (
            model.channels,
            model.image_size,
            model.class_names,
        ):
            return images
    return None


def images_of_run(run: RunFolder) -> ImageData | None:
    """None where the data are gone, or are no longer those that the run began with.

    Nor are there any where an image has several classes: the page tells right from wrong by one.
    """
    try:
        parts = load_data_of(read_train_config(run.config))
        if describe_data(parts)["sha256"] != run.read_data_facts()["sha256"]:
            return None
    except (InputError, OSError):
        return None
    return None if parts.test.multi_label else parts.test
