"""The pictures that a finished run leaves in its folder, for a person who looks at them.

All are PNG files in one style (`STYLE`, `PALETTE`), whatever a matplotlibrc says, and are written
atomically. Only figure objects and the Agg canvas are used: no window, no global figure, and
matplotlib's settings are as before when a function returns.

Class names are drawn as they are, `$` and `_` included. A character that no font at hand has (the
fonts are DejaVu Sans, then those of `FALLBACK_FONTS` that are installed) is drawn as □ and the name
is preceded by the number of its class, so that two names never look the same because of it.
"""

import bisect
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from torchcaps.storage import atomic_path

__all__ = [
    "draw_confusion",
    "draw_learning_curves",
    "draw_mistakes",
    "draw_prediction",
    "draw_reconstructions",
]

# Okabe and Ito's colours: told apart with every common kind of colour blindness.
PALETTE = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "pink": "#CC79A7",
}
INK, QUIET, LINE = "#333333", "#767676", "#D9D9D9"
WRONG = PALETTE["vermillion"]
NOT_A_NUMBER = PALETTE["pink"]

STYLE: dict[str, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": "figure",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "figure.constrained_layout.w_pad": 0.09,  # inches
    "figure.constrained_layout.h_pad": 0.07,
}
FONT = "DejaVu Sans"  # comes with matplotlib
FALLBACK_FONTS = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)
MARGIN = 0.12  # inches, around tiles
WIDTH = 8.0  # inches: 1200 pixels, so that 10 points stay readable when shown 900 pixels wide

Path = str | os.PathLike[str]
Pixels = npt.NDArray[np.float32]


def draw_learning_curves(history: Sequence[Mapping[str, float | None]], *, path: Path) -> None:
    """Draw the loss and the accuracy of each epoch, side by side.

    A panel is logarithmic where its values span more than a decade; the right one then shows the
    error (100 % − accuracy), which is what still moves near 100 %. Values that are absent, None or
    not finite are left out, and the line joins their neighbours.

    Args:
        history: one mapping an epoch, at least one, with `epoch`, `loss`, `classification_loss`,
            `reconstruction_loss` (≥ 0), `train_accuracy` and `validation_accuracy` (in [0, 1]).
        path: the PNG file to write.

    Raises:
        ValueError: `history` is empty.
    """
    if not history:
        raise ValueError("history is empty: there is no epoch to draw")
    losses = {
        "total": _series(history, "loss"),
        "classification": _series(history, "classification_loss"),
        "reconstruction": _series(history, "reconstruction_loss"),
    }
    if losses["total"] == losses["classification"]:  # no reconstruction: one line, not two
        losses = {"loss": losses["total"]}
    accuracies = {
        "training": _series(history, "train_accuracy"),
        "validation": _series(history, "validation_accuracy"),
    }
    errors = {k: {e: 1 - a for e, a in s.items()} for k, s in accuracies.items()}
    with _figure(WIDTH, 3.4, path=path) as figure:
        left, right = figure.subplots(1, 2)
        _curves(left, "Loss", losses, "mean of an epoch")
        if _spans_a_decade(errors):
            _curves(right, "Error", errors, "error, %", scale=100)
            _mark_best(right, errors["validation"], min)
        else:
            _curves(right, "Accuracy", accuracies, "accuracy, %", scale=100)
            _mark_best(right, accuracies["validation"], max)
        for axes in (left, right):
            _legend_above(axes)


