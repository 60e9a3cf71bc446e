"""Train and test parts, drawn class by class."""

from typing import NamedTuple

import torch
from torch import Tensor

from torchcaps.data.images import ImageData
from torchcaps.errors import InputError

__all__ = [
    "TEST_FRACTION",
    "TrainTest",
    "check_parts",
    "split_off_validation",
    "stratified_indices",
    "stratified_split",
]

TEST_FRACTION = 0.2  # of data that bring no test part of their own
SMALL_CLASS = 10  # images; of which a fraction may round to none


class TrainTest(NamedTuple):
    """The images to learn from and the images to be judged on."""

    train: ImageData
    test: ImageData


def check_parts(data: TrainTest) -> None:
    """Raise unless what is learned from the one part can be judged on the other.

    Raises:
        TypeError: it is no `TrainTest`, or a part of it no `ImageData`.
        InputError: their images differ in shape, their classes in number, name or order, or one
            part alone has several classes an image.
    """
    if not isinstance(data, TrainTest):
        raise TypeError(
            f"data is {type(data).__name__}; expected a TrainTest of images to train on and to be "
            "judged on"
        )
    for name, part in zip(data._fields, data):
        if not isinstance(part, ImageData):
            raise TypeError(
                f"{name} of a TrainTest is {type(part).__name__}; expected ImageData, such as "
                "ImageData.from_dataset makes of a data set"
            )
    train, test = data
    whose = f"the test images of {test.name} do not fit the training images"
    shape, other = ("×".join(map(str, (p.channels, *p.image_size))) for p in (train, test))
    if shape != other:
        raise InputError(
            f"{whose}: {other} (channels×height×width) beside {shape}: bring both to one shape"
        )
    if train.multi_label != test.multi_label:
        several, one = ("test", "training") if test.multi_label else ("training", "test")
        raise InputError(
            f"{whose}: the labels of the {several} images are several classes an image ([N, K] of "
            f"0 and 1), and those of the {one} images one ([N]): give both in one form"
        )
    if train.num_classes != test.num_classes:
        raise InputError(
            f"{whose}: they have {test.num_classes} classes, and those {train.num_classes}: give "
            "both the class_names of the whole; a part may lack images of a class"
        )
    for number, (one, another) in enumerate(zip(train.class_names, test.class_names), 1):
        if one != another:
            raise InputError(
                f"{whose}: their class {number} is {another!r}, and that of the others {one!r}: "
                "give both the same class_names, in the same order, with labels that count in it"
            )


def stratified_split(
    data: ImageData,
    fraction: float,
    seed: int = 0,
    *,
    at_least_one: bool = False,
    advice: str = "change the fraction",
) -> tuple[ImageData, ImageData]:
    """Split off `round(fraction * n)` of the n images of each class, at random.

    Args:
        data: what to split; it is not changed.
        fraction: share of each class that goes into the part, in (0, 1).
        seed: which random choice. The same seed gives the same choice, whatever the state of
            torch's global generator, which is neither read nor moved.
        at_least_one: a class of 2 to 10 images gives one where the fraction would take none.
        advice: what else can be done about a class that is too small, where the fraction is not
            the caller's.

    Returns:
        (rest, part), each in the original order of the images.

    Raises:
        InputError: `fraction` is outside (0, 1), or a class is so small that the rest or the part
            would have none of it. Images with several classes are split by the rarest of each;
            they are refused only where the part would have no image at all.

    Example:
        >>> import torch
        >>> labels = torch.arange(10) % 2
        >>> images = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)
        >>> rest, part = stratified_split(ImageData(images, labels, ("a", "b"), "toy"), 0.2)
        >>> len(rest), part.labels.sort().values.tolist()
        (8, [0, 1])
    """
    groups, names = strata(data)
    rest, part = stratified_indices(
        groups,
        fraction,
        seed,
        names,
        data.name,
        at_least_one=at_least_one or data.multi_label,
        advice=advice,
        strict=not data.multi_label,  # there groups only spread the classes evenly
    )
    return data.subset(rest), data.subset(part)


def split_off_validation(data: ImageData, fraction: float) -> tuple[ImageData, ImageData | None]:
    """(training, validation) images; the same split in every run, whatever its seed.

    Small classes give one image at least; a class of a single image keeps it for training.
    """
    if fraction == 0:
        return data, None
    groups, names = strata(data)
    alone = torch.bincount(groups, minlength=len(names))[groups] == 1
    rest, part = stratified_indices(
        groups.masked_fill(alone, -1),
        fraction,
        0,
        names,
        data.name,
        at_least_one=True,
        advice="take another --validation",
    )
    return (data.subset(rest), data.subset(part)) if len(part) else (data, None)


def strata(data: ImageData) -> tuple[Tensor, tuple[str, ...]]:
    """The group `[N]` by which each image is split, and the groups' names.

    The group is the class; of an image with several classes the rarest of them, and of one with
    none a group beside all classes.
    """
    labels = data.labels.cpu()
    if not data.multi_label:
        return labels, data.class_names
    rarest_first = labels.sum(dim=0).argsort(stable=True)
    groups = rarest_first[labels[:, rarest_first].argmax(dim=1)]
    groups = torch.where(labels.any(dim=1), groups, len(data.class_names))
    return groups, (*data.class_names, "none of them")


def stratified_indices(
    labels: Tensor,
    fraction: float,
    seed: int,
    class_names: tuple[str, ...],
    source: object,
    *,
    at_least_one: bool = False,
    advice: str,
    strict: bool = True,
) -> tuple[Tensor, Tensor]:
    """As `stratified_split`, on labels [N] alone: the positions of (rest, part), ascending.

    `source` is what a message calls the data. Unless it is strict, the rest keeps all of a class
    that is too small.
    """
    if not 0 < fraction < 1:  # also false for NaN
        raise InputError(f"fraction is {fraction}; expected more than 0 and less than 1")
    generator = torch.Generator().manual_seed(seed)
    in_part = torch.zeros(len(labels), dtype=torch.bool)
    for number, name in enumerate(class_names):
        members = (labels == number).nonzero().flatten()
        n = len(members)
        if n == 0:
            continue
        taken = round(fraction * n)
        if at_least_one and n <= SMALL_CLASS:
            taken = max(taken, 1)
        if not strict:
            taken = min(taken, n - 1)
        elif not 0 < taken < n:
            raise InputError(
                f"{source}: class {name!r} has {n} image{'s' if n > 1 else ''}: a fraction of "
                f"{fraction:g} would take {taken} of them; add images to the class, or {advice}"
            )
        in_part[members[torch.randperm(n, generator=generator)[:taken]]] = True
    if not strict and not in_part.any():
        raise InputError(
            f"{source}: a fraction of {fraction:g} would take none of its {len(labels)} images; "
            f"add images, or {advice}"
        )
    return (~in_part).nonzero().flatten(), in_part.nonzero().flatten()
