"""The published affNIST data set: Matlab files of transformed digits."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchcaps.data.images import ImageData
from torchcaps.data.memory_check import check_fits
from torchcaps.data.optional import require
from torchcaps.errors import InputError
from torchcaps.storage import expand_user

__all__ = ["read_affnist"]

SIDE = 40
STRUCT = "affNISTdata"


def read_affnist(path: str | Path) -> ImageData:
    """Read a .mat file of affNIST, such as `test.mat` or `1.mat` of the transformed digits.

    Args:
        path: a Matlab file, version 5, with the struct `affNISTdata`: its field `image`
            [1600, N] holds a digit a column, row by row; `label_int` [1, N] their classes.

    Returns:
        Images uint8 [N, 1, 40, 40] and labels, ten classes.

    Raises:
        InputError: no such file, not a Matlab file, or not this struct. MissingPackage: scipy is
            not installed.

    Nothing in the file is executed: its numbers and texts are read, and what else Matlab can store
    is refused.

    Reference: Tieleman (2013), the affNIST data set.
    """
    path = expand_user(path)
    scipy = require("scipy.io", "scipy", "affNIST's Matlab format", extra="affnist")
    if not path.is_file():
        raise InputError(f"{path} is not there: name a .mat file of affNIST")
    check_fits(8 * path.stat().st_size, str(path), "take one of the batches, 1.mat to 32.mat")
    try:
        found = scipy.loadmat(path, variable_names=[STRUCT], chars_as_strings=True)
    except NotImplementedError as error:
        raise InputError(
            f"{path} is a Matlab file of version 7.3; affNIST's are of version 5: get it again"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # the reader has no one error for what is damaged
        raise InputError(
            f"{path} cannot be read as a Matlab file ({error}): get it again"
        ) from error
    images, labels = (_field(found, name, path) for name in ("image", "label_int"))
    if images.ndim != 2 or images.shape[0] != SIDE * SIDE or images.dtype != np.uint8:
        raise _unlike(path, f"image is {images.dtype} of shape {list(images.shape)}")
    count = images.shape[1]
    if labels.size != count or labels.dtype.kind not in "uif":
        raise _unlike(path, f"label_int is {labels.dtype} of shape {list(labels.shape)}")
    numbers = labels.ravel().astype(np.int64)
    if count == 0 or numbers.min() < 0 or numbers.max() > 9 or (numbers != labels.ravel()).any():
        raise _unlike(path, "label_int holds other numbers than 0 to 9")
    pixels = torch.from_numpy(np.ascontiguousarray(images.T)).view(count, 1, SIDE, SIDE)
    return ImageData(pixels, torch.from_numpy(numbers), tuple("0123456789"), "affNIST")


def _field(found: dict[str, Any], name: str, path: Path) -> np.ndarray[Any, Any]:
    """A field of the struct, which Matlab keeps as an array of one."""
    struct = found.get(STRUCT)
    if (
        not isinstance(struct, np.ndarray)
        or struct.size != 1
        or name not in (struct.dtype.names or ())
    ):
        raise _unlike(path, f"there is no {STRUCT} with the field {name}")
    value = struct.ravel()[0][name]
    if not isinstance(value, np.ndarray):
        raise _unlike(path, f"{name} is {type(value).__name__}")
    return value


def _unlike(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is not a file of affNIST: {what}; expected the struct {STRUCT} with image, uint8 "
        f"[{SIDE * SIDE}, N], and label_int, [1, N] of 0 to 9"
    )