def draw_reconstructions(
    images: Tensor,
    reconstructions: Tensor,
    labels: Tensor,
    predictions: Tensor,
    class_names: Sequence[str],
    *,
    path: Path,
) -> None:
    """Draw each input above its reconstruction, with its class, and mark the wrong predictions.

    Up to ten pairs stand side by side; more continue below.

    Args:
        images: [N, C, H, W] in [0, 1], N ≥ 1. One channel is grey, three are RGB, of any other
            number the mean is shown. NaN is shown in pink.
        reconstructions: the same shape and range.
        labels, predictions: [N], true and predicted class.
        class_names: the name of each class.
        path: the PNG file to write.

    Raises:
        ValueError: the shapes do not belong together, or N is 0.
    """
    count = len(images)
    if count == 0 or images.shape != reconstructions.shape:
        raise ValueError(
            "images and reconstructions need one shape [N, C, H, W] with N of at least 1, "
            f"not {list(images.shape)} and {list(reconstructions.shape)}"
        )
    _check_count(count, labels=labels, predictions=predictions)
    wrong = bool((labels != predictions).any())
    key = {"class, where it is predicted right" if wrong else "class, predicted right": INK}
    if wrong:
        key["true class → predicted class, where it is not"] = WRONG
    _draw_tiles(
        [images, reconstructions],
        labels.tolist(),
        predictions.tolist(),
        [""] * count,
        class_names,
        title="Inputs (above) and their reconstructions (below)",
        key=key,
        columns=_columns(count, most=10),
        largest=1.3,
        path=path,
    )


def draw_confusion(matrix: Tensor, class_names: Sequence[str], *, path: Path) -> None:
    """Draw which class is taken for which: one row a true class, one column a predicted one.

    A cell's colour is the share of the row's examples that were predicted so, right answers left
    out (grey), so that mistakes are seen beside a full diagonal; the scale follows the square root.
    Up to 20 classes the counts stand in the cells.

    Args:
        matrix: [J, J] counts ≥ 0, rows true, columns predicted.
        class_names: the J names.
        path: the PNG file to write.

    Raises:
        ValueError: `matrix` is not [J, J] with one name for each class.
    """
    classes = len(class_names)
    if matrix.shape != (classes, classes) or not classes:
        raise ValueError(f"matrix is {list(matrix.shape)}, but there are {classes} class names")
    counts = matrix.detach().cpu().numpy().astype(np.int64)
    side = min(2.2 + 0.3 * classes, 6.6) if classes < 78 else min(0.085 * classes, 14.0)
    with _figure(side, side, layout=None, path=path) as figure:
        axes, bar_axes = _matrix_axes(figure, _legible(class_names), side)
        shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        mistakes = np.ma.masked_array(shares, mask=np.eye(classes, dtype=bool))
        # At 1 % or less the scale would show noise in full colour.
        norm = PowerNorm(0.5, vmin=0, vmax=max(1.0, float(mistakes.filled(0).max())))
        shades = ["#FFFFFF", "#FDC58F", WRONG, "#7A2E00"]
        colours = LinearSegmentedColormap.from_list("mistakes", shades).with_extremes(bad="#CFD8DE")
        image = axes.imshow(mistakes, cmap=colours, norm=norm, interpolation="nearest")
        bar = figure.colorbar(image, cax=bar_axes, ticks=MaxNLocator(5))
        bar.set_label("mistakes, % of the true class")
        bar.outline.set_visible(False)
        if classes <= 20:
            _counts(axes, counts, norm, side)
        total = int(counts.sum())
        right = f", accuracy {100 * counts.trace() / total:.2f} %" if total else ""
        axes.set_title(f"{_thousands(total)} example{'' if total == 1 else 's'}{right}", pad=8)


def draw_mistakes(
    images: Tensor,
    labels: Tensor,
    predictions: Tensor,
    confidences: Tensor,
    class_names: Sequence[str],
    *,
    path: Path,
    total: int,
) -> None:
    """Draw the most confident mistakes as tiles, each with "true → predicted (confidence)".

    Without any mistake the figure says so in words.

    Args:
        images: [N, C, H, W] in [0, 1], drawn in this order: sort by falling confidence before.
            Shown as in `draw_reconstructions`. N may be 0; beyond 24 the rest is not drawn.
        labels, predictions: [N], true and predicted class.
        confidences: [N] in [0, 1], the activation of the predicted class.
        class_names: the name of each class.
        path: the PNG file to write.
        total: how many mistakes there are in all, drawn or not.

    Raises:
        ValueError: the shapes do not belong together, or `total` is not a possible number.
    """
    count = min(len(images), 24)
    _check_count(len(images), labels=labels, predictions=predictions, confidences=confidences)
    if total < len(images) or (total > 0 and count == 0):
        raise ValueError(f"total is {total} mistakes, but {len(images)} images came with it")
    if count == 0:
        with _sheet(5.0, path=path) as sheet:
            words = "No mistakes: every prediction is right."
            _write(sheet, MARGIN, 0.38, words, size=11, bold=True)
        return
    if count < total:
        title = f"The {count} most confident of {_thousands(total)} mistakes"
    elif count > 1:
        title = f"The {count} mistakes, the most confident first"
    else:
        title = "The only mistake"
    _draw_tiles(
        [images[:count]],
        labels[:count].tolist(),
        predictions[:count].tolist(),
        [f" ({confidence:.2f})" for confidence in confidences[:count].tolist()],
        class_names,
        title=title,
        key={"true class → predicted class (its activation)": WRONG},
        columns=_columns(count, most=6),
        largest=1.4,
        path=path,
    )


