"""The default network on small sets of a person's own pictures, beside a plain CNN.

    python benchmarks/any_images.py [--sets NAME ...] [--networks NAME ...] [--data FOLDER]

Sets: `shapes-SIZE-grey|rgb`, drawn here (discs and frames, 300 each), and `photos-CLASSES-SIZE`,
300 photos of each of the first classes of CIFAR-10 (JPEG), from the archive
`cifar10-jpg/cifar10-images-jpg.tar.xz` in --data, judged on its 1,000 test photos of each class.

Both networks are trained by `torchcaps.fit` with its defaults and nothing but the data. The CNN has
the same stem and four fifths to nine tenths of the parameters; its learning rate is chosen, for
each set, among three by the images kept aside (that of the capsule network is the default).
"""

import argparse
import csv
import datetime
import io
import math
import random
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from torchcaps.benchmark.rows import append_rows
from torchcaps.data import TrainTest, channel_statistics, load_data
from torchcaps.models import Classifier, ImageCapsNet, Losses, ModelOutput, load_model
from torchcaps.models.stem import Stem, plan_stem, standardise
from torchcaps.models.summary import count_parameters
from torchcaps.training.fit import fit
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "any_images.csv"
SHAPES = [f"shapes-{size}-{colour}" for size in (28, 48, 64) for colour in ("grey", "rgb")]
PHOTOS = [f"photos-{classes}-{size}" for classes in (2, 3) for size in (32, 64)]
PER_CLASS = 300
ARCHIVE = "cifar10-jpg/cifar10-images-jpg.tar.xz"
NETWORKS = ["image_capsnet", "cnn"]
CNN_RATES = (0.001, 0.003, 0.01)


