"""mnist5k: 5,000 real MNIST digits that come with the package."""

import lzma
from importlib.resources import files
from io import BytesIO

import torch

from torchcaps.data.idx import UInt8Array, parse_idx
from torchcaps.data.images import ImageData
from torchcaps.data.split import TrainTest

__all__ = ["TRAIN_IMAGES", "load_mnist5k"]

TRAIN_IMAGES = 4000  # the first 4,000 images are the train part, the last 1,000 the test part


def load_mnist5k() -> TrainTest:
    """Read the embedded digits: 400 of each class to train on, 100 of each to test on.

    All 5,000 are training images of MNIST, 500 of each digit; no two are the same and none is among
    MNIST's 10,000 test images. Which are in the test part was drawn once, when the resource was
    made, and is fixed by their order in it. Made for trying things out: a figure to compare with
    published ones needs the whole of MNIST.

    Returns:
        train, 4,000 images, and test, 1,000: uint8 [N, 1, 28, 28].

    Example:
        >>> load_mnist5k().train
        ImageData('mnist5k': 4000 images 1×28×28 uint8, 10 classes)
    """
    folder = files(__package__) / "mnist5k"
    images, labels = (
        _read((folder / name).read_bytes(), axes, name)
        for name, axes in (("images-idx3-ubyte.xz", 3), ("labels-idx1-ubyte.xz", 1))
    )
    pixels = torch.from_numpy(images.copy())[:, None]
    numbers = torch.from_numpy(labels.astype("int64"))
    names = tuple("0123456789")
    return TrainTest(
        ImageData(pixels[:TRAIN_IMAGES], numbers[:TRAIN_IMAGES], names, "mnist5k"),
        ImageData(pixels[TRAIN_IMAGES:], numbers[TRAIN_IMAGES:], names, "mnist5k"),
    )


def _read(packed: bytes, axes: int, name: str) -> UInt8Array:
    content = lzma.decompress(packed)
    return parse_idx(BytesIO(content), axes, name, most=len(content))