def draw_prediction(
    image: Tensor,
    reconstruction: Tensor | None,
    activation: Tensor,
    class_names: Sequence[str],
    *,
    path: Path,
    title: str,
) -> None:
    """Draw one image, its reconstruction, and how active each class is, the winner in blue.

    Classes stand in their own order. Of more than 20, only the 20 most active are drawn.

    Args:
        image: [C, H, W] in [0, 1], as the network sees it.
        reconstruction: [C, H, W] in [0, 1], or None for a model that has none.
        activation: [J] in [0, 1], the length of each class capsule (or its probability).
        class_names: the J names.
        path: the PNG file to write.
        title: a line above all, such as the name of the file.

    Raises:
        ValueError: there is not one name for each class.
    """
    _check_count(len(class_names), activation=activation)
    lengths = activation.detach().cpu().float().numpy()
    chosen = np.sort(np.argsort(-lengths, kind="stable")[:20])  # NaN comes last
    winner = int(np.flatnonzero(chosen == np.argmax(np.nan_to_num(lengths, nan=-1)))[0])
    pictures = {"input": image}
    if reconstruction is not None:
        pictures["reconstruction"] = reconstruction
    height = max(2.9, 1.1 + 0.21 * len(chosen))
    tall = len(chosen) > 14  # then there is room for one picture below the other
    rows: list[Any] = [[name, "bars"] for name in pictures] if tall else [[*pictures, "bars"]]
    ratios = [1.0] * (len(rows[0]) - 1) + [1.7]
    with _figure(WIDTH if len(rows[0]) == 3 else 6.6, height, path=path) as figure:
        heading = _shortened(figure, _drawable(title), 11, 0.78 * figure.get_figwidth())  # bold
        left = STYLE["figure.constrained_layout.w_pad"] / figure.get_figwidth()
        figure.suptitle(heading, x=left, ha="left", fontsize=11, fontweight="bold")
        places = figure.subplot_mosaic(rows, width_ratios=ratios)
        for name, picture in pictures.items():
            axes = places[name]
            axes.imshow(_pixels(picture[None])[0])
            axes.set_title(name, fontsize=10)
            axes.set(xticks=[], yticks=[], anchor="NW")
            axes.spines[:].set_visible(False)
        legible = _legible(class_names)
        names = [_shortened(figure, legible[k], 9, 1.4) for k in chosen]
        _bars(places["bars"], lengths[chosen], names, winner)
        if len(chosen) < len(lengths):
            few = f"activation (the {len(chosen)} highest of {len(lengths)} classes)"
            places["bars"].set_xlabel(few)


# What the pictures are made of.


@contextmanager
def _figure(
    width: float,
    height: float,
    *,
    path: Path,
    layout: Literal["constrained"] | None = "constrained",
) -> Iterator[Figure]:
    """A figure of so many inches, in the project's style, written to `path` when all went well."""
    with style.context(["default", {**STYLE, "font.family": _families()}]):
        figure = Figure(figsize=(width, height), layout=layout)
        FigureCanvasAgg(figure)
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


@contextmanager
def _sheet(width: float, *, path: Path) -> Iterator[Figure]:
    """A figure with one bare axes whose units are inches from the top left.

    Tiles are placed by arithmetic: a hundred axes under the layout engine take many seconds.
    """
    with _figure(width, 1.0, path=path, layout=None) as figure:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set(xlim=(0.0, width), ylim=(1.0, 0.0))
        yield figure


