"""MNIST and Fashion-MNIST: their files, where to look for them, their classes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torchcaps.data.idx import read_pair
from torchcaps.data.images import ImageData
from torchcaps.data.split import TrainTest
from torchcaps.errors import InputError

__all__ = ["FAMILY", "IdxDataset", "find_files", "read_files"]


@dataclass(frozen=True)
class IdxDataset:
    """One published data set of four idx.gz files.

    `sha256` maps each file's published name to its digest; `train_labels` is the digest of the
    training labels once decoded, which tells MNIST from Fashion-MNIST: their files have the same
    names.
    """

    name: str
    class_names: tuple[str, ...]
    raw_folder: str  # in torchvision's layout
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]
    train_labels: str


# The published MD5 sums of these files were checked when their SHA-256 sums were taken.
MNIST = IdxDataset(
    name="mnist",
    class_names=tuple("0123456789"),
    raw_folder="MNIST/raw",
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    },
    train_labels="1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
)
FASHION = IdxDataset(
    name="fashion-mnist",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    raw_folder="FashionMNIST/raw",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    },
    train_labels="657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
)
FAMILY = {dataset.name: dataset for dataset in (MNIST, FASHION)}


def find_files(dataset: IdxDataset, data_dir: Path) -> dict[str, Path]:
    """Find the four files: {published name: path}.

    They are looked for in `data_dir`, in a folder of the data set's name in it, and in
    torchvision's layout; compressed or not; also spelt `train-images.idx3-ubyte`.

    Raises:
        InputError: `data_dir` is not a folder, or no place holds all four.
    """
    if not data_dir.is_dir():
        raise InputError(
            f"data_dir {data_dir} is not a folder; give the folder that holds {dataset.name}, "
            "or leave it out to download"
        )
    # The more telling places first: files lying in data_dir itself may be of any relative.
    places = [data_dir / dataset.name, data_dir / dataset.raw_folder, data_dir]
    incomplete = ""
    for place in places:
        found = {name: path for name in dataset.sha256 if (path := _spelt(place, name))}
        if len(found) == len(dataset.sha256):
            return found
        if found:
            missing = ", ".join(name for name in dataset.sha256 if name not in found)
            incomplete = f" ({place} lacks {missing})"
    raise InputError(
        f"{dataset.name} is not in {data_dir}{incomplete}; looked for "
        f"{', '.join(dataset.sha256)}, with or without .gz, in {', '.join(map(str, places))}; "
        "put them into one of these, or leave out data_dir to download"
    )


def read_files(dataset: IdxDataset, files: Mapping[str, Path]) -> TrainTest:
    """Read the four files that `find_files` or a download gave.

    Raises:
        InputError: a file is damaged, the parts differ in size, or the files belong to the other
            data set of the same file names.
    """
    train, test = (
        read_pair(
            files[f"{part}-images-idx3-ubyte.gz"],
            files[f"{part}-labels-idx1-ubyte.gz"],
            dataset.class_names,
            dataset.name,
        )
        for part in ("train", "t10k")
    )
    where = files["train-images-idx3-ubyte.gz"].parent
    if train.image_size != test.image_size:
        raise InputError(
            f"{where} holds train images of {_size(train)} and test images of {_size(test)}; "
            "they belong to different data: get them again"
        )
    labels = hashlib.sha256(train.labels.numpy().astype("u1").tobytes()).hexdigest()
    for other in FAMILY.values():
        if other is not dataset and other.train_labels == labels:
            raise InputError(
                f"{where} holds the files of {other.name}, not of {dataset.name}; "
                f"ask for {other.name!r} or give the folder of {dataset.name}"
            )
    return TrainTest(train, test)


def _spelt(place: Path, published: str) -> Path | None:
    """The file in `place` under one of the names in use."""
    name = published.removesuffix(".gz")
    for spelling in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = place / (spelling + suffix)
            if path.is_file():
                return path
    return None


def _size(data: ImageData) -> str:
    return "×".join(map(str, data.image_size))
