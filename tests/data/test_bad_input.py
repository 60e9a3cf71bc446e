"""Every kind of bad input gives one clear sentence: the name, what was expected, what to do."""

import gzip
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchcaps.data import (
    AffineRanges,
    Augmentation,
    ImageData,
    MultiMNIST,
    apply_shift,
    augmentation_for,
    channel_statistics,
    load_data,
    memory_check,
    random_shift,
    read_image,
    shift_offsets,
    stratified_split,
)
from torchcaps.data.idx import read_idx, read_pair
from torchcaps.data.mnist import FASHION, MNIST, read_files
from torchcaps.errors import InputError

IMAGES = torch.zeros(4, 1, 6, 6, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 0, 1])
DATA = ImageData(IMAGES, LABELS, ("a", "b"), "toy")
SEVERAL = ImageData(IMAGES, torch.ones(4, 2, dtype=torch.int64), ("a", "b"), "several")
NAN = torch.full((4, 1, 6, 6), float("nan"))
ABOVE = torch.full((4, 1, 6, 6), 1 + 1e-7)


def one_sentence(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    assert len(message) > 20
    return message


def refuses(read: Callable[[], object], path: Path) -> bool:
    """Whether a reader refuses a file; if so, it must name it. Any other error gets through."""
    try:
        read()
    except InputError as error:
        return str(path) in one_sentence(error) or pytest.fail(f"{path} is not named: {error}")
    return False


# --- arguments: (function, type of the error, what the message must say)
ARGUMENTS = {
    "images no tensor": (
        lambda: ImageData(np.zeros((4, 1, 6, 6)), LABELS, ("a", "b"), "x"),  # type: ignore[arg-type]
        TypeError,
        r"images is ndarray; expected a torch\.Tensor",
    ),
    "images without channels": (
        lambda: ImageData(IMAGES[:, 0], LABELS, ("a", "b"), "x"),
        InputError,
        r"images has shape \[4, 6, 6\]; expected \[N, C, H, W\].*unsqueeze",
    ),
    "no images": (
        lambda: ImageData(IMAGES[:0], LABELS[:0], ("a", "b"), "x"),
        InputError,
        "at least one image",
    ),
    "images float64": (
        lambda: ImageData(IMAGES.double(), LABELS, ("a", "b"), "x"),
        InputError,
        r"images has dtype torch\.float64; expected torch\.uint8, or torch\.float32",
    ),
    "images NaN": (
        lambda: ImageData(NAN, LABELS, ("a", "b"), "x"),
        InputError,
        r"from nan to nan; expected finite numbers in \[0, 1\]",
    ),
    "images to 255": (
        lambda: ImageData(IMAGES.float() + 255, LABELS, ("a", "b"), "x"),
        InputError,
        "from 255 to 255.*divide pixels by 255",
    ),
    "images a little above 1": (
        lambda: ImageData(ABOVE, LABELS, ("a", "b"), "x"),
        InputError,
        r"float32 from 1\.00000012 to 1\.00000012; .* \(they are slightly outside: clip them\)",
    ),
    "labels int32": (
        lambda: ImageData(IMAGES, LABELS.int(), ("a", "b"), "x"),
        InputError,
        r"labels has dtype torch\.int32.*labels\.long\(\)",
    ),
    "labels too few": (
        lambda: ImageData(IMAGES, LABELS[:3], ("a", "b"), "x"),
        InputError,
        r"labels has shape \[3\] but images holds 4",
    ),
    "label too large": (
        lambda: ImageData(IMAGES, LABELS + 1, ("a", "b"), "x"),
        InputError,
        "labels holds 2; expected 0 to 1",
    ),
    "label negative": (
        lambda: ImageData(IMAGES, LABELS - 1, ("a", "b"), "x"),
        InputError,
        "labels holds -1",
    ),
    "no class names": (
        lambda: ImageData(IMAGES, LABELS, (), "x"),
        InputError,
        "class_names of x is empty",
    ),
    "class names one string": (
        lambda: ImageData(IMAGES, LABELS, "ab", "x"),  # type: ignore[arg-type]
        TypeError,
        "single string 'ab'; expected a list",
    ),
    "class name twice": (
        lambda: ImageData(IMAGES, LABELS, ("a", "a"), "x"),
        InputError,
        "'a' twice",
    ),
    "class name blank": (
        lambda: ImageData(IMAGES, LABELS, ("a", " "), "x"),
        InputError,
        "blank name",
    ),
    "subset by a mask": (
        lambda: DATA.subset(LABELS.bool()),
        InputError,
        r"indices is torch\.bool.*expected a list or a 1-D int64",
    ),
    "index too large": (lambda: DATA[4], IndexError, "index 4 is outside the 4 images"),
    "dataset of dicts": (
        lambda: ImageData.from_dataset([{"image": 1}]),
        TypeError,
        r"item 0 is of type dict; expected a pair \(image, label\)",
    ),
    "dataset of batches": (
        lambda: ImageData.from_dataset(
            torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES, LABELS))
        ),
        InputError,
        r"item 0: the image has shape \[1, 1, 6, 6\].*of a DataLoader pass its \.dataset",
    ),
    "dataset is a number": (
        lambda: ImageData.from_dataset(5),  # type: ignore[arg-type]
        TypeError,
        "dataset is int 5; expected an iterable",
    ),
    "dataset empty": (lambda: ImageData.from_dataset([]), InputError, "dataset is empty"),
    "item of another size": (
        lambda: ImageData.from_dataset([(IMAGES[0], 0), (IMAGES[0, :, :5], 1)]),
        InputError,
        "item 1: the image is 1×5×6 uint8 but item 0 is 1×6×6 uint8",
    ),
    "item out of range": (
        lambda: ImageData.from_dataset([(IMAGES[0], 0), (torch.full((6, 6), -0.5), 1)]),
        InputError,
        r"item 1: the image holds numbers from -0\.5 to -0\.5.*normalising",
    ),
    "item a little above 1": (
        lambda: ImageData.from_dataset([(IMAGES[0], 0), (ABOVE[0], 1)]),
        InputError,
        r"from 1\.00000012 to 1\.00000012; .* \(they are slightly outside: clip them\)",
    ),
    "item int64": (
        lambda: ImageData.from_dataset([(IMAGES[0].long(), 0)]),
        InputError,
        r"item 0: the image has dtype torch\.int64; expected uint8 or float",
    ),
    "item a string": (
        lambda: ImageData.from_dataset([("cat.png", 0)]),
        TypeError,
        r"item 0: the image is str 'cat\.png'; expected a tensor",
    ),
    "item array of strings": (
        lambda: ImageData.from_dataset([(np.full((6, 6), "x"), 0)]),
        InputError,
        "item 0: the image has dtype <U1",
    ),
    "item of one axis": (
        lambda: ImageData.from_dataset([(torch.zeros(6), 0)]),
        InputError,
        r"item 0: the image has shape \[6\]; expected \[C, H, W\]",
    ),
    "item ambiguous": (
        lambda: ImageData.from_dataset([(np.zeros((3, 6, 3), np.uint8), 0)]),
        InputError,
        r"item 0: the image has shape \[3, 6, 3\], where both",
    ),
    "label a float": (
        lambda: ImageData.from_dataset([(IMAGES[0], 0), (IMAGES[1], 1.0)]),
        TypeError,
        r"item 1: the label is float 1\.0; expected an integer",
    ),
    "label one-hot": (
        lambda: ImageData.from_dataset([(IMAGES[0], torch.tensor([0, 1]))]),
        TypeError,
        r"of one-hot labels take \.argmax\(\), or say multi_label=True",
    ),
    "label a number, of several classes": (
        lambda: ImageData.from_dataset([(IMAGES[0], 1)], multi_label=True),
        TypeError,
        r"item 0: the label is 1; expected integers \[K\] of 0 and 1, with multi_label",
    ),
    "label in a row": (
        lambda: ImageData.from_dataset([(IMAGES[0], np.array([1]))]),
        TypeError,
        r"label is a ndarray of shape \[1\]; expected an integer: take int\(label\)",
    ),
    "a mapping": (
        lambda: ImageData.from_dataset({"a": (IMAGES[0], 0)}),
        TypeError,
        "dataset is a mapping; expected an iterable",
    ),
    "pairs of several classes": (
        lambda: MultiMNIST(SEVERAL),
        InputError,
        "images of 'several' show several classes each; expected one class an image",
    ),
    "kind of images misspelt": (
        lambda: augmentation_for(DATA, "digit"),  # type: ignore[arg-type]
        ValueError,
        "augment must be one of auto, none, digits, drawings, photos, got 'digit'",
    ),
    "border misspelt": (
        lambda: apply_shift(IMAGES, torch.zeros(4, 2, dtype=torch.int64), "wrap"),  # type: ignore[arg-type]
        InputError,
        "border is 'wrap'; expected zeros, edge, mirror",
    ),
    "varied out of sight": (
        lambda: Augmentation(max_shift=50)(torch.rand(2, 1, 8, 8), seed=0, step=0),
        InputError,
        "max_shift is 50 for images of 8×8",
    ),
    "range not a number": (
        lambda: AffineRanges(rotation=math.nan),
        ValueError,
        "rotation must be at least 0, got nan",
    ),
    "range that mirrors": (
        lambda: AffineRanges(scale=1.5),
        ValueError,
        r"scale must be at least 0, at most 0\.99",
    ),
    "statistics of no image": (
        lambda: channel_statistics(DATA, most=0),
        ValueError,
        "most must be a whole number of at least 1, got 0",
    ),
    "label below 0": (
        lambda: ImageData.from_dataset([(IMAGES[0], -1)]),
        InputError,
        "item 0: the label is -1",
    ),
    "more labels than names": (
        lambda: ImageData.from_dataset([(IMAGES[0], 3)], class_names=["a", "b"]),
        InputError,
        "labels holds 3; expected 0 to 1",
    ),
    "labels with a gap": (
        lambda: ImageData.from_dataset([(IMAGES[0], 3), (IMAGES[1], 8)]),
        InputError,
        "dataset has no item of class 0 though some are of class 8; expected class numbers 0, 1, 2",
    ),
    "labels from 1": (
        lambda: ImageData.from_dataset([(IMAGES[0], k) for k in (1, 2, 3)], name="toy"),
        InputError,
        "toy has no item of class 0 though some are of class 3",
    ),
    "labels of classes, one of them missing": (
        lambda: ImageData.from_dataset([(IMAGES[0], k) for k in (0, 1, 3)]),
        InputError,
        "no item of class 2 .* or give class_names, if this is a part that lacks some",
    ),
    "fraction 0": (lambda: stratified_split(DATA, 0), InputError, "fraction is 0; expected more"),
    "fraction 1": (lambda: stratified_split(DATA, 1.0), InputError, "less than 1"),
    "fraction NaN": (lambda: stratified_split(DATA, float("nan")), InputError, "fraction is nan"),
    "class too small": (
        lambda: stratified_split(DATA, 0.2),
        InputError,
        r"class 'a' has 2 images: a fraction of 0\.2 would take 0",
    ),
    "shift negative": (
        lambda: random_shift(IMAGES, -1, seed=0, step=0),
        InputError,
        "max_shift is -1; expected an integer of at least 0",
    ),
    "shift a float": (
        lambda: random_shift(IMAGES, 2.0, seed=0, step=0),  # type: ignore[arg-type]
        TypeError,
        r"max_shift is 2\.0; expected an integer",
    ),
    "shift as large as the image": (
        lambda: random_shift(IMAGES, 6, seed=0, step=0),
        InputError,
        "max_shift is 6 for images of 6×6",
    ),
    "step a float": (lambda: shift_offsets(4, 2, 0, 0.5), TypeError, r"step is 0\.5"),  # type: ignore[arg-type]
    "offsets of another batch": (
        lambda: apply_shift(IMAGES, torch.zeros(3, 2, dtype=torch.int64)),
        InputError,
        r"offsets is torch\.int64 of shape \[3, 2\]; expected integers \[4, 2\]",
    ),
    "offsets floats": (
        lambda: apply_shift(IMAGES, torch.zeros(4, 2)),
        InputError,
        r"offsets is torch\.float32",
    ),
    "one image shifted": (
        lambda: random_shift(IMAGES[0], 1, seed=0, step=0),
        InputError,
        r"images has shape \[1, 6, 6\]; expected \[B, C, H, W\]",
    ),
    "name misspelt": (
        lambda: load_data("fashion_mnist"),
        InputError,
        r"unknown data 'fashion_mnist' \(did you mean 'fashion-mnist'\?\): expected one of "
        r"mnist5k, mnist, fashion-mnist, or the path of a folder of class folders or of a \.npz",
    ),
    "name unknown": (lambda: load_data("zebra"), InputError, "unknown data 'zebra': expected one"),
    "path missing": (lambda: load_data("no/such/folder"), InputError, "no/such/folder does not"),
    "archive missing": (lambda: load_data("no.npz"), InputError, r"no\.npz does not exist"),
    "image_size 0": (
        lambda: load_data("mnist5k", image_size=0),
        InputError,
        r"image_size is 0; expected one integer or a pair \(height, width\), each from 1",
    ),
    "image_size of three": (
        lambda: load_data("mnist5k", image_size=(1, 2, 3)),  # type: ignore[arg-type]
        InputError,
        r"image_size is \(1, 2, 3\)",
    ),
    "image_size a float": (lambda: load_data("mnist5k", image_size=2.5), InputError, r"is 2\.5"),  # type: ignore[arg-type]
    "image_size enormous": (lambda: load_data("mnist5k", image_size=10**9), InputError, "to 8192"),
    "channels 2": (
        lambda: load_data("mnist5k", channels=2),
        InputError,
        r"channels is 2; expected 1 \(grey\) or 3 \(RGB\)",
    ),
    "data_dir missing": (
        lambda: load_data("mnist", Path("no/such/dir")),
        InputError,
        "data_dir no/such/dir is not a folder.*leave it out to download",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_argument(case):
    function, kind, message = case
    with pytest.raises(kind, match=message) as caught:
        function()
    one_sentence(caught.value)


# --- idx files: (name, content, what the message must say)
IDX = bytes([0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 2, 3])
IDX_FILES = {
    "wrong magic": ("a", b"\x89PNG" + IDX, "begins with the bytes 89 50 4e 47; expected 00 00 08"),
    "images for labels": ("a", bytes([0, 0, 8, 3]) + bytes(12), "with 1 axis"),
    "not of bytes": ("a", bytes([0, 0, 13, 1]) + IDX[4:], "00 00 0d 01; expected 00 00 08 01"),
    "empty": ("a", b"", "is truncated: it ends after 0 bytes"),
    "header cut": ("a", IDX[:6], "ends after 6 bytes, within its header of 8"),
    "body cut": ("a", IDX[:-1], "is truncated: its header says 4 = 4 bytes but only 3 follow"),
    "trailing bytes": ("a", IDX + b"x", "has trailing bytes: .* = 4 bytes but more follow"),
    "header claims 4 GB": ("a", IDX[:4] + b"\xff" * 4 + IDX[8:], "4294967295 bytes but fewer"),
    "gz trailing bytes": ("a.gz", gzip.compress(IDX + b"x"), "has trailing bytes"),
    "gz claims 4 GB": ("a.gz", gzip.compress(IDX[:4] + b"\xff" * 4 + IDX[8:]), "is truncated"),
    "gz that is none": ("a.gz", IDX, "named .gz but is not compressed with gzip; rename it to a,"),
    "gz cut": ("a.gz", gzip.compress(IDX)[:-9], "truncated or damaged"),
    "gz corrupted": ("a.gz", gzip.compress(IDX)[:-8] + bytes(8), "truncated or damaged .*CRC"),
    "gz unnamed": ("a", gzip.compress(IDX), r"is compressed with gzip; rename it to a\.gz"),
}


@pytest.mark.parametrize("case", IDX_FILES.values(), ids=IDX_FILES.keys())
def test_idx_file(tmp_path, case):
    name, content, message = case
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(tmp_path / name, axes=1)
    assert str(tmp_path / name) in one_sentence(caught.value)


def test_idx_missing_or_a_folder(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_idx(tmp_path / "a", axes=1)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_idx(tmp_path, axes=1)


def pair(
    folder: Path, write_idx, part: str, n_images: int, labels: list[int], side: int = 6
) -> tuple[Path, Path]:
    images = write_idx(folder / f"{part}-images-idx3-ubyte", np.zeros((n_images, side, side)))
    return images, write_idx(folder / f"{part}-labels-idx1-ubyte", np.array(labels))


@pytest.mark.parametrize(
    ("n_images", "labels", "message"),
    [
        (3, [0, 1], "holds 3 images but train-labels-idx1-ubyte 2 labels"),
        (2, [0, 10], "holds the label 10; expected 0 to 9"),
        (0, [], "holds no pixels"),
    ],
)
def test_idx_pair(tmp_path, write_idx, n_images, labels, message):
    with pytest.raises(InputError, match=message):
        read_pair(*pair(tmp_path, write_idx, "train", n_images, labels), MNIST.class_names, "x")


def test_mnist_in_an_empty_folder_says_what_was_looked_for_and_where(tmp_path):
    with pytest.raises(InputError) as caught:
        load_data("mnist", tmp_path)
    message = one_sentence(caught.value)
    for part in ("t10k-labels-idx1-ubyte.gz", f"{tmp_path}/MNIST/raw", "leave out data_dir"):
        assert part in message


def test_mnist_with_a_file_missing_names_it(tmp_path, write_idx):
    pair(tmp_path, write_idx, "train", 2, [0, 1])
    pair(tmp_path, write_idx, "t10k", 2, [0, 1])
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=rf"\({tmp_path} lacks t10k-labels-idx1-ubyte\.gz\)"):
        load_data("mnist", tmp_path)


def test_mnist_with_parts_of_two_sizes(tmp_path, write_idx):
    pair(tmp_path, write_idx, "train", 2, [0, 1])
    pair(tmp_path, write_idx, "t10k", 2, [0, 1], side=7)
    with pytest.raises(InputError, match="train images of 6×6 and test images of 7×7"):
        load_data("mnist", tmp_path)


def test_fashion_in_the_place_of_mnist_is_noticed(published):
    files = {name: published / "fashion-mnist" / name for name in FASHION.sha256}
    with pytest.raises(InputError, match="holds the files of fashion-mnist, not of mnist"):
        read_files(MNIST, files)


# --- folders: (files to write, what the message must say); "cat/" is an empty folder
def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def bomb_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be large."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", 0)