def _draw_tiles(
    stacks: Sequence[Tensor],
    labels: Sequence[int],
    predictions: Sequence[int],
    notes: Sequence[str],
    class_names: Sequence[str],
    *,
    title: str,
    key: Mapping[str, str],
    columns: int,
    largest: float,
    path: Path,
) -> None:
    """Tiles in rows: each picture of the first stack above those of the others, then its class."""
    names, gap, inner, line = _legible(class_names), 0.14, 0.05, 0.165
    side = min(largest, (WIDTH - 2 * MARGIN + gap) / columns - gap)
    width = columns * (side + gap) - gap + 2 * MARGIN
    with _sheet(max(5.0, width), path=path) as sheet:
        captions = [
            _caption(sheet, names, true, guess, note=note, width=side + 0.02)
            for true, guess, note in zip(labels, predictions, notes)
        ]
        _write(sheet, MARGIN, 0.12, title, size=11, bold=True)
        x = MARGIN
        top = 0.4
        for words, colour in key.items():
            if x + _width(sheet, words) > sheet.get_figwidth():
                x, top = MARGIN, top + line
            _write(sheet, x, top, words, colour=colour)
            x += _width(sheet, words) + 0.25
        top += 0.3
        tall = len(stacks) * (side + inner)
        row = tall + line * max(caption.count("\n") + 1 for caption in captions) + 0.17
        height = top + row * math.ceil(len(captions) / columns)
        sheet.set_figheight(height)
        sheet.axes[0].set_ylim(height, 0.0)
        stacked = [_pixels(stack) for stack in stacks]
        for k, caption in enumerate(captions):
            x, y = MARGIN + k % columns * (side + gap), top + k // columns * row
            colour = INK if labels[k] == predictions[k] else WRONG
            for depth, pixels in enumerate(stacked):
                _tile(sheet, pixels[k], x, y + depth * (side + inner), side, frame=colour)
            _write(sheet, x + side / 2, y + tall, caption, colour=colour, align="center")


def _tile(sheet: Figure, pixels: Pixels, x: float, y: float, side: float, *, frame: str) -> None:
    """Place a picture in the middle of the square (x, y, side), its proportions kept."""
    rows, columns = pixels.shape[:2]
    width, height = side * min(1.0, columns / rows), side * min(1.0, rows / columns)
    x, y = x + (side - width) / 2, y + (side - height) / 2
    axes = sheet.axes[0]
    axes.imshow(pixels, extent=(x, x + width, y + height, y), aspect="auto")
    thickness = 1.8 if frame == WRONG else 0.5
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=frame, lw=thickness))


def _write(
    sheet: Figure,
    x: float,
    y: float,
    words: str,
    *,
    size: float = 9.0,
    colour: str = INK,
    align: Literal["left", "center"] = "left",
    bold: bool = False,
) -> None:
    """Write below y, from x on or around it; equal y are equal baselines."""
    weight = "bold" if bold else "normal"
    for k, line in enumerate(words.split("\n")):
        down = y + (1 + 1.3 * k) * size / 72
        sheet.axes[0].text(x, down, line, size=size, color=colour, ha=align, weight=weight)


def _pixels(images: Tensor) -> Pixels:
    """[N, C, H, W] of any range to [N, H, W, 3] in [0, 1]."""
    values = images.detach().cpu().float()
    if values.shape[1] != 3:
        values = values.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    pixels: Pixels = values.permute(0, 2, 3, 1).numpy().copy()
    pixels[np.isnan(pixels).any(-1)] = to_rgb(NOT_A_NUMBER)
    return pixels.clip(0, 1)


def _columns(count: int, *, most: int) -> int:
    """Columns for `count` tiles in as few rows as can be, the rows about equally full."""
    return math.ceil(count / math.ceil(count / most))


def _series(history: Sequence[Mapping[str, float | None]], key: str) -> dict[float, float]:
    """Epoch to value, where there is a finite one."""
    pairs = ((row["epoch"], row.get(key)) for row in history)
    return {
        float(epoch): float(value)
        for epoch, value in pairs
        if epoch is not None and value is not None and math.isfinite(value)
    }


