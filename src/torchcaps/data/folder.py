"""A folder of class folders, read into memory, or where that is too small as it is needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from torchcaps.data.folder_listing import Listing, scan
from torchcaps.data.image_file import image_shape, read_pixels
from torchcaps.data.image_files import ImageFiles
from torchcaps.data.image_options import check_channels, check_size, size_advice
from torchcaps.data.images import ImageData
from torchcaps.data.memory_check import TooLarge, check_fits
from torchcaps.data.optional import require
from torchcaps.data.split import TEST_FRACTION, TrainTest, stratified_indices
from torchcaps.data.thread_pool import in_threads
from torchcaps.errors import InputError

__all__ = ["load_folder"]

Files = list[list[Path]]  # by class


def load_folder(
    root: Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    in_memory: bool | None = None,
) -> TrainTest:
    """Read `root`/CLASS/IMAGE, or `root`/train/CLASS/IMAGE and `root`/test/CLASS/IMAGE.

    In place of `test`, `val`, `valid` or `validation` will do. Without any, a fifth of each class
    becomes the test part, drawn with a fixed seed. Images may lie deeper in a class folder; hidden
    files are passed over.

    Args:
        root: the folder.
        image_size: side of a square, or (H, W), to resize to; None demands that all files agree.
        channels: 1 (grey) or 3 (RGB); None takes 1 if every file is grey, else 3.
        in_memory: False leaves the images in their files, from where they are read as they are
            needed (`ImageFiles`; now only what stands before their pixels); True reads them into
            memory; None does, where they fit.

    Returns:
        uint8 images, train and test, with the folders' names as class names.

    Raises:
        InputError: the folder is not of this form, a file cannot be read, sizes differ without
            `image_size`, or the images are to be read into memory and do not fit.
        MissingPackage: pillow is not installed.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     for number in range(5):
        ...         Image.new("RGB", (8, 8)).save(root / name / f"{number}.png")
        >>> load_folder(root).train.class_names
        ('cat', 'dog')
    """
    size, channels = check_size(image_size), check_channels(channels)
    require("PIL.Image", "pillow", "Reading image files")
    names, train, test = _with_test(root, scan(root))
    files = list(chain(*train, *test))
    labels = torch.cat([_labels(train), _labels(test)])
    name = root.resolve().name
    parts = (slice(sum(map(len, train))), slice(sum(map(len, train)), None))

    def left_in_files(shape: tuple[int, int, int]) -> TrainTest:
        resize = size is not None
        return TrainTest(
            *(
                ImageFiles(root, files[p], labels[p], names, name, shape=shape, resize=resize)
                for p in parts
            )
        )

    if in_memory is not False:
        try:
            images = _read(root, files, size, channels, copied=parts[0].stop)
        except TooLarge:
            if in_memory:
                raise
        else:
            held = TrainTest(*(ImageData(images[p], labels[p], names, name) for p in parts))
            _, *shape = images.shape
            for part, left in zip(held, left_in_files((shape[0], shape[1], shape[2]))):
                object.__setattr__(part, "in_files", left)
            return held
    return left_in_files(_shape(files, size, channels))


def _with_test(root: Path, listing: Listing) -> tuple[tuple[str, ...], Files, Files]:
    """Split off a test part, where there is none, before anything is read."""
    names, train, test = listing
    if test is not None:
        return names, train, test
    labels = _labels(train)
    files = list(chain(*train))
    rest, part = (
        [[files[i] for i in chosen[labels[chosen] == k].tolist()] for k in range(len(names))]
        for chosen in stratified_indices(
            labels,
            TEST_FRACTION,
            0,
            names,
            root,
            at_least_one=True,
            advice="bring test images of your own (the folders train and test)",
        )
    )
    return names, rest, part


def _labels(files: Files) -> Tensor:
    counts = torch.tensor([len(members) for members in files])
    return torch.arange(len(files)).repeat_interleave(counts)


def _shape(
    files: Sequence[Path], size: tuple[int, int] | None, channels: int | None
) -> tuple[int, int, int]:
    """(C, H, W) to which all files are brought."""
    shapes = in_threads(image_shape, files, "Looking at")
    for file, shape in zip(files, shapes):
        if size is None and shape[1:] != shapes[0][1:]:
            raise _differ(files[0], shapes[0][1:], file, shape[1:])
    height, width = size or shapes[0][1:]
    return channels or max(shape[0] for shape in shapes), height, width


def _read(
    root: Path,
    files: Sequence[Path],
    size: tuple[int, int] | None,
    channels: int | None,
    copied: int,
) -> Tensor:
    """Every file: uint8 [N, C, H, W]. So many images must find room a second time."""
    first = read_pixels(files[0], None, None)
    read = _Reader(root, files, size, first.shape[1:], copied)
    if channels is None and len(first) == 1:
        try:  # most often all are grey, so looking at every file beforehand would not pay
            return read(1, only_grey=True)
        except _ColourError:
            return read(3)
    return read(channels or 3)


@dataclass(frozen=True)
class _Reader:
    """Decodes `files` into one tensor, of `size`, or of the size of the first file."""

    root: Path
    files: Sequence[Path]
    size: tuple[int, int] | None
    first_size: tuple[int, ...]
    copied: int  # images of which training makes a copy, without those for validation

    def __call__(self, channels: int, only_grey: bool = False) -> Tensor:
        """uint8 [N, channels, H, W]; `only_grey` raises _ColourError at the first colour image."""
        height, width = self.size or self.first_size
        check_fits(
            (len(self.files) + self.copied) * channels * height * width,
            f"{self.root}: {len(self.files)} images of {channels}×{height}×{width}, and a copy of "
            "those to learn from,",
            "choose a smaller --image-size (image_size in Python), or leave out --in-memory",
        )
        images = torch.empty(len(self.files), channels, height, width, dtype=torch.uint8)
        array = images.numpy()  # assigning into an array costs less than into a tensor

        def read(index: int) -> None:
            file = self.files[index]
            pixels = read_pixels(file, self.size, None if only_grey else channels)
            if only_grey and len(pixels) != 1:
                raise _ColourError
            if pixels.shape[1:] != (height, width):
                raise _differ(self.files[0], self.first_size, file, pixels.shape[1:])
            array[index] = pixels

        in_threads(read, range(len(self.files)), "Reading")
        return images


class _ColourError(Exception):
    """Not every image is grey."""


def _differ(one: Path, its_size: tuple[int, ...], other: Path, size: tuple[int, ...]) -> InputError:
    return InputError(
        f"images differ in size: {one} is {_text(its_size)} and {other} is {_text(size)} "
        f"(height×width); {size_advice(its_size, size)}"
    )


def _text(size: tuple[int, ...]) -> str:
    return f"{size[0]}×{size[1]}"
