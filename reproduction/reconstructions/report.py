"""The report of `reconstructions`: drawings of right and of wrong answers, and their errors."""

import numpy as np
import torch

from reproduction.harness.cell import Arrays, Row
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import plus_minus, table
from reproduction.harness.statistics import summarise
from torchcaps.training.pictures import draw_reconstructions
from torchcaps.training.pictures.style import WRONG
from torchcaps.training.pictures.tiles import draw_tiles

__all__ = ["LOSSES", "report", "slim"]

LOSSES = ("paper", "authors")
IMAGES = ("images", "as_predicted", "as_labelled")  # among the arrays of a cell


def report(results: Results) -> Report:
    """Drawings of both trainings, and their errors."""
    figures, lines, findings = [], [], []
    pictures = {name: draw(results, results.of(name)[0]) for name in LOSSES}
    for name in LOSSES:
        rows = results.of(name)
        ours, mean, error = (
            summarise([row[column] for row in rows])
            for column in ("drawing_error", "mean_image_error", "test_error")
        )
        lines.append([name, plus_minus(ours, 1, 1), f"{mean.mean:.1f}", plus_minus(error)])
        whose = "the paper" if name == "paper" else "the authors’ code"
        errors = f"{plus_minus(ours, 1, 1)}, of the mean image of the class {mean.mean:.1f}"
        figures.append(f"weights of {whose}: squared error of a drawing {errors}")
        findings.append(
            Finding(
                f"A class capsule holds the details of its digit (weights of {whose})",
                "shown in a figure",
                f"squared error of a drawing {errors}",
                "details are kept" if ours.mean < mean.mean else "no better than the mean image",
            )
        )
    header = ["weights of the loss", "error of a drawing", "of the mean image", "test error, %"]
    sharpest = pictures["authors"][:1]
    parts = [
        *sharpest,
        table(header, lines),
        "Sums of squared pixel errors of a held-out image, mean over all of them. The drawings "
        "above are of the weights of the authors’ code.",
    ]
    for name, shown in pictures.items():
        others = [picture for picture in shown if picture not in sharpest]
        parts += [f"## Drawings, weights of the loss: {name}", *others] if others else []
    return Report(figures, "\n\n".join(parts), findings)


def draw(results: Results, row: Row) -> list[str]:
    """The pictures of a training, as Markdown."""
    kept = {name: torch.from_numpy(array) for name, array in slim(results.arrays(row)).items()}
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
        if np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in arrays.items()
    }
