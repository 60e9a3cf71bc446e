"""How loss and accuracy went, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    StrMethodFormatter,
)

from torchcaps.training.metrics import wilson_interval
from torchcaps.training.pictures.style import BLUE, GREEN, QUIET, WIDTH, WRONG, Path, figure

__all__ = ["draw_learning_curves"]

Line = Mapping[float, float]  # epoch to value
COLOURS = (BLUE, WRONG, GREEN)


def draw_learning_curves(
    history: Sequence[Mapping[str, float | None]],
    *,
    path: Path,
    references: Mapping[str, float] | None = None,
    validation_images: int | None = None,
) -> None:
    """Draw the loss and the accuracy of each epoch, side by side.

    The accuracy stands on an axis from 0 to 100 %, so that chance looks like chance, with its
    references as dashed lines, and the validation accuracy within its 95 % interval. Where errors
    (100 % − accuracy) span more than a decade, and the least is below a third of that of every
    reference, the right panel shows them on a logarithmic scale: that is what still moves near
    100 %. The loss is logarithmic where it spans more than a decade, else its axis begins at 0.
    Values that are absent, None or not finite are left out, and the line joins their neighbours.

    Args:
        history: one mapping an epoch, at least one, with `epoch`, `loss`, `classification_loss`,
            `reconstruction_loss` (≥ 0), `train_accuracy` and `validation_accuracy` (in [0, 1]).
        path: the PNG file to write.
        references: accuracies in [0, 1] that take no learning, by what they are called, such as
            that of always answering with the largest class.
        validation_images: how many there are, for the interval.

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
    levels = {name: 100 * value for name, value in (references or {}).items()}
    with figure(WIDTH, 3.4, path=path) as page:
        page.set_layout_engine("constrained")
        left, right = page.subplots(1, 2)
        _curves(left, "Loss", "mean of an epoch", losses)
        _scale(left, losses, logarithmic=_span(losses) > 10)
        _accuracy(right, accuracies, levels, validation_images)
        for axes in (left, right):
            _legend_above(axes)


def _accuracy(
    axes: Axes, accuracies: Mapping[str, Line], levels: Mapping[str, float], images: int | None
) -> None:
    """The right panel: accuracies, or where they are far beyond every level, errors."""
    errors = {name: {e: 100 - a for e, a in line.items()} for name, line in accuracies.items()}
    least = min((error for line in errors.values() for error in line.values()), default=100.0)
    as_errors = _span(errors) > 10 and least < (100 - max(levels.values(), default=0.0)) / 3
    shown = errors if as_errors else accuracies
    _curves(axes, *(("Error", "error, %") if as_errors else ("Accuracy", "accuracy, %")), shown)
    if images:
        _interval(axes, shown["validation"], images)
    if as_errors:
        _scale(axes, errors, logarithmic=True)
        axes.set_ylim(top=100)
    elif axes.lines:
        axes.set(ylim=(0, 103), yticks=range(0, 101, 20))
    _levels(axes, {name: 100 - level if as_errors else level for name, level in levels.items()})


def _interval(axes: Axes, line: Line, images: int) -> None:
    """The 95 % intervals of proportions, in %, of so many images."""
    bounds = [wilson_interval(round(value / 100 * images), images) for value in line.values()]
    if bounds:
        low, high = ([100 * bound for bound in side] for side in zip(*bounds))
        axes.fill_between(
            list(line), low, high, color=WRONG, alpha=0.15, linewidth=0, label="95 % interval"
        )


def _levels(axes: Axes, levels: Mapping[str, float]) -> None:
    """Dashed lines, with their names right of the panel, none upon another."""
    above = 1.1
    for name, level in sorted(levels.items(), key=lambda item: -item[1]):
        axes.axhline(level, linestyle="--", linewidth=1.2, color=QUIET, zorder=1)
        height = float(axes.transAxes.inverted().transform(axes.transData.transform((0, level)))[1])
        above = min(height, above - 0.14)
        axes.text(
            1.02, above, f"{name}\n{level:.3g} %", transform=axes.transAxes,
            va="center", size=8, color=QUIET, linespacing=1.0,
        )  # fmt: skip


def _line(history: Sequence[Mapping[str, Any]], key: str, scale: float = 1.0) -> Line:
    """Epoch to value, where there is a finite one."""
    return {
        row["epoch"]: scale * row[key]
        for row in history
        if row.get(key) is not None and math.isfinite(row[key])
    }


def _span(lines: Mapping[str, Line]) -> float:
    """The largest value over the smallest, of those above zero."""
    positive = _positive(lines)
    return max(positive) / min(positive) if positive else 1.0


def _positive(lines: Mapping[str, Line]) -> list[float]:
    return [value for line in lines.values() for value in line.values() if value > 0]


def _curves(axes: Axes, title: str, unit: str, lines: Mapping[str, Line]) -> None:
    """One panel: a line a name."""
    for (name, line), colour, marker in zip(lines.items(), COLOURS, "os^"):
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


def _scale(axes: Axes, lines: Mapping[str, Line], *, logarithmic: bool) -> None:
    """A logarithmic axis, on which a 0 stands below the least other value, or one from 0 on."""
    positive = _positive(lines)
    if not logarithmic:
        if positive:
            axes.set_ylim(0, 1.06 * max(positive))
        return
    if any(value == 0 for line in lines.values() for value in line.values()):
        axes.set_yscale("symlog", linthresh=min(positive), linscale=0.3)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(FixedLocator([0, *_round_numbers(min(positive), axes)]))
    else:
        axes.set_yscale("log")
        subs = (1.0,) if _span(lines) > 1e3 else (1.0, 2.0, 5.0)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _round_numbers(least: float, axes: Axes) -> list[float]:
    """Powers of ten of the logarithmic part, which begins at `least`; 2s, 5s where it is short.

    matplotlib would name those of the linear part too, on top of the 0.
    """
    most = axes.get_ylim()[1]
    steps = (1, 2, 5) if most < 100 * least else (1,)
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    return [n * 10.0**power for power in powers for n in steps if least <= n * 10.0**power <= most]


def _legend_above(axes: Axes) -> None:
    """Between title and panel, where it can hide nothing."""
    if axes.get_legend_handles_labels()[0]:
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