NOISE = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
OK = encoded(Image.fromarray(NOISE[:6, :6]))
JPEG = encoded(Image.fromarray(NOISE), "JPEG")
TIFF32 = encoded(Image.fromarray(np.full((6, 6), 10**6, np.int32)), "TIFF")
FOUR = {f"{name}/{i}.png": OK for name in ("cat", "dog") for i in range(4)}
FOLDERS = {
    "nothing in it": ({}, "has no class folders; expected FOLDER/CLASS/IMAGE"),
    "only images": ({"1.png": OK}, r"has 1 images that lie in no class folder, the first 1\.png"),
    "images beside classes": (FOUR | {"1.png": OK}, "lie in no class folder"),
    "empty class": (FOUR | {"emu/": b""}, "class folder .*emu has no images"),
    "one class": ({"cat/1.png": OK}, "only one class folder, 'cat'"),
    "a class of other files": (FOUR | {"emu/notes.txt": b"x"}, "class folder .*emu has no images"),
    "not an image": (FOUR | {"cat/2.png": b"hello"}, r"2\.png is not an image that pillow can"),
    "empty file": (FOUR | {"cat/2.png": b""}, r"cat/2\.png is empty"),
    "truncated PNG": (FOUR | {"dog/1.png": OK[:60]}, r"dog/1\.png is truncated or damaged"),
    "truncated JPEG": (FOUR | {"dog/1.jpg": JPEG[:-300]}, r"dog/1\.jpg is truncated or damaged"),
    "bomb": (FOUR | {"cat/1.png": bomb_header(30000, 30000)}, "decompression bomb"),
    "half a bomb": (FOUR | {"cat/1.png": bomb_header(10000, 10000)}, "decompression bomb"),
    "32-bit grey": (FOUR | {"cat/1.tif": TIFF32}, "grey values from 1000000 to 1000000; expected"),
    "two sizes": (
        FOUR | {"dog/3.jpg": JPEG},
        r"images differ in size: .*\.png is 6×6 and .*3\.jpg is 40×40.*--image-size",
    ),
    "class too small to split": (
        {f"{name}/1.png": OK for name in ("cat", "dog")},
        r"class 'cat' has 1 image: a fraction of 0\.2",
    ),
    "test without train": ({f"test/{name}": OK for name in FOUR}, "no classes to train on"),
    "parts without classes": ({"train/1.png": OK, "test/1.png": OK}, "no classes to train on"),
    "three parts without classes": (
        {f"{part}/{k}.png": OK for part in ("train", "test", "val") for k in range(6)},
        r"has test/, train/, val/ but no classes to train on",
    ),
    "parts without classes beside another folder": (
        {f"{part}/{k}.png": OK for part in ("train", "test", "more") for k in range(6)},
        "but no classes to train on",
    ),
    "class only in test": (
        {f"{part}/{name}": OK for part in ("train", "test") for name in FOUR}
        | {"test/emu/1.png": OK},
        "different classes: 'emu' is only in test/",
    ),
    "train beside classes": (
        FOUR | {f"train/{name}": OK for name in FOUR},
        r"has train/ beside cat/, dog/: is it a class or the train part\?",
    ),
    "parts under names of Kaggle's": (
        {f"{part}/{name}": OK for part in ("training_set", "test_set") for name in FOUR},
        r"has test_set/, training_set/, and test_set/ and training_set/ hold cat/, dog/: do these "
        r"folders hold parts\? Call them train/ and test/",
    ),
    "parts of which one is misspelt": (
        {f"{part}/{name}": OK for part in ("trian", "test") for name in FOUR},
        r"has test/, trian/, and test/ and trian/ hold cat/, dog/: do these folders hold parts\?",
    ),
    "parts beside images without a class": (
        {"single_prediction/1.png": OK}
        | {f"{part}/{name}": OK for part in ("training_set", "test_set") for name in FOUR},
        r"and test_set/ and training_set/ hold cat/, dog/: do these folders hold parts\?",
    ),
    "parts within folders of their names": (
        {f"{part}/{part}/{name}": OK for part in ("seg_train", "seg_test") for name in FOUR},
        r"and seg_test/ holds seg_test/: do these folders hold parts\?",
    ),
    "a part beside classes": (
        FOUR | {f"val/{name}": OK for name in FOUR},
        r"has cat/, dog/, val/, and val/ holds cat/, dog/: do these folders hold parts\?",
    ),
}


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", FOLDERS.values(), ids=FOLDERS.keys())
def test_folder(tmp_path, case):
    files, message = case
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(tmp_path))
    one_sentence(caught.value)


