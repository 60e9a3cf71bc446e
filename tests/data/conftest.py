"""Small real files to read, and the optional folder of published data."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteIdx = Callable[[Path, np.ndarray], Path]
WriteImages = Callable[[Path, dict[str, Image.Image]], Path]


@pytest.fixture
def write_idx() -> WriteIdx:
    """Write an array of bytes as an idx file; a name in .gz is compressed."""

    def write(path: Path, array: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        content = header + array.astype(np.uint8).tobytes()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


@pytest.fixture
def write_images() -> WriteImages:
    """Write images under a root: {"cat/1.png": image}."""

    def write(root: Path, images: dict[str, Image.Image]) -> Path:
        for name, image in images.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(root / name)
        return root

    return write


@pytest.fixture
def published() -> Path:
    """The folder with mnist/, fashion-mnist/ and cifar10-jpg/, where there is one."""
    folder = os.environ.get("TORCHCAPS_DATA")
    if not folder:
        pytest.skip("TORCHCAPS_DATA does not name a folder with the published data")
    return Path(folder)