class PlainCNN(Classifier):
    """The stem of `ImageCapsNet`, another convolution, and a linear layer: cross entropy."""

    mean_of_channels: Tensor
    std_of_channels: Tensor

    def __init__(
        self,
        image_size: Sequence[int],
        channels: int,
        num_classes: int,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        width: int = 128,
    ) -> None:
        super().__init__(image_size, channels, num_classes, class_names)
        self.register_buffer("mean_of_channels", torch.tensor(mean), persistent=False)
        self.register_buffer("std_of_channels", torch.tensor(std), persistent=False)
        with torch.device("meta"):
            beside = ImageCapsNet(image_size, channels, num_classes, reconstruct=False)
        self.stem = Stem(self.channels, 5, beside.stem_channels, plan_stem(*self.image_size))
        like = beside.primary.conv
        kernel, stride = like.kernel_size[0], like.stride[0]
        self.last = nn.Sequential(
            nn.Conv2d(like.in_channels, width, kernel, stride, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.answer = nn.Linear(width * math.prod(beside.primary_grid), self.num_classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        features = self.last(
            self.stem(standardise(images, self.mean_of_channels, self.std_of_channels))
        )
        logits = self.answer(features.flatten(1))
        return ModelOutput(logits.unsqueeze(-1), torch.softmax(logits.float(), dim=1), None)

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        return Losses.of_classes(F.cross_entropy(output.pose.squeeze(-1).float(), labels))


def draw_shapes(folder: Path, size: int, mode: str) -> None:
    """Discs and frames of any colour on a ground of any colour, 300 to train and 200 to test."""
    draw = random.Random(0)
    for part, count in (("train", PER_CLASS), ("test", 200)):
        for name in ("disc", "frame"):
            at = folder / part / name
            at.mkdir(parents=True)
            for number in range(count):
                ground, ink = (tuple(draw.randrange(256) for _ in range(3)) for _ in range(2))
                image = Image.new("RGB", (size, size), ground)
                side = draw.uniform(0.3, 0.8) * size
                x, y = (draw.uniform(0, size - side) for _ in range(2))
                box = (x, y, x + side, y + side)
                if name == "disc":
                    ImageDraw.Draw(image).ellipse(box, fill=ink)
                else:
                    ImageDraw.Draw(image).rectangle(box, outline=ink, width=max(1, size // 14))
                image.convert(mode).save(at / f"{number:04}.png")


def copy_photos(archive: Path, folder: Path, classes: int, size: int) -> None:
    """The photos of the first classes, resized."""
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and m.name.endswith(".jpg")]
        names = sorted({m.name.split("/")[-2] for m in members})[:classes]
        for part in ("train", "test"):
            for name in names:
                at = folder / part / name
                at.mkdir(parents=True)
                mine = [m for m in members if f"/{part}/{name}/" in m.name]
                mine.sort(key=lambda member: member.name)
                if part == "train":
                    random.Random(0).shuffle(mine)
                    mine = mine[:PER_CLASS]
                for member in mine:
                    file = tar.extractfile(member)
                    assert file is not None
                    image: Image.Image = Image.open(io.BytesIO(file.read()))
                    if size != image.width:
                        image = image.resize((size, size), Image.Resampling.BICUBIC)
                    image.save(at / Path(member.name).name, quality=95)


def make_set(name: str, folder: Path, data: Path | None) -> Path:
    """The folder of a set, made if it is not there yet."""
    at = folder / name
    if at.is_dir():
        return at
    kind, first, second = name.split("-")
    if kind == "shapes":
        draw_shapes(at, int(first), {"grey": "L", "rgb": "RGB"}[second])
    else:
        assert data is not None, "photos need --data"
        copy_photos(data / ARCHIVE, at, int(first), int(second))
    return at


def train(data: TrainTest, seed: int, network: str, threads: int, **options: Any) -> dict[str, Any]:
    """A row: one training."""
    train = data.train
    model: Classifier | None = None
    if network == "cnn":
        torch.manual_seed(seed)
        mean, std = channel_statistics(train)
        model = PlainCNN(
            train.image_size, train.channels, train.num_classes, train.class_names, mean, std
        )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        result = fit(data, model, seed=seed, out=out, threads=threads, **options)
        with (out / "metrics.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        trained = load_model(out) if model is None else model
    assert result.held_out is not None
    return {
        "set": train.name,
        "network": network,
        "parameters": count_parameters(trained),
        "seed": seed,
        "learning_rate": options.get("learning_rate", ""),
        "epochs": len(rows),
        "test_accuracy": result.held_out.accuracy,
        "validation_accuracy": float(rows[-1]["validation_accuracy"]),
        "seconds": round(sum(float(row["seconds"]) for row in rows), 1),
    }


def rows_of(
    data: TrainTest, networks: Sequence[str], seeds: int, threads: int, epochs: int | None
) -> list[dict[str, Any]]:
    """The rows of a set: each of the networks, with every seed."""
    options = {"epochs": epochs}
    ours = []
    if "image_capsnet" in networks:
        ours = [train(data, seed, "image_capsnet", threads, **options) for seed in range(seeds)]
    if "cnn" not in networks:
        return ours
    tried = [train(data, 0, "cnn", threads, learning_rate=r, **options) for r in CNN_RATES]
    best = max(tried, key=lambda row: row["validation_accuracy"])
    rate = best["learning_rate"]
    others = [
        train(data, seed, "cnn", threads, learning_rate=rate, **options) for seed in range(1, seeds)
    ]
    return [*ours, *tried, *others]


def main() -> None:
    """Train, print and append the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=SHAPES + PHOTOS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: that of torchcaps train")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folder", type=Path, help="where the sets are made, to be used again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as made:
        for name in args.sets:
            data = load_data(str(make_set(name, args.folder or Path(made), args.data)))
            rows = rows_of(data, args.networks, args.seeds, args.threads, args.epochs)
            for row in rows:
                print(*(f"{key} {value}" for key, value in row.items()), sep="   ", flush=True)
            append_rows(
                args.out, [{**row, "date": str(datetime.date.today()), **machine} for row in rows]
            )


if __name__ == "__main__":
    main()
