"""A `.npz` archive of images and labels."""

import difflib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from torchcaps.data.channel_axis import channels_last
from torchcaps.data.image_options import check_channel_count, check_size
from torchcaps.data.images import ImageData
from torchcaps.data.memory_check import check_fits
from torchcaps.data.resize import resize
from torchcaps.data.split import TEST_FRACTION, TrainTest, stratified_split
from torchcaps.data.unit_range import check_unit_range
from torchcaps.errors import InputError

__all__ = ["load_npz"]

KEYS = ("images", "labels", "test_images", "test_labels", "class_names")
Arrays = Mapping[str, np.ndarray[Any, Any]]


def load_npz(
    path: Path,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> TrainTest:
    """Read `images`, `labels` and, where they are, `test_images`, `test_labels`, `class_names`.

    Without a test part, a fifth of each class becomes one, drawn with a fixed seed. Nothing is
    unpickled. Other arrays in the archive are left alone.

    Args:
        path: the archive. Images are [N, H, W], [N, H, W, C] or [N, C, H, W] of any number of
            channels, uint8 or float in [0, 1]; labels [N] integers from 0, without gaps unless
            `class_names` [K] are there; or where images show several classes, [N, K] of 0 and 1.
        image_size: side of a square, or (H, W), to resize to; None leaves the size.
        channels: 1 (grey) or 3 (RGB), to which images of 3 or 1 are brought; or how many there
            are, any number, where the shape leaves open which axis they are; None leaves them.

    Returns:
        train and test; uint8 stays uint8, any float becomes float32.

    Raises:
        InputError: the file is not such an archive, or does not fit into memory.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "toy.npz"
        >>> images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
        >>> np.savez(path, images=images, labels=labels)
        >>> load_npz(path).train
        ImageData('toy': 16 images 1×8×8 uint8, 2 classes)
    """
    size, channels = check_size(image_size), check_channel_count(channels)
    arrays = _read(path)
    has_test = "test_images" in arrays
    label_keys = ["labels", "test_labels"] if has_test else ["labels"]
    # A part alone may happen to show one class an image: that is told from all labels together.
    one_hot = all(_one_hot(arrays[key]) for key in label_keys)
    names = _class_names(path, arrays, label_keys, one_hot)

    train = resize(_part(path, arrays, "", names, channels, one_hot), size, channels)
    if not has_test:
        advice = "bring test images of your own (test_images and test_labels)"
        return TrainTest(*stratified_split(train, TEST_FRACTION, at_least_one=True, advice=advice))
    test = resize(_part(path, arrays, "test_", names, channels, one_hot), size, channels)
    if train.images.shape[1:] != test.images.shape[1:] or train.images.dtype != test.images.dtype:
        raise InputError(
            f"{path}: images is {_kind(train)} but test_images {_kind(test)}; "
            "expected the same size, channels and dtype in both"
        )
    return TrainTest(train, test)


def _part(
    path: Path,
    arrays: Arrays,
    prefix: str,
    names: tuple[str, ...],
    channels: int | None,
    one_hot: bool,
) -> ImageData:
    images = _images(arrays[f"{prefix}images"], f"{path}: {prefix}images", channels)
    labels = _labels(arrays[f"{prefix}labels"], f"{path}: {prefix}labels", one_hot)
    if len(images) != len(labels):
        raise InputError(
            f"{path}: {prefix}images holds {len(images)} images but {prefix}labels "
            f"{len(labels)} labels; expected one label per image"
        )
    return ImageData(images, labels, names, path.stem)


def _read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            keys = _check_keys(path, members)
            needed = sum(_header_bytes(path, archive, members[key], key) for key in keys)
            # twice: channels-last images are rearranged, and parts are copied out
            check_fits(2 * needed, str(path), "store uint8 instead of floats, or smaller images")
            return {key: _array(archive, members[key]) for key in keys}
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a .npz archive") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path} is not a whole .npz archive ({error}); "
            "write it with numpy.savez_compressed(path, images=..., labels=...)"
        ) from error
    except MemoryError:
        raise
    # Besides BadZipFile, damaged archives make zipfile, zlib and numpy raise errors of many kinds.
    except Exception as error:
        raise InputError(
            f"{path} is truncated or damaged ({error or type(error).__name__}); write it again"
        ) from error


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """The members by the names of their arrays, which must differ."""
    members: dict[str, str] = {}
    for name in archive.namelist():
        key = name.removesuffix(".npy")
        if key in members:
            raise InputError(
                f"{path} holds {key!r} twice, as {members[key]!r} and {name!r}; "
                "write it again with one array of each name"
            )
        members[key] = name
    return members


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray[Any, Any]:
    with archive.open(member) as file:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _check_keys(path: Path, members: Mapping[str, str]) -> list[str]:
    """Which arrays to read; a missing or misspelt one is an error."""
    there = ", ".join(sorted(members)) or "nothing"
    expected = "expected images and labels, optionally test_images, test_labels, class_names"
    for key in ("images", "labels"):
        if key not in members:
            raise InputError(f"{path} has no array {key!r}, it holds {there}; {expected}")
    if ("test_images" in members) != ("test_labels" in members):
        missing = "test_labels" if "test_images" in members else "test_images"
        raise InputError(f"{path} has no array {missing!r}, it holds {there}; {expected}")
    for name in members:
        close = difflib.get_close_matches(name, [k for k in KEYS if k not in members], 1, 0.8)
        if name not in KEYS and close:
            raise InputError(f"{path} holds {name!r}; rename it to {close[0]!r} ({expected})")
    return [key for key in KEYS if key in members]


