"""Images that stand among those to learn from and among those to be judged on."""

import hashlib
from collections.abc import Iterator

from torchcaps.data.image_files import ImageFiles
from torchcaps.data.images import ImageData
from torchcaps.data.split import TrainTest

__all__ = ["repeated_images"]

MOST_BYTES = 2**30  # of files that are read for this; more take too long


def repeated_images(data: TrainTest) -> int:
    """How many of the images to be judged on are, pixel for pixel, among those to learn from.

    Of images that stay in their files, how many files hold the same bytes; 0 where these would be
    too many to read.

    Example:
        >>> import torch
        >>> images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(-1, 1, 4, 4)
        >>> three = ImageData(images, torch.tensor([0, 1, 0]), ("a", "b"), "three greys")
        >>> repeated_images(TrainTest(three, three.subset(torch.tensor([2]))))
        1
    """
    train, test = data
    if isinstance(train, ImageFiles) and isinstance(test, ImageFiles):
        return repeated_files(train, test)
    if isinstance(train, ImageFiles) or isinstance(test, ImageFiles):
        return 0
    known = set(digests(train))
    return sum(digest in known for digest in digests(test))


def digests(data: ImageData) -> Iterator[bytes]:
    """Of each image, a number that no other has."""
    array = data.images.contiguous().numpy()
    return (hashlib.blake2b(image.data, digest_size=16).digest() for image in array)


def repeated_files(train: ImageFiles, test: ImageFiles) -> int:
    """The same of files; those of another size are others."""
    sizes = [{file: file.stat().st_size for file in part.files} for part in (train, test)]
    both = set(sizes[0].values()) & set(sizes[1].values())
    alike = [[file for file, size in part.items() if size in both] for part in sizes]
    if sum(part[file] for part, files in zip(sizes, alike) for file in files) > MOST_BYTES:
        return 0
    first, second = ([hashlib.sha256(f.read_bytes()).digest() for f in files] for files in alike)
    known = set(first)
    return sum(digest in known for digest in second)