def test_a_link_in_a_circle(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    with pytest.raises(InputError, match="again is a link to a folder that holds it"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("name", ["cat/9.png", "cow"])
def test_a_link_to_itself_is_named(tmp_path, name):
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
    (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(InputError, match=f"^{tmp_path / name} cannot be read: Too many"):
        load_data(str(tmp_path))


def test_an_image_that_is_a_link_to_itself(tmp_path):
    (tmp_path / "a.png").symlink_to("a.png")
    with pytest.raises(InputError, match=r"a\.png cannot be read: Too many levels of symbolic"):
        read_image(tmp_path / "a.png")


def test_a_dangling_link(tmp_path):
    for name, content in FOUR.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "cat" / "9.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"9\.png cannot be read: No such file"):
        load_data(str(tmp_path))


def test_a_folder_without_permission(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_damaged_images_never_let_another_error_out(tmp_path, kind):
    """Flip bytes and cut, in every format: the pixels, or an InputError that names the file."""
    whole = encoded(Image.fromarray(NOISE), kind)
    draw = np.random.default_rng(1)
    path = tmp_path / "a.png"
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole[: draw.integers(1, len(whole) + 1)])
        for position in draw.integers(0, len(damaged), 3):
            damaged[position] = draw.integers(256)
        path.write_bytes(damaged)
        refused += refuses(lambda: read_image(path), path)
    assert refused > 0


def test_images_that_would_not_fit_into_memory(tmp_path, monkeypatch):
    for name, content in FOUR.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    # 8 images of 36 bytes are 288, and training copies 6 of them
    for memory in (400, 600):
        monkeypatch.setattr(memory_check, "physical_memory", lambda there=memory: there)
        told = r"8 images of 1×6×6, and a copy .* would take .*smaller --image-size"
        with pytest.raises(InputError, match=told):
            load_data(str(tmp_path), in_memory=True)
    monkeypatch.setattr(memory_check, "physical_memory", lambda: 900)
    assert len(load_data(str(tmp_path), in_memory=True).train) == 6


# --- npz archives: (arrays, what the message must say)
X, Y = np.zeros((10, 6, 7), np.uint8), np.arange(10) % 2
TEN = {"images": X, "labels": Y}
ARCHIVES = {
    "no images": ({"x_train": X, "labels": Y}, "no array 'images', it holds labels, x_train"),
    "no labels": ({"images": X}, "no array 'labels', it holds images; expected images and"),
    "half a test part": (TEN | {"test_images": X}, "no array 'test_labels'"),
    "a misspelt array": (TEN | {"class_name": Y}, "holds 'class_name'; rename it to 'class_names'"),
    "images flat": (TEN | {"images": X.reshape(10, 42)}, r"images has shape \[10, 42\]; expected"),
    "no image": ({"images": X[:0], "labels": Y}, "at least one image"),
    "layout ambiguous": (TEN | {"images": X[:, :3, :, None]}, r"\[3, 7, 1\], where both"),
    "layout without channels": (TEN | {"images": np.zeros((10, 6, 7, 8))}, "where neither"),
    "lengths differ": (TEN | {"labels": Y[:9]}, "images holds 10 images but labels 9 labels"),
    "NaN": (TEN | {"images": X + np.nan}, r"images holds numbers from nan to nan"),
    "infinite": (TEN | {"images": X + np.inf}, r"from inf to inf; expected finite numbers"),
    "floats to 255": (TEN | {"images": X + 255.0}, "from 255 to 255.*divide pixels by 255"),
    "floats a little above 1": (
        TEN | {"images": np.full((10, 6, 7), np.nextafter(np.float32(1), np.float32(2)))},
        r"from 1\.00000012 to 1\.00000012; .* \(they are slightly outside: clip them\)",
    ),
    "images int64": (TEN | {"images": X.astype(int)}, r"dtype int64; .*\.astype\('uint8'\)"),
    "images complex": (TEN | {"images": X + 1j}, "dtype complex128"),
    "images objects": (TEN | {"images": X.astype(object)}, "images is an array of Python objects"),
    "labels objects": (TEN | {"labels": Y.astype(object)}, "labels is an array of Python objects"),
    "labels floats": (TEN | {"labels": Y + 0.0}, r"labels is float64 of shape \[10\]; expected"),
    "labels one-hot": (TEN | {"labels": np.eye(10, dtype=int)}, r"take \.argmax\(1\)"),
    "labels negative": (TEN | {"labels": Y - 1}, "labels holds -1; expected class numbers"),
    "labels enormous": (
        TEN | {"labels": Y.astype(np.uint64) + np.uint64(2**63)},
        "labels holds 9223372036854775809",
    ),
    "labels with a gap": (TEN | {"labels": 2 * Y}, "no label is 1 though some are larger"),
    "one class": (TEN | {"labels": 0 * Y}, "every label is 0; expected at least two classes"),
    "names too few": (
        TEN | {"class_names": np.array(["a"])},
        "a label is 1 but class_names holds 1",
    ),
    "names numbers": (TEN | {"class_names": Y}, "class_names is int64 of shape"),
    "names no UTF-8": (TEN | {"class_names": np.array([b"\xff", b"b"])}, "not UTF-8"),
    "names blank": (TEN | {"class_names": np.array(["", "b"])}, "blank name"),
    "class too small to split": ({"images": X[:2], "labels": Y[:2]}, "class '0' has 1 image:"),
    "test of another size": (
        TEN | {"test_images": X[:, :5], "test_labels": Y},
        r"images is 1×6×7 torch\.uint8 but test_images 1×5×7",
    ),
    "test label unknown": (
        TEN | {"test_images": X, "test_labels": Y + 5},
        "no label is 2",
    ),
}


@pytest.mark.parametrize("case", ARCHIVES.values(), ids=ARCHIVES.keys())
def test_archive(tmp_path, case):
    arrays, message = case
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(tmp_path / "a.npz"))
    assert one_sentence(caught.value)


def test_channels_that_cannot_be_made(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((10, 2, 6, 6), np.uint8), labels=Y)
    with pytest.raises(InputError, match="the images have 2 channels, so channels=3 cannot be met"):
        load_data(str(tmp_path / "a.npz"), channels=3)


def test_archive_that_is_none(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"", b"hello", OK):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"is not a whole \.npz archive .*savez_compressed"):
            load_data(str(path))


def test_file_that_is_neither_folder_nor_archive(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"a\.csv is a file but not a \.npz; expected"):
        load_data(str(tmp_path / "a.csv"))


def test_archive_that_claims_to_be_huge_is_not_read(tmp_path):
    """A header alone says 2 TB; nothing of that size may be allocated."""
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (2 * 10**9, 32, 32)}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("labels.npy", header.getvalue())
    with pytest.raises(InputError, match=r"would take .* GiB of memory, more than 60%"):
        load_data(str(tmp_path / "a.npz"))