def _header_bytes(path: Path, archive: zipfile.ZipFile, member: str, key: str) -> int:
    """The size that one array will take, from its header alone."""
    with archive.open(member) as file:
        shape, dtype = _array_header(file)
    if dtype.hasobject:
        raise InputError(
            f"{path}: {key} is an array of Python objects, which could run code when read; "
            "store numbers (or strings, for class_names) with a plain dtype"
        )
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    shape, _, dtype = read(file)
    return shape, dtype


def _images(array: np.ndarray[Any, Any], what: str, channels: int | None) -> Tensor:
    """[N, C, H, W], uint8 or float32."""
    if array.ndim not in (3, 4) or array.size == 0:
        raise InputError(
            f"{what} has shape {list(array.shape)}; expected [N, H, W], [N, H, W, C] or "
            "[N, C, H, W] with at least one image"
        )
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InputError(
            f"{what} has dtype {array.dtype}; expected uint8, or float in [0, 1] "
            "(for pixels from 0 to 255: .astype('uint8'))"
        )
    if array.dtype == np.uint8 and array.max() == 1:
        raise InputError(
            f"{what} holds 0 and 1 alone, and white is 255 among bytes; multiply it by 255, or "
            "store it as floats"
        )
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        advice = "divide pixels by 255, or store uint8"
        check_unit_range(low, high, f"{what} holds numbers", advice)
        array = array.astype(np.float32, copy=False)
    if array.ndim == 3:
        array = array[:, None]
    elif channels_last(array.shape[1:], f"{what}: an image", channels):
        array = array.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(array))


def _labels(array: np.ndarray[Any, Any], what: str, one_hot: bool) -> Tensor:
    """int64 [N], or [N, K] of 0 and 1, unless all labels are one-hot."""
    if array.ndim == 2 and array.size and array.dtype.kind in "uib" and not one_hot:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 1:
            raise InputError(
                f"{what} [N, {array.shape[1]}] holds {low if low < 0 else high}; expected 0 and 1, "
                "whether each class is there, or integers [N], one class number per image"
                f"{_as_a_row(array)}"
            )
        return torch.from_numpy(array.astype(np.int64))
    if array.ndim != 1 or array.dtype.kind not in "ui" or len(array) == 0:
        hint = " (of one-hot labels take .argmax(1))" if array.ndim == 2 else ""
        hint = _as_a_row(array) or hint
        raise InputError(
            f"{what} is {array.dtype} of shape {list(array.shape)}; expected integers [N], one "
            f"class number per image, or integers [N, K] of 0 and 1{hint}"
        )
    if int(array.min()) < 0 or int(array.max()) >= 2**31:
        wrong = array.min() if array.min() < 0 else array.max()
        raise InputError(f"{what} holds {wrong}; expected class numbers from 0")
    return torch.from_numpy(array.astype(np.int64))


def _as_a_row(array: np.ndarray[Any, Any]) -> str:
    """What to do with labels that are class numbers, one below the other."""
    return " (of one column take .ravel())" if array.shape[1:] == (1,) else ""


def _one_hot(array: np.ndarray[Any, Any]) -> bool:
    """Whether every row has a single 1: such images are of one class each."""
    if array.ndim != 2 or array.dtype.kind not in "uib":
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _class_names(
    path: Path, arrays: Arrays, label_keys: list[str], one_hot: bool
) -> tuple[str, ...]:
    """The stored names, or the numbers that occur."""
    parts = [_labels(arrays[key], f"{path}: {key}", one_hot) for key in label_keys]
    if len({part.shape[1:] for part in parts}) > 1:
        shapes = " but ".join(f"{k} {list(part.shape)}" for k, part in zip(label_keys, parts))
        raise InputError(f"{path}: {shapes}; expected one kind of labels, of as many classes")
    labels = torch.cat(parts)
    if labels.ndim == 2 and labels.shape[1] == 1:
        raise InputError(
            f"{path}: {label_keys[0]} has shape {list(arrays[label_keys[0]].shape)}; expected "
            "integers [N], one class number per image: take .ravel(), or for images that show "
            "several classes [N, K] of 0 and 1, with two classes at least"
        )
    if labels.ndim == 2:
        return _names_of_columns(path, arrays, labels.shape[1])
    present = torch.unique(labels).tolist()
    if len(present) == 1:
        raise InputError(f"{path}: every label is {present[0]}; expected at least two classes")
    if "class_names" not in arrays:
        gap = next((k for k, label in enumerate(present) if k != label), None)
        if gap is not None:
            raise InputError(
                f"{path}: no label is {gap} though some are larger; expected 0, 1, 2, … without "
                "gaps, or the array class_names"
            )
        return tuple(map(str, present))
    names = _stored_names(path, arrays)
    if present[-1] >= len(names):
        raise InputError(
            f"{path}: a label is {present[-1]} but class_names holds {len(names)} names; "
            f"expected labels from 0 to {len(names) - 1}"
        )
    return names


def _names_of_columns(path: Path, arrays: Arrays, count: int) -> tuple[str, ...]:
    """The stored names, or the numbers of the columns of labels [N, K]."""
    if "class_names" not in arrays:
        return tuple(map(str, range(count)))
    names = _stored_names(path, arrays)
    if len(names) != count:
        raise InputError(
            f"{path}: labels have {count} columns but class_names holds {len(names)} names; "
            "expected one name per column"
        )
    return names


def _stored_names(path: Path, arrays: Arrays) -> tuple[str, ...]:
    names = arrays["class_names"]
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError(
            f"{path}: class_names is {names.dtype} of shape {list(names.shape)}; "
            "expected a 1-D array of strings"
        )
    try:
        return tuple(n.decode() if isinstance(n, bytes) else n for n in names.tolist())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: class_names is not UTF-8 ({error}); store str") from error


def _kind(data: ImageData) -> str:
    return f"{'×'.join(map(str, data.images.shape[1:]))} {data.images.dtype}"
