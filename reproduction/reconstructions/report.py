"""The report of `reconstructions`: drawings of right and of wrong answers, and their errors."""

from collections.abc import Sequence

import numpy as np
import torch

from reproduction.harness.budget import budget_part
from reproduction.harness.cell import Arrays, Row
from reproduction.harness.comparison import plain_table
from reproduction.harness.crossed import crossed_difference, over_seeds
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import plus_minus, table
from reproduction.harness.statistics import summarise
from reproduction.harness.verdict import RULES, Difference, judge
from torchcaps.training.pictures import draw_reconstructions
from torchcaps.training.pictures.style import WRONG
from torchcaps.training.pictures.tiles import draw_tiles

__all__ = ["LOSSES", "report", "slim"]

LOSSES = ("paper", "authors")
WHOSE = {"paper": "the paper", "authors": "the authors’ code"}
IMAGES = ("images", "as_predicted", "as_labelled")  # among the arrays of a cell
# What draws an image without a network, by the column of its error.
BESIDE = {
    "principal_error": "16 principal components of its class",
    "mean_image_error": "the mean image of the class",
}


def report(results: Results) -> Report:
    """Drawings of both trainings, and their errors."""
    pictures = {name: draw(results, results.of(name)[0]) for name in LOSSES}
    pairs = [(name, other) for name in LOSSES for other in beside(results)]
    judged = dict(zip(pairs, judge([above(results, *pair) for pair in pairs])))
    lines, figures = [], []
    for name in LOSSES:
        rows = results.of(name)
        errors = summarise([row["test_error"] for row in rows])
        others = [f"{mean_of(rows, other):.1f}" for other in beside(results)]
        lines.append([name, drawing_of(rows), *others, plus_minus(errors)])
        figures.append(f"weights of {WHOSE[name]}: squared error of a drawing {words(rows)}")
    header = [
        "weights of the loss", "error of a drawing",
        *(f"of {BESIDE[other]}" for other in beside(results)), "test error, %",
    ]  # fmt: skip
    sharpest = pictures["authors"][:1]
    parts = [
        *sharpest,
        table(header, lines),
        "Sums of squared pixel errors of a held-out image, mean over all of them. The drawings "
        "above are of the weights of the authors’ code.",
        "## Differences",
        plain_table(list(judged.values()), "squared error"),
        f"Intervals count seeds and images. p is corrected for the number of comparisons. {RULES}",
        *budget_part({WHOSE[name]: results.of(name) for name in LOSSES}, results.scale),
    ]
    for name, shown in pictures.items():
        others = [picture for picture in shown if picture not in sharpest]
        parts += [f"## Drawings, weights of the loss: {name}", *others] if others else []
    deciding = beside(results)[0]
    found = [
        Finding(
            f"A class capsule draws its digit with a lower error than {BESIDE[deciding]} "
            f"(weights of {WHOSE[name]})",
            "shown in a figure",
            f"squared error of a drawing {words(results.of(name))}",
            judged[name, deciding].verdict,
        )
        for name in LOSSES
    ]
    return Report(figures, "\n\n".join(parts), found)


def beside(results: Results) -> list[str]:
    """What the drawings are compared with; older rows have the mean image alone."""
    return [other for other in BESIDE if other in results.rows[0]]


def above(results: Results, name: str, other: str) -> Difference:
    """The error of the drawings less that of what needs no network, over seeds and images."""
    rows = results.of(name)
    first = results.arrays(rows[0])
    if other in first:
        own = np.stack([results.arrays(row)["drawing_error"] for row in rows])
        estimate = crossed_difference(own, np.broadcast_to(first[other], own.shape))
    else:
        estimate = over_seeds([row["drawing_error"] - row[other] for row in rows])
    return Difference(f"drawing, weights of {WHOSE[name]},", BESIDE[other], estimate)


def words(rows: Sequence[Row]) -> str:
    """The error of a drawing, and of what it is compared with."""
    others = [f"of {BESIDE[o]} {mean_of(rows, o):.1f}" for o in BESIDE if o in rows[0]]
    return ", ".join([drawing_of(rows), *others])


def drawing_of(rows: Sequence[Row]) -> str:
    """The error of a drawing."""
    return plus_minus(summarise([row["drawing_error"] for row in rows]), 1, 1)


def mean_of(rows: Sequence[Row], column: str) -> float:
    """The mean of a column."""
    return summarise([row[column] for row in rows]).mean


def draw(results: Results, row: Row) -> list[str]:
    """The pictures of a training, as Markdown."""
    arrays = slim(results.arrays(row))
    kept = {name: torch.from_numpy(arrays[name]) for name in (*IMAGES, "labels", "predictions")}
    for name in IMAGES:
        kept[name] = kept[name] / 255
    right = kept["labels"] == kept["predictions"]
    names = [str(k) for k in range(int(max(kept["labels"].max(), kept["predictions"].max())) + 1)]
    name = row["cell"]
    lines = []
    if right.any():
        own = {key: value[right] for key, value in kept.items()}
        draw_reconstructions(
            own["images"], own["as_labelled"], own["labels"], own["predictions"], names,
            path=results.folder / f"right_{name}.png",
        )  # fmt: skip
        lines.append(f"![Held-out images and their reconstructions](right_{name}.png)")
    if not right.all():
        own = {key: value[~right] for key, value in kept.items()}
        draw_tiles(
            [own["images"], own["as_predicted"], own["as_labelled"]],
            own["labels"], own["predictions"], [""] * len(own["labels"]), names,
            title="Mistakes: the image, drawn as the predicted class, drawn as the true class",
            key={"true class → predicted class": WRONG},
            most=10, largest=1.3, path=results.folder / f"wrong_{name}.png",
        )  # fmt: skip
        lines.append(f"![Mistakes, drawn as the predicted and the true class](wrong_{name}.png)")
    return lines


def slim(arrays: Arrays) -> Arrays:
    """The images and drawings in 256 shades, as a picture has them."""
    return {
        name: (255 * array).round().astype(np.uint8)
        if name in IMAGES and np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in arrays.items()
    }
