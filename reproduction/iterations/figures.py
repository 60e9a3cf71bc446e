"""The pictures of `iterations`."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from reproduction.harness.cell import Row
from reproduction.harness.charts import (
    end_without_outlier,
    headline,
    legend_above,
    log_scale,
    series,
)
from reproduction.harness.crossed import Estimate
from torchcaps.training.pictures.style import BLUE, GREEN, INK, WIDTH, WRONG, Path, figure

__all__ = ["draw_coupling", "draw_errors", "draw_matrix"]

Kinds = Mapping[str, Sequence[Row]]
ROUNDING = 1e-6  # of shares in float32
SHADES = LinearSegmentedColormap.from_list("error", ["#FFFFFF", "#FDC58F", WRONG, "#7A2E00"])


def draw_errors(
    kinds: Kinds, known: Mapping[str, Estimate], trained: Mapping[str, int], *, path: Path
) -> None:
    """Draw test error, and training and test loss, against r.

    The bars are 95 % intervals: of the error over seeds and images, of losses over seeds.

    Args:
        kinds: rows by what was trained: "1", …, and "random".
        known: the test errors, over seeds and images.
        trained: how many of each there are; those not among the rows have learned nothing.
        path: the PNG file to write.
    """
    with figure(WIDTH, 3.6, path=path) as page:
        page.set_layout_engine("constrained")
        left, right = page.subplots(1, 2)
        bars = [(100 * known[kind].low, 100 * known[kind].high) for kind in kinds]
        _curve(left, kinds, "test_error", BLUE, "o", "test error", 100, bars=bars)
        _curve(right, kinds, "test_loss", BLUE, "o", "held-out images", 1)
        _curve(right, kinds, "training_loss", WRONG, "s", "training images", 1, aside=0.12)
        left.set(ylabel="test error, %")
        right.set(ylabel="margin loss")
        _leave_out(left, kinds, ("test_error",), 100, "{:.1f}")
        _leave_out(right, kinds, ("test_loss", "training_loss"), 1, "{:.2f}")
        for axes in (left, right):
            _iterations(axes, kinds, trained)
        legend_above(right)
        headline(page, "Error and loss after training with r routing iterations")


def draw_coupling(kinds: Kinds, trained: Mapping[str, int], *, path: Path) -> None:
    """Draw how decided the coupling is, and where it goes.

    Args:
        kinds, trained: as in `draw_errors`.
        path: the PNG file to write.
    """
    with figure(WIDTH, 3.6, path=path) as page:
        page.set_layout_engine("constrained")
        left, right = page.subplots(1, 2)
        decided = {
            kind: [{"decided": 1 - row["entropy"]} for row in rows] for kind, rows in kinds.items()
        }
        _curve(left, decided, "decided", BLUE, "o", "entropy", 1)
        _curve(right, kinds, "to_prediction", GREEN, "o", "each alike", 100, most=100)
        _curve(
            right,
            kinds,
            "to_prediction_by_length",
            WRONG,
            "s",
            "by its length",
            100,
            aside=0.12,
            most=100,
        )
        # Uniform coupling, 0 but for rounding, has no place on the scale.
        shown = [row["decided"] for rows in decided.values() for row in rows]
        low = min((value for value in shown if value > ROUNDING), default=ROUNDING)
        log_scale(left)
        left.set(ylabel="1 − entropy of c / log J\n(0: equal shares, 1: one parent)")
        left.set_ylim(low / 3, 2 * max(*shown, low))
        right.set(
            ylabel="input capsules whose strongest\nparent is the predicted class, %", ylim=(0, 105)
        )
        for axes in (left, right):
            _iterations(axes, kinds, trained)
        legend_above(right)
        headline(page, "Coupling in the last iteration, on held-out images")


def draw_matrix(kinds: Kinds, iterations: Sequence[int], *, path: Path) -> None:
    """Draw the mean test error of each training evaluated with each number of iterations.

    Args:
        kinds: as in `draw_errors`.
        iterations: with which all were evaluated.
        path: the PNG file to write.
    """
    errors = np.array(
        [
            [100 * np.mean([row[f"test_error_with_{r}"] for row in rows]) for r in iterations]
            for rows in kinds.values()
        ]
    )
    norm = PowerNorm(0.5, vmin=errors.min(), vmax=max(errors.max(), errors.min() + 1))
    width, height = 1.9 + 0.62 * len(iterations), 1.5 + 0.38 * len(kinds)
    with figure(max(5.0, width), height, path=path) as page:
        page.set_layout_engine("constrained")
        axes = page.subplots()
        image = axes.imshow(errors, cmap=SHADES, norm=norm, aspect="auto")
        axes.set_xticks(range(len(iterations)), [str(r) for r in iterations])
        axes.set_yticks(range(len(kinds)), list(kinds))
        axes.set(xlabel="evaluated with r", ylabel="trained with r")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (i, j), error in np.ndenumerate(errors):
            colour = "white" if norm(error) > 0.6 else INK
            axes.text(j, i, f"{error:.2f}", ha="center", va="center", fontsize=9, color=colour)
        bar = page.colorbar(image)
        bar.set_label("test error, %")
        bar.outline.set_visible(False)
        headline(page, "Trained with one r, evaluated with another")


def _curve(
    axes: Axes,
    kinds: Kinds,
    name: str,
    colour: str,
    marker: str,
    label: str,
    scale: float,
    aside: float = 0.0,
    bars: Sequence[tuple[float, float]] | None = None,
    most: float = math.inf,
) -> None:
    """A column of the rows against r, with random coupling apart at the right."""
    values = [[scale * row[name] for row in rows] for rows in kinds.values()]
    places = [k + aside for k in range(len(values) - 1)]
    some, last = (None, None) if bars is None else (bars[:-1], bars[-1:])
    series(axes, places, values[:-1], colour, marker, label, bars=some, most=most)
    apart = [len(values) - 0.5 + aside]
    series(axes, apart, values[-1:], colour, marker, bars=last, most=most)


def _leave_out(axes: Axes, kinds: Kinds, names: Sequence[str], scale: float, words: str) -> None:
    """End the axis below what would flatten all else, and write that at the edge."""
    groups = [[scale * row[name] for name in names for row in rows] for rows in kinds.values()]
    end = end_without_outlier(groups)
    if end is None:
        return
    place = next(k for k, group in enumerate(groups) if min(group) > end)
    at = place if place < len(groups) - 1 else place + 0.5
    mean = scale * np.mean([row[names[0]] for row in list(kinds.values())[place]])
    least = min(map(min, groups))
    axes.set_ylim(least - 0.2 * (end - least), end)
    axes.annotate(
        f"{words.format(mean)} ↑", (at, end), (-10, -4), textcoords="offset points", ha="left",
        va="top", color=INK,
    )  # fmt: skip


def _iterations(axes: Axes, kinds: Kinds, trained: Mapping[str, int]) -> None:
    """r as equidistant ticks, with how many trainings are drawn where it is not all."""
    places = [*range(len(kinds) - 1), len(kinds) - 0.5]
    words = [
        f"{kind}\n{len(rows)} of {trained[kind]}" if len(rows) < trained[kind] else kind
        for kind, rows in kinds.items()
    ]
    axes.set_xticks(places, [*words[:-1], words[-1].replace("random", "random\ncoupling")])
    axes.set_xlabel("r", loc="left", labelpad=-8)
    axes.grid(visible=True, axis="y")
