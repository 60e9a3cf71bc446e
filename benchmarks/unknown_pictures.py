"""What the digits network of the package says of pictures that are no digits, and of digits.

    python benchmarks/unknown_pictures.py --photos FOLDER [--mnist FOLDER --clothes FOLDER]

The length of the longest class capsule, for digits that the network was not trained on, photos,
clothes, noise, and letters drawn by this script. At every threshold: the share of each kind that is
answered (by the right class and a wrong one, for digits) rather than "none of these". The rows
replace benchmarks/results/unknown_pictures.csv.

Photos are shrunk to 28×28 grey pixels, and those with a light border inverted, as `torchcaps
predict` does. Letters are fitted as the makers of MNIST fitted digits: into a box of 20×20 pixels,
with their centre of mass in the middle of 28×28.
"""

import argparse
import datetime
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from torchcaps.data import load_data, read_image
from torchcaps.data.border import border_brightness
from torchcaps.explorer import SHIPPED
from torchcaps.inference.reading import grounds_differ
from torchcaps.models import Classifier, load_model
from torchcaps.storage import write_text
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "unknown_pictures.csv"
THRESHOLDS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
SIDE, BOX = 28, 20
MOST_PHOTOS, NOISE = 10_000, 2_000
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSansMono-Oblique",
)  # fmt: skip
TURNS = (-12, 0, 12)  # degrees
LIKE_DIGITS = set("OoDQIiLlJjZzSsBbGgqATty")  # letters that a person may read as a digit


def digits(folder: Path | None) -> tuple[Tensor, Tensor]:
    """Held-out digits: MNIST's 10,000 test images, or the 1,000 of the package."""
    test = load_data("mnist", folder).test if folder else load_data("mnist5k").test
    return test.batch(torch.arange(len(test)))


def photos(folder: Path) -> Iterator[Tensor]:
    """Every image of a folder, however deep."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for path in paths[:: max(1, len(paths) // MOST_PHOTOS)][:MOST_PHOTOS]:
        image = read_image(path, SIDE, channels=1).float() / 255
        yield 1 - image if grounds_differ(0.0, float(border_brightness(image))) else image


def noise() -> dict[str, Tensor]:
    """Grey values drawn alone, in blobs, and as white dots on black."""
    draw = torch.Generator().manual_seed(0)
    single = torch.rand(NOISE, 1, SIDE, SIDE, generator=draw)
    coarse = torch.randn(NOISE, 1, 7, 7, generator=draw)
    blobs = torch.nn.functional.interpolate(coarse, SIDE, mode="bicubic").sigmoid()
    return {
        "noise, even": single,
        "noise, blobs": blobs,
        "noise, dots": (torch.rand(NOISE, 1, SIDE, SIDE, generator=draw) < 0.1).float(),
    }


def letters() -> dict[str, Tensor]:
    """Every letter in every font and turn, those that look like digits apart."""
    found: dict[str, list[Tensor]] = {"letters": [], "letters like digits": []}
    for name in FONTS:
        font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}.ttf", 80)
        for letter in string.ascii_letters:
            kind = "letters like digits" if letter in LIKE_DIGITS else "letters"
            found[kind] += [fitted(letter, font, turn) for turn in TURNS]
    return {kind: torch.stack(images) for kind, images in found.items()}


def fitted(letter: str, font: ImageFont.FreeTypeFont, turn: float) -> Tensor:
    """A letter in white on black, [1, 28, 28]."""
    page = Image.new("L", (200, 200))
    ImageDraw.Draw(page).text((100, 100), letter, fill=255, font=font, anchor="mm")
    page = page.rotate(turn, Image.Resampling.BICUBIC)
    page = page.crop(page.getbbox())
    scale = BOX / max(page.size)
    size = (max(1, round(scale * page.width)), max(1, round(scale * page.height)))
    small = np.asarray(page.resize(size, Image.Resampling.LANCZOS), np.float32) / 255
    image = torch.zeros(SIDE, SIDE)
    mass = small.sum()
    rows, columns = (np.arange(n) for n in small.shape)
    middle = ((small.sum(1) @ rows) / mass, (small.sum(0) @ columns) / mass)
    starts = (round((SIDE - 1) / 2 - float(at)) for at in middle)
    top, left = (min(max(s, 0), SIDE - n) for s, n in zip(starts, small.shape))
    image[top : top + small.shape[0], left : left + small.shape[1]] = torch.from_numpy(small)
    return image[None]


@torch.no_grad()
def lengths(model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """The length of the longest class capsule, and its class."""
    parts = [model(part).activation.max(dim=1) for part in images.split(256)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--clothes", type=Path)
    options = parser.parse_args()
    model = load_model(SHIPPED)
    images, labels = digits(options.mnist)
    unknown = {"photos": torch.stack(list(photos(options.photos)))}
    if options.clothes:
        clothes = load_data("fashion-mnist", options.clothes).test
        unknown["clothes"] = clothes.batch(torch.arange(len(clothes)))[0]
    unknown |= noise() | letters()
    long, said = lengths(model, images)
    counts = {"digits, right": long[said == labels], "digits, wrong": long[said != labels]}
    counts |= {kind: lengths(model, pictures)[0] for kind, pictures in unknown.items()}
    totals = {kind: len(found) for kind, found in counts.items()}
    totals |= dict.fromkeys(("digits, right", "digits, wrong"), len(labels))
    columns = ["date", "threshold", *counts, *(f"of {kind}" for kind in counts), "commit"]
    machine = describe_machine()
    lines = [",".join(f'"{column}"' for column in columns)]
    for threshold in THRESHOLDS:
        answered = [int((found >= threshold).sum()) for found in counts.values()]
        row = [datetime.date.today(), threshold, *answered, *totals.values(), machine["commit"]]
        lines.append(",".join(map(str, row)))
        shares = (f"{kind} {n / totals[kind]:.2%}" for kind, n in zip(counts, answered))
        print(f"{threshold}: {', '.join(shares)}", flush=True)
    write_text(RESULTS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
