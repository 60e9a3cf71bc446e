"""Images that stand in two places where they do harm: to be judged on too, or in two classes."""

import hashlib
from collections import Counter
from typing import NamedTuple

from torchcaps.data.image_files import ImageFiles
from torchcaps.data.images import ImageData
from torchcaps.data.split import TrainTest

__all__ = ["Repeated", "repeated_images"]

MOST_BYTES = 2**30  # of files that are read for this; more take too long

Digests = list[bytes | None]  # of each image a number that no other has; None: nobody looked


class Repeated(NamedTuple):
    """What is there more than once.

    Attributes:
        held_out: how many of the images to be judged on are among those to learn from.
        in_two_classes: positions of two images to learn from that are alike and have different
            labels: the first two of each picture.
    """

    held_out: int
    in_two_classes: list[tuple[int, int]]


def repeated_images(data: TrainTest) -> Repeated:
    """Which images are there more than once, pixel for pixel.

    Of images that stay in their files, which files hold the same bytes; none where these would be
    too many to read.

    Example:
        >>> import torch
        >>> images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(-1, 1, 4, 4)
        >>> three = ImageData(images, torch.tensor([0, 1, 0]), ("a", "b"), "three greys")
        >>> repeated_images(TrainTest(three, three.subset(torch.tensor([2])))).held_out
        1
    """
    train, test = data
    if isinstance(train, ImageFiles) and isinstance(test, ImageFiles):
        learned, judged, all_read = digests_of_files(train, test)
        if not all_read:  # of those in two classes one would find some by chance
            return Repeated(count_of(learned, judged), [])
    elif isinstance(train, ImageFiles) or isinstance(test, ImageFiles):
        return Repeated(0, [])
    else:
        learned, judged = digests(train), digests(test)
    return Repeated(count_of(learned, judged), in_two_classes(train, learned))


def count_of(learned: Digests, judged: Digests) -> int:
    """How many images to be judged on are among those to learn from."""
    known = set(learned) - {None}
    return sum(digest in known for digest in judged)


def in_two_classes(data: ImageData, digests: Digests) -> list[tuple[int, int]]:
    """See `Repeated`."""
    if len(set(digests)) == len(digests):
        return []
    labels = data.labels.tolist()
    first: dict[bytes, int] = {}  # position of each picture
    pairs: dict[bytes, tuple[int, int]] = {}
    for position, digest in enumerate(digests):
        if digest is None:
            continue
        one = first.setdefault(digest, position)
        if labels[one] != labels[position]:
            pairs.setdefault(digest, (one, position))
    return sorted(pairs.values())


def digests(data: ImageData) -> Digests:
    """Of images in memory."""
    array = data.images.contiguous().numpy()
    return [hashlib.blake2b(image.data, digest_size=16).digest() for image in array]


def digests_of_files(train: ImageFiles, test: ImageFiles) -> tuple[Digests, Digests, bool]:
    """Of both parts, and whether all were read that may be like another: a file of a size that no
    other has is like no other. Where these are too many, those that both parts may have."""
    learned, judged = ([file.stat().st_size for file in part.files] for part in (train, test))
    both = set(learned) & set(judged)
    twice = {size for size, count in Counter(learned).items() if count > 1}
    for wanted in (both | twice, both):
        if sum(size for size in learned + judged if size in wanted) <= MOST_BYTES:
            break
    else:
        wanted = set()
    first, second = (
        [
            hashlib.sha256(file.read_bytes()).digest() if size in wanted else None
            for file, size in zip(part.files, sizes)
        ]
        for part, sizes in ((train, learned), (test, judged))
    )
    return first, second, wanted == both | twice