def test_damaged_archives_never_let_another_error_out(tmp_path):
    """Flip bytes and cut: what was stored, or an InputError that names the file."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=NOISE[:10].reshape(10, 8, 5), labels=Y)
    whole = path.read_bytes()
    draw = np.random.default_rng(2)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draw.integers(len(damaged))] = draw.integers(256)
        path.write_bytes(damaged[: draw.choice([len(damaged), int(draw.integers(len(damaged)))])])
        refused += refuses(lambda: load_data(str(path)), path)
    assert 100 < refused < 200  # in some the flipped byte is padding, or the one it was


# --- small files that would take much memory or time
def test_an_array_that_hides_behind_another_of_its_name(tmp_path):
    """`images` is read in place of `images.npy`, whose header alone was looked at."""
    small, large, labels = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(small, X)
    np.lib.format.write_array_header_1_0(
        large, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 9, 9)}
    )
    np.save(labels, Y)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images", large.getvalue())
        archive.writestr("images.npy", small.getvalue())
        archive.writestr("labels.npy", labels.getvalue())
    with pytest.raises(InputError, match=r"holds 'images' twice, as 'images' and 'images\.npy'"):
        load_data(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("place", ["images", "data.npz", "image"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path, place):
    if place == "images":
        for name, content in FOUR.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        pipe = tmp_path / "cat" / "9.png"
    else:
        pipe = tmp_path / ("data.npz" if place == "data.npz" else "a.png")
    os.mkfifo(pipe)
    named = tmp_path if place == "images" else pipe
    with pytest.raises(InputError, match=f"^{pipe} is a pipe, a socket or a device"):
        read_image(pipe) if place == "image" else load_data(str(named))


def test_links_that_fork_are_not_followed_for_ever(tmp_path):
    """Twenty-four folders with two links each to the next: sixteen million ways."""
    for name, content in FOUR.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "data" / name).write_bytes(content)
    folders = [tmp_path / "elsewhere" / str(k) for k in range(24)]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder, following in pairwise(folders):
        for name in "ab":
            (folder / name).symlink_to(following)
    (tmp_path / "data" / "cat" / "more").symlink_to(folders[0])
    with pytest.raises(InputError, match="is reached in more than 100 ways over links to folders"):
        load_data(str(tmp_path / "data"))


def test_a_folder_too_deep(tmp_path):
    for name, content in FOUR.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "cat" / "/".join("d" * 120)).mkdir(parents=True)
    with pytest.raises(InputError, match="lies more than 100 folders deep"):
        load_data(str(tmp_path))


def test_an_idx_header_of_no_images_but_endless_sides(tmp_path):
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1)
    (tmp_path / "images-idx3-ubyte").write_bytes(header)
    with pytest.raises(InputError, match="images-idx3-ubyte holds no pixels"):
        read_idx(tmp_path / "images-idx3-ubyte", axes=3)


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "1000000\n", 1_000_000),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "2000000\n", 2_000_000),
        ("cpu.max", "max\n", None),
    ],
)
def test_a_container_has_the_memory_that_it_may_use(tmp_path, file, text, limit):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert memory_check.memory_of_container(tmp_path) == limit


@pytest.mark.parametrize("part", ["", "train/"])
def test_a_class_folder_that_is_a_link_to_nothing(tmp_path, part):
    """A disk that is not there must not leave two classes of three."""
    for name, content in FOUR.items():
        (tmp_path / part / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part / name).write_bytes(content)
    (tmp_path / part / "emu").symlink_to(tmp_path / "missing")
    with pytest.raises(InputError, match=r"emu is a link to nothing; mend or remove it"):
        load_data(str(tmp_path))
