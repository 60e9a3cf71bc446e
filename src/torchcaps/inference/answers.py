"""What a model says of image files, batch by batch."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from torchcaps.errors import InputError
from torchcaps.inference.reading import Invert, ReadImage, check_readable, read_ahead, read_for
from torchcaps.models import Classifier
from torchcaps.models.images_at_once import check_answers, images_at_once

__all__ = ["Answer", "answer_files"]

AHEAD = 2  # batches that are read while one is answered


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of one image file.

    Attributes:
        path: of the file.
        activation: of every class; empty where the file could not be read.
        nearest: number of the class with the largest activation, or None.
        known: whether that activation reaches the threshold; if not, the picture shows none of the
            classes.
        inverted: whether dark and light were swapped.
        error: why the file could not be read, or None.
        pixels: `[C, H, W]` in [0, 1], as the model saw it; None where that was not asked for.
        reconstruction: `[C, H, W]`, of the nearest class; likewise.
    """

    path: Path
    activation: tuple[float, ...] = ()
    nearest: int | None = None
    known: bool = False
    inverted: bool = False
    error: str | None = None
    pixels: Tensor | None = None
    reconstruction: Tensor | None = None

    @property
    def largest(self) -> float:
        """The activation of the nearest class."""
        return math.nan if self.nearest is None else self.activation[self.nearest]


def answer_files(
    model: Classifier,
    paths: Sequence[Path],
    *,
    threshold: float | None = None,
    invert: Invert = "auto",
    batch_size: int | None = None,
    keep_images: bool = False,
    advance: Callable[[int], object] | None = None,
) -> Iterator[Answer]:
    """Answer for each file, in order; the next batches are read in threads meanwhile.

    A file that cannot be read gets an answer with its error, and does not stop the others.

    Args:
        model: on the device to use, in evaluation mode.
        paths: of image files.
        threshold: largest activation below which an image shows none of the classes; default: the
            model's own (`Classifier.threshold`).
        invert: see `read_for`.
        batch_size: images at once; has no effect on answers but rounding. Default:
            `images_at_once`.
        keep_images: give the pixels and the reconstruction with each answer.
        advance: called with the number of files that have been answered since the last call.

    Raises:
        InputError: a model of images that no file holds, or that answers with NaN.
    """
    check_readable(model)
    if isinstance(paths, str | Path):
        raise TypeError(f"paths must be a list of them, got {paths!r}")
    paths = [Path(path) for path in paths]
    batch_size = min(batch_size or images_at_once(model.image_size), max(1, len(paths)))
    least = model.threshold if threshold is None else threshold
    read = partial(_read_or_say, model, invert)
    found = zip(paths, read_ahead(read, paths, most=AHEAD * batch_size))
    while group := list(islice(found, batch_size)):
        yield from _answers(model, group, least, keep_images)
        if advance is not None:
            advance(len(group))


def _read_or_say(model: Classifier, invert: Invert, path: Path) -> ReadImage | str:
    """The image, or the sentence that says why there is none."""
    try:
        return read_for(model, path, invert)
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"


@torch.no_grad()
def _answers(
    model: Classifier,
    group: Sequence[tuple[Path, ReadImage | str]],
    least: float,
    keep_images: bool,
) -> list[Answer]:
    images = [read for _, read in group if isinstance(read, ReadImage)]
    answered: Iterator[tuple[list[float], int, Tensor | None]] = iter(())
    if images:
        device = next(model.parameters()).device
        output = model(torch.stack([image.pixels for image in images]).to(device))
        drawn = output.reconstruction
        pictures = [None] * len(images) if drawn is None or not keep_images else list(drawn.cpu())
        activation = output.activation.float().cpu()
        check_answers(activation, model)
        answered = zip(activation.tolist(), activation.argmax(dim=1).tolist(), pictures)
    answers = []
    for path, read in group:
        if isinstance(read, str):
            answers.append(Answer(path, error=read))
            continue
        lengths, nearest, picture = next(answered)
        answers.append(
            Answer(
                path,
                tuple(lengths),
                nearest,
                known=lengths[nearest] >= least,
                inverted=read.inverted,
                pixels=read.pixels if keep_images else None,
                reconstruction=picture,
            )
        )
    return answers
