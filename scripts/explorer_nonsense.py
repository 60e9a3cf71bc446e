"""What the explorer's network makes of shapes that are no digits: by length alone, and by misfit.

    python scripts/explorer_nonsense.py

Draws each shape 20 times, with its corners shaken, and 100 random scribbles, fits them as the page
fits a drawing, and asks the package's network. Beside them: the package's held-out digits, pairs
of them laid over each other, and digits drawn as the shapes are. Prints how many of each the page
says that it knows nothing of. Ten seconds on one core.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import torchcaps
from torchcaps.data import apply_shift, load_data, shift_offsets
from torchcaps.explorer import SHIPPED
from torchcaps.explorer.misfit import LONG, misfit, misfit_limit
from torchcaps.explorer.network import page_model
from torchcaps.models.capsule_classifier import CapsuleClassifier

Stroke = Sequence[tuple[float, float]]  # points, in fractions of the board's side
SIDE, BRUSH = 448, 32  # of the page's board, in its pixels
TIMES, SCRIBBLES, SHAKE = 20, 100, 0.03


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> Stroke:
    """Points of an ellipse between two angles in degrees, 0 to the right, clockwise."""
    angles = np.radians(np.linspace(start, end, 18))
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


SHAPES: dict[str, Sequence[Stroke]] = {
    "X": (((0.2, 0.2), (0.8, 0.8)), ((0.8, 0.2), (0.2, 0.8))),
    "plus": (((0.5, 0.15), (0.5, 0.85)), ((0.15, 0.5), (0.85, 0.5))),
    "triangle": (((0.5, 0.15), (0.8, 0.75), (0.2, 0.75), (0.5, 0.15)),),
    "square": (((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)),),
    "A": (((0.2, 0.85), (0.5, 0.15), (0.8, 0.85)), ((0.33, 0.6), (0.67, 0.6))),
    "E": (((0.8, 0.15), (0.25, 0.15), (0.25, 0.85), (0.8, 0.85)), ((0.25, 0.5), (0.7, 0.5))),
    "H": (((0.2, 0.15), (0.2, 0.85)), ((0.8, 0.15), (0.8, 0.85)), ((0.2, 0.5), (0.8, 0.5))),
    "K": (((0.25, 0.15), (0.25, 0.85)), ((0.75, 0.15), (0.25, 0.5), (0.8, 0.85))),
    "M": (((0.15, 0.85), (0.2, 0.15), (0.5, 0.6), (0.8, 0.15), (0.85, 0.85)),),
    "W": (((0.1, 0.15), (0.3, 0.85), (0.5, 0.3), (0.7, 0.85), (0.9, 0.15)),),
    "arrow": (((0.1, 0.5), (0.9, 0.5)), ((0.65, 0.25), (0.9, 0.5), (0.65, 0.75))),
    "two bars": (((0.2, 0.35), (0.8, 0.35)), ((0.2, 0.65), (0.8, 0.65))),
    "dash": (((0.1, 0.5), (0.9, 0.5)),),
    "dots": (((0.3, 0.3), (0.31, 0.3)), ((0.7, 0.3), (0.71, 0.3)), ((0.5, 0.7), (0.51, 0.7))),
    "hash": (
        *(((x, 0.1), (x, 0.9)) for x in (0.35, 0.65)),
        *(((0.1, y), (0.9, y)) for y in (0.35, 0.65)),
    ),
    "wave": ([(0.1 + 0.8 * t, 0.5 + 0.25 * math.sin(12.6 * t)) for t in np.linspace(0, 1, 30)],),
    "spiral": ([(0.5 + r * math.cos(25 * r), 0.5 + r * math.sin(25 * r))
                for r in np.linspace(0, 0.36, 40)],),
}  # fmt: skip
DIGITS: dict[str, Sequence[Stroke]] = {
    "0": (arc(0.5, 0.5, 0.25, 0.38, -90, 270),),
    "1": (((0.5, 0.12), (0.5, 0.88)),),
    "2": ([*arc(0.5, 0.33, 0.24, 0.2, 180, 390), (0.28, 0.85), (0.78, 0.85)],),
    "3": ([*arc(0.47, 0.32, 0.22, 0.18, 200, 450), *arc(0.47, 0.68, 0.24, 0.19, -90, 160)],),
    "4": (((0.62, 0.88), (0.62, 0.12), (0.22, 0.62), (0.8, 0.62)),),
    "5": ([(0.75, 0.14), (0.32, 0.14), (0.3, 0.45), *arc(0.48, 0.65, 0.24, 0.2, -110, 150)],),
    "6": ([*arc(0.62, 0.5, 0.36, 0.38, -90, -180), *arc(0.5, 0.67, 0.22, 0.2, 180, 540)],),
    "7": (((0.22, 0.17), (0.78, 0.17), (0.42, 0.87)),),
    "8": (arc(0.5, 0.32, 0.18, 0.18, 90, 450), arc(0.5, 0.68, 0.22, 0.18, -90, 270)),
    "9": ([*arc(0.48, 0.34, 0.2, 0.2, 0, 360), (0.62, 0.88)],),
}


def as_drawn(strokes: Sequence[Stroke]) -> np.ndarray:
    """The strokes as the network gets them from the board: uint8 [28, 28], fitted like MNIST."""
    board = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(board)
    for stroke in strokes:
        points = [(x * SIDE, y * SIDE) for x, y in stroke]
        pen.line(points, fill=255, width=BRUSH)
        for x, y in points:
            pen.ellipse([x - BRUSH / 2, y - BRUSH / 2, x + BRUSH / 2, y + BRUSH / 2], fill=255)
    ink = board.crop(board.getbbox())
    scale = 20 / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    small = np.asarray(ink.resize((width, height), Image.Resampling.BOX), dtype=float)
    y, x = np.mgrid[:height, :width] + 0.5
    left, top = (
        int(np.clip(round(14 - (small * place).sum() / small.sum()), 0, 28 - side))
        for place, side in ((x, width), (y, height))
    )
    image = np.zeros((28, 28), dtype=np.uint8)
    image[top : top + height, left : left + width] = np.round(255 * small / small.max())
    return image


def shaken(strokes: Sequence[Stroke], size: float, rng: np.random.Generator) -> list[Stroke]:
    """The same with every corner moved a little."""
    return [[(x + rng.normal(0, size), y + rng.normal(0, size)) for x, y in s] for s in strokes]


def scribble(rng: np.random.Generator) -> list[Stroke]:
    """One or two strokes through random points."""
    return [
        [(float(x), float(y)) for x, y in rng.uniform(0.1, 0.9, (rng.integers(3, 7), 2))]
        for _ in range(rng.integers(1, 3))
    ]


def images_of(drawings: Sequence[Sequence[Stroke]]) -> Tensor:
    """[N, 1, 28, 28] in [0, 1]."""
    return torch.tensor(np.stack([as_drawn(one) for one in drawings])[:, None]) / 255


@torch.no_grad()
def report(name: str, model: CapsuleClassifier, images: Tensor, limit: float) -> np.ndarray:
    """Print, and give, how many images are too short, and too short or unlike, of how many."""
    lengths = torch.cat([model(some).activation for some in images.split(64)])
    found = [misfit(model, some) for some in images.split(64)]
    unlike = torch.cat([(value > limit) & doubtful for value, doubtful in found])
    short = lengths.max(dim=1).values < LONG
    two = (lengths >= LONG).sum(dim=1) >= 2
    counts = [short, short | unlike, two, two & unlike]
    row = np.array([len(images), *(int(count.sum()) for count in counts)])
    print_row(name, row)
    return row


def print_row(name: str, row: np.ndarray) -> None:
    print(f"{name:16}" + "".join(f"{count:16}" for count in row))


def main() -> None:
    """Measure and print, a line for each kind of image."""
    model = page_model(torchcaps.load_model(SHIPPED))
    digits = load_data("mnist5k").test
    limit = misfit_limit(model, digits)
    assert limit is not None
    heads = ("of", "short", "short or unlike", "two long", "… and unlike")
    print(f"misfit limit {limit}\n{'':16}" + "".join(f"{head:>16}" for head in heads))
    report("held-out digits", model, digits.images / 255, limit)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0)).view(-1, 2)
    pairs = order[digits.labels[order[:, 0]] != digits.labels[order[:, 1]]].T
    layers = [apply_shift(digits.images[side], shift_offsets(len(side), 4, 0, k))
              for k, side in enumerate(pairs)]  # fmt: skip
    report("pairs of digits", model, torch.maximum(*layers) / 255, limit)
    rng = np.random.default_rng(0)
    drawn = [shaken(digit, SHAKE / 2, rng) for digit in DIGITS.values() for _ in range(TIMES)]
    report("drawn digits", model, images_of(drawn), limit)
    rows = []
    for name, shape in SHAPES.items():
        drawn = [shaken(shape, SHAKE, rng) for _ in range(TIMES)]
        rows.append(report(name, model, images_of(drawn), limit))
    scribbles = images_of([scribble(rng) for _ in range(SCRIBBLES)])
    rows.append(report("scribbles", model, scribbles, limit))
    print_row("no digits, all", np.sum(rows, axis=0))


if __name__ == "__main__":
    main()