def _spans_a_decade(lines: Mapping[str, Mapping[float, float]]) -> bool:
    positive = [value for line in lines.values() for value in line.values() if value > 0]
    return bool(positive) and max(positive) > 10 * min(positive)


def _curves(
    axes: Axes,
    title: str,
    lines: Mapping[str, Mapping[float, float]],
    unit: str,
    *,
    scale: float = 1.0,
) -> None:
    """One panel: a line a name."""
    colours = ("blue", "vermillion", "green")
    for (name, line), colour, marker in zip(lines.items(), colours, "os^"):
        if not any(line.values()) and name == "reconstruction":
            continue  # all zero or absent: there is no decoder
        if not line:
            continue
        axes.plot(
            list(line),
            [scale * value for value in line.values()],
            marker=marker if len(line) <= 40 else None,
            color=PALETTE[colour],
            label=name,
        )
    axes.set(xlabel="epoch", ylabel=unit)
    axes.set_title(title, pad=24, fontweight="bold")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not any(lines.values()):
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no finite value", ha="center", transform=axes.transAxes)
        return
    epochs = {epoch for line in lines.values() for epoch in line}
    if len(epochs) == 1:
        axes.set_xlim(min(epochs) - 1, min(epochs) + 1)
        axes.set_xticks(list(epochs))
    if _spans_a_decade(lines):
        positive = [v for line in lines.values() for v in line.values() if v > 0]
        many = max(positive) > 1e3 * min(positive)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _mark_best(axes: Axes, line: Mapping[float, float], best_of: Callable[..., float]) -> None:
    """A ring around the best epoch of `line` (fractions), its value in the legend."""
    if not line:
        return
    epoch = best_of(line, key=lambda epoch: line[epoch])
    value = 100 * line[epoch]
    ring: dict[str, Any] = {
        "marker": "o",
        "markersize": 10,
        "markerfacecolor": "none",
        "color": INK,
    }
    axes.plot(epoch, value, **ring, linestyle="none", label=f"best: {value:.2f} %")


def _legend_above(axes: Axes) -> None:
    """Between title and panel, where it can hide nothing."""
    if not axes.lines:
        return
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.3,
        borderpad=0,
        ncols=3,
        columnspacing=1.1,
        handlelength=1.5,
        handletextpad=0.5,
    )


def _counts(axes: Axes, counts: npt.NDArray[np.int64], norm: PowerNorm, side: float) -> None:
    digits = len(str(counts.max()))
    size = min(10.0, 72 * side / len(counts) / (0.72 * (digits + 0.6)))
    totals = np.maximum(counts.sum(1), 1)
    for (i, j), count in np.ndenumerate(counts):
        dark = i != j and float(norm(100 * count / totals[i])) > 0.6
        colour = "white" if dark else INK if count else "#BFBFBF"
        axes.text(j, i, str(count), ha="center", va="center", fontsize=size, color=colour)


def _matrix_axes(figure: Figure, names: Sequence[str], side: float) -> tuple[Axes, Axes]:
    """Axes for a square of `side` inches with a name at rows and columns, and for its colour bar.

    Names are as small as must be; beyond 200 classes or so not every one is written. The figure
    takes the size that all of this needs.
    """
    cell = 72 * side / len(names)  # in points
    size = min(9.0, max(4.0, 0.8 * cell))
    every = math.ceil(1.2 * size / cell)
    short = [_shortened(figure, name, size, max(1.3, 0.2 * side)) for name in names[::every]]
    longest = max(_width(figure, name, size) for name in short)
    upright = 72 * longest < 0.9 * cell * every
    left, bottom = longest + 0.43, (0.15 if upright else longest) + 0.38
    width, height = left + side + 0.9, bottom + side + 0.4
    figure.set_size_inches(width, height)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    bar = figure.add_axes(
        (
            (left + side + 0.15) / width,
            (bottom + 0.15 * side) / height,
            0.13 / width,
            0.7 * side / height,
        )
    )
    bar.grid(visible=False)
    ticks = range(0, len(names), every)
    axes.set_xticks(ticks, short, rotation=0 if upright else 90, fontsize=size)
    axes.set_yticks(ticks, short, fontsize=size)
    axes.set_xlabel("predicted class")
    axes.xaxis.set_label_coords(0.5, (0.1 - bottom) / side)
    axes.xaxis.label.set_verticalalignment("bottom")
    axes.set_ylabel("true class")
    axes.yaxis.set_label_coords((0.1 - left) / side, 0.5)
    axes.yaxis.label.set_verticalalignment("top")
    axes.tick_params(length=0, pad=3)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if len(names) <= 60:
        between = np.arange(len(names) - 1) + 0.5
        axes.set_xticks(between, minor=True)
        axes.set_yticks(between, minor=True)
        axes.grid(visible=True, which="minor", linewidth=min(0.6, cell / 30))
        axes.tick_params(which="minor", length=0)
    return axes, bar


