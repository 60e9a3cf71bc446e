"""How loss and accuracy went, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from torchcaps.training.pictures.style import BLUE, GREEN, WIDTH, WRONG, Path, figure

__all__ = ["draw_learning_curves"]

Line = Mapping[float, float]  # epoch to value


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
        "total": _line(history, "loss"),
        "classification": _line(history, "classification_loss"),
        "reconstruction": _line(history, "reconstruction_loss"),
    }
    if losses["total"] == losses["classification"]:  # no reconstruction: one line, not two
        losses = {"loss": losses["total"]}
    elif not any(losses["reconstruction"].values()):  # all zero: there is no decoder
        del losses["reconstruction"]
    accuracies = {
        "training": _line(history, "train_accuracy", 100),
        "validation": _line(history, "validation_accuracy", 100),
    }
    errors = {name: {e: 100 - a for e, a in line.items()} for name, line in accuracies.items()}
    with figure(WIDTH, 3.4, path=path) as page:
        page.set_layout_engine("constrained")
        left, right = page.subplots(1, 2)
        _curves(left, "Loss", "mean of an epoch", losses)
        if _span(errors) > 10:
            _curves(right, "Error", "error, %", errors)
        else:
            _curves(right, "Accuracy", "accuracy, %", accuracies)
        for axes in (left, right):
            _legend_above(axes)


def _line(history: Sequence[Mapping[str, Any]], key: str, scale: float = 1.0) -> Line:
    """Epoch to value, where there is a finite one."""
    return {
        row["epoch"]: scale * row[key]
        for row in history
        if row.get(key) is not None and math.isfinite(row[key])
    }


def _span(lines: Mapping[str, Line]) -> float:
    """The largest value over the smallest, of those above zero."""
    positive = [value for line in lines.values() for value in line.values() if value > 0]
    return max(positive) / min(positive) if positive else 1.0


def _curves(axes: Axes, title: str, unit: str, lines: Mapping[str, Line]) -> None:
    """One panel: a line a name."""
    for (name, line), colour, marker in zip(lines.items(), (BLUE, WRONG, GREEN), "os^"):
        if line:
            look = marker if len(line) <= 40 else None
            axes.plot(list(line), list(line.values()), marker=look, color=colour, label=name)
    axes.set(xlabel="epoch", ylabel=unit)
    axes.set_title(title, pad=24, fontweight="bold")
    axes.grid(visible=True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    epochs = {epoch for line in lines.values() for epoch in line}
    if not epochs:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no finite value", ha="center", transform=axes.transAxes)
    if len(epochs) == 1:
        (epoch,) = epochs
        axes.set(xlim=(epoch - 1, epoch + 1), xticks=[epoch])
    if (span := _span(lines)) > 10:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if span > 1e3 else (1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _legend_above(axes: Axes) -> None:
    """Between title and panel, where it can hide nothing."""
    if axes.lines:
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
