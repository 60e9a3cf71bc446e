"""One name for any data: embedded, published, a folder or an archive."""

import difflib
import os
import zipfile
from pathlib import Path

from torchcaps.data.bundled_mnist import load_mnist5k
from torchcaps.data.download import fetch
from torchcaps.data.folder import load_folder
from torchcaps.data.folder_listing import has_test_part
from torchcaps.data.image_options import check_channels, check_size
from torchcaps.data.mnist import FAMILY, find_files, read_files
from torchcaps.data.npz import load_npz
from torchcaps.data.resize import resize
from torchcaps.data.split import TrainTest
from torchcaps.errors import InputError
from torchcaps.storage import expand_user

__all__ = ["TrainTest", "brings_test_part", "check_data_dir", "dataset_names", "load_data"]


def dataset_names() -> tuple[str, ...]:
    """The names that `load_data` knows besides paths.

    Example:
        >>> dataset_names()
        ('mnist5k', 'mnist', 'fashion-mnist')
    """
    return ("mnist5k", *FAMILY)


def load_data(
    name: str,
    data_dir: Path | str | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    in_memory: bool | None = None,
) -> TrainTest:
    """Load a data set, in two parts.

    Args:
        name: `mnist5k` (5,000 digits of MNIST that come with the package); `mnist` or
            `fashion-mnist` (60,000 + 10,000); or the path of a folder of class folders, or of a
            `.npz` (see `load_folder`, `load_npz`). A folder that is itself called `mnist` is
            reached as `./mnist`.
        data_dir: where the idx files of `mnist` and `fashion-mnist` lie; None downloads them to
            the cache (the environment variable TORCHCAPS_CACHE, or the platform's). Other names do
            not need it.
        image_size: side of a square, or (H, W), to resize to (bicubic, antialiased); None leaves
            the size.
        channels: 1 (grey) or 3 (RGB); None leaves them as they are. For a `.npz` also any other
            number, where its images have so many (see `load_npz`).
        in_memory: of a folder, False leaves the images in their files, to be read as they are
            needed, and None does so where they do not fit into memory. All other data are read into
            memory.

    Returns:
        TrainTest(train, test): images uint8 (from a `.npz` of floats: float32) and labels. What
        brings no test part gives a fifth of each class, drawn with a fixed seed.

    Raises:
        InputError: the name is unknown, an option is wrong, or the data are; the message says
            which file or value, what was expected and what to do.
        MissingPackage: pillow (folders) or pooch (downloads) is not installed.

    Example:
        >>> train, test = load_data("mnist5k")
        >>> len(train), len(test), train.image_size
        (4000, 1000, (28, 28))
    """
    size = check_size(image_size)
    name = os.fspath(name)
    if not name.lower().endswith(".npz"):
        channels = check_channels(channels)
    path = expand_user(name)
    data_dir = None if data_dir is None else expand_user(data_dir)
    there = name in dataset_names() or os.path.lexists(path)
    if in_memory is False and there and not os.path.isdir(path):
        raise InputError(
            f"{name} is no folder of images, and only these can be read as they are needed: "
            "leave out --in-memory no (in_memory in Python)"
        )
    if name in FAMILY:
        dataset = FAMILY[name]
        files = find_files(dataset, data_dir) if data_dir is not None else fetch(dataset)
        parts = read_files(dataset, files)
    elif name == "mnist5k":
        parts = load_mnist5k()
    else:
        return _from_path(name, data_dir, size, channels, in_memory)
    return TrainTest(*(resize(part, size, channels) for part in parts))


def check_data_dir(data: str, data_dir: Path | None) -> None:
    """Raise where a folder of files is given beside data that have none in it.

    Raises:
        InputError: `load_data` would not look into it.
    """
    if data_dir is None or data in FAMILY:
        return
    if data in dataset_names() or expand_user(data).exists():
        raise InputError(
            f"--data-dir {data_dir} is for the files of {' and '.join(FAMILY)} alone, and the data "
            f"are {data}: leave it out"
        )


def brings_test_part(name: str) -> bool:
    """Whether data say themselves which images are to be judged on; of others a fifth is drawn."""
    path = expand_user(name)
    if name in dataset_names():
        return True
    if path.is_dir():
        return has_test_part(path)
    with zipfile.ZipFile(path) as archive:
        return any(key.removesuffix(".npy") == "test_images" for key in archive.namelist())


def _from_path(
    name: str,
    data_dir: Path | None,
    size: tuple[int, int] | None,
    channels: int | None,
    in_memory: bool | None,
) -> TrainTest:
    path = expand_user(name)
    if path.is_dir():
        return load_folder(path, size, channels, in_memory=in_memory)
    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise InputError(
                f"{path} is a file but not a .npz; expected a .npz archive, a folder of class "
                f"folders, or one of {', '.join(dataset_names())}"
            )
        return load_npz(path, size, channels)
    if path.exists():
        raise InputError(
            f"{path} is a pipe, a socket or a device; expected a folder of class folders or a .npz "
            "archive"
        )
    if path.suffix.lower() == ".npz" or len(path.parts) > 1:
        raise InputError(
            f"{path} does not exist; expected a folder of class folders or a .npz archive"
        )
    close = difflib.get_close_matches(name.lower(), dataset_names(), 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    if data_dir is not None and (data_dir / name).exists():
        hint = f" (did you mean the path {data_dir / name}?)"
    raise InputError(
        f"unknown data {name!r}{hint}: expected one of {', '.join(dataset_names())}, "
        "or the path of a folder of class folders or of a .npz"
    )