def _bars(axes: Axes, lengths: npt.NDArray[Any], names: Sequence[str], winner: int) -> None:
    rows = range(len(names))
    colours = [PALETTE["blue"] if k == winner else "#B8C4CC" for k in rows]
    axes.barh(rows, np.nan_to_num(lengths), color=colours, height=0.72)
    axes.set_yticks(rows, names, fontsize=9)
    axes.set(xlim=(0, 1.16), ylim=(len(names) - 0.4, -0.6), xlabel="activation")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for k, length in enumerate(lengths):
        weight = "bold" if k == winner else "normal"
        beside = max(0.0, float(np.nan_to_num(length))) + 0.015
        axes.text(beside, k, f"{length:.2f}", va="center", fontsize=8, fontweight=weight)
    axes.get_yticklabels()[winner].set(fontweight="bold", color=PALETTE["blue"])
    axes.set_title(f"prediction: {names[winner]} ({lengths[winner]:.2f})", fontsize=10)


# Words.


def _caption(
    figure: Figure, names: Sequence[str], true: int, guess: int, *, note: str, width: float
) -> str:
    """The class of a tile, or "true → predicted" when they differ: on two lines if need be."""
    if true == guess:
        return _shortened(figure, names[true], 9, width)
    line = f"{names[true]} → {names[guess]}{note}"
    if _width(figure, line) <= width:
        return line
    rest = width - _width(figure, f"→ {note}")
    first = _shortened(figure, names[true], 9, width)
    return f"{first}\n→ {_shortened(figure, names[guess], 9, rest)}{note}"


def _shortened(figure: Figure, name: str, size: float, width: float) -> str:
    """`name`, cut and ended with … where it is wider than `width` inches."""
    if _width(figure, name, size) <= width:
        return name
    fitting = bisect.bisect_right(
        range(len(name)), width, key=lambda k: _width(figure, name[:k].rstrip() + "…", size)
    )
    return name[: max(0, fitting - 1)].rstrip() + "…"


def _width(figure: Figure, words: str, size: float = 9.0) -> float:
    """Width of a line in inches."""
    text = Text(0, 0, words, fontsize=size)
    text.set_figure(figure)
    return float(text.get_window_extent().width / figure.dpi)


def _legible(class_names: Sequence[str]) -> list[str]:
    """The names as they can be drawn; one that loses characters carries the number of its class."""
    drawable = [_drawable(name) for name in class_names]
    return [
        shown if shown == _one_line(name) else f"{k}: {shown}"
        for k, (shown, name) in enumerate(zip(drawable, class_names))
    ]


def _drawable(words: str) -> str:
    """One line, with □ for each character that no font at hand has.

    matplotlib would draw an empty box too, but warn for each; its fonts are asked beforehand.
    """
    fonts = [get_font(findfont(FontProperties(family=name))) for name in _families()]
    return "".join(
        letter if any(font.get_char_index(ord(letter)) for font in fonts) else "□"
        for letter in _one_line(words)
    )


def _families() -> list[str]:
    installed = fontManager.get_font_names()
    return [FONT, *(name for name in FALLBACK_FONTS if name in installed)]


def _one_line(words: str) -> str:
    return " ".join(words.split())


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _check_count(count: int, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.shape != (count,):
            raise ValueError(f"{name} needs the shape [{count}], not {list(tensor.shape)}")
