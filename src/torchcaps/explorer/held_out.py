"""Images that a model was not trained on, to be tried on its page."""

from torchcaps.data import ImageData, load_data
from torchcaps.errors import InputError
from torchcaps.models import Classifier
from torchcaps.training.build import has_digest, load_data_of
from torchcaps.training.config import read_train_config
from torchcaps.training.run_folder import RunFolder

__all__ = ["find_held_out", "held_out_images"]

# What the metadata of models call the training images of the package.
OF_PACKAGE = ("mnist5k", "images of one or two digits of mnist5k")


def held_out_images(model: Classifier, run: RunFolder | None = None) -> ImageData | None:
    """The held-out images of the run's data, if they cannot be had perhaps those of the package.

    These are held out only from a model that learned from the package's own training images: all of
    them are training images of MNIST.

    Args:
        model: whose shape and classes they must have.
        run: in which it was trained, where that is known.

    Returns:
        The images, or None where there are none of the model's shape and classes.
    """
    return find_held_out(model, run)[0]


def find_held_out(
    model: Classifier, run: RunFolder | None = None, *, several: bool = False
) -> tuple[ImageData | None, str]:
    """The same, and in a clause why those of the run are not there, or nothing.

    Args:
        model, run: as above.
        several: of images with several classes too; the page tells right from wrong by one.
    """
    test, why = (None, "") if run is None else images_of_run(run)
    if test is not None and test.multi_label and not several:
        test = None
    of_package = model.metadata.get("data") in OF_PACKAGE
    for images in (test, load_data("mnist5k").test if of_package else None):
        if images is not None and (images.channels, images.image_size, images.class_names) == (
            model.channels,
            model.image_size,
            model.class_names,
        ):
            return images, "" if images is test else why
    return None, why


def images_of_run(run: RunFolder) -> tuple[ImageData | None, str]:
    """None where the data are gone, or are no longer those that the run began with; and why.

    Where the run's own files are damaged they are named, for the data may well be there.
    """
    try:
        config = run.found_again(read_train_config(run.config))
        began_with = run.read_data_facts()["sha256"]
    except (InputError, OSError) as error:
        return None, str(error)
    try:
        parts = load_data_of(config)
        if not has_digest(parts, began_with):
            return None, f"{config.data} does not hold the images that {run.path} was trained on"
    except (InputError, OSError) as error:
        return None, f"the data of {run.path} were not found ({error})"
    return parts.test, ""
