"""The picture of `mistakes`: what each one costs."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from reproduction.harness.cell import Row
from reproduction.harness.charts import end_without_outlier, headline, plain_numbers
from reproduction.harness.statistics import summarise
from reproduction.mistakes.variants import RIGHT, VARIANTS
from torchcaps.training.pictures.style import BLUE, GREEN, INK, WIDTH, WRONG, Path, figure

__all__ = ["draw_costs"]

Kinds = Mapping[str, Sequence[Row]]


def draw_costs(kinds: Kinds, *, path: Path) -> None:
    """Draw each mistake's error, in batches and alone, its coupling and its drawings.

    Args:
        kinds: rows by variant.
        path: the PNG file to write.
    """
    with figure(WIDTH, 1.4 + 0.36 * len(kinds), path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(1, 3, sharey=True, width_ratios=(1.5, 1, 1))
        errors, entropy, drawings = panels
        places = [-float(k) for k in range(len(kinds))]
        alone = f"{kinds[RIGHT][0]['images_by_batch']:,} of them, each alone"
        points(errors, kinds, places, "test_error", BLUE, "o", 0.13, 100, "all, in batches")
        points(errors, kinds, places, "error_alone", WRONG, "s", -0.13, 100, alone)
        decided = {
            name: [{"decided": 1 - row["entropy"]} for row in own] for name, own in kinds.items()
        }
        points(entropy, decided, places, "decided", GREEN, "o")
        entropy.set_xscale("log")
        plain_numbers(entropy.xaxis, most=3)
        points(drawings, kinds, places, "drawing_error", GREEN, "o")
        error_scale(errors, kinds, places)
        errors.set_yticks(places, [two_lines(VARIANTS[name].label) for name in kinds])
        errors.set_xlabel("test error, %")
        entropy.set_xlabel("1 − entropy of c\n/ log J")
        drawn = [row["drawing_error"] for own in kinds.values() for row in own]
        drawings.set(xlabel="error of a drawing", xlim=(0, 1.08 * max(drawn)))
        # One below the other: a legend wider than its panel would push the panels apart.
        errors.legend(loc="lower left", bbox_to_anchor=(-0.03, 1), borderpad=0, handletextpad=0.3)
        for axes in panels:
            axes.grid(visible=True)
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(places[-1] - 0.6, 0.6)
        headline(
            page,
            "What each mistake costs: mean, lowest and highest seed; dashed: the right network",
        )


def points(
    axes: Axes,
    kinds: Kinds,
    places: Sequence[float],
    name: str,
    colour: str,
    marker: str,
    aside: float = 0.0,
    scale: float = 1.0,
    label: str | None = None,
) -> None:
    """The mean of a column for each variant, a bar from the lowest seed to the highest."""
    for rows, place in zip(kinds.values(), places):
        values = [scale * row[name] for row in rows]
        y = place + aside
        axes.plot([min(values), max(values)], [y, y], "-", color=colour, linewidth=1.2)
        axes.plot(summarise(values).mean, y, marker, color=colour, label=label, linestyle="")
        label = None
    right = summarise([scale * row[name] for row in kinds[RIGHT]]).mean
    if name != "error_alone":
        axes.axvline(right, color=INK, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)


def error_scale(axes: Axes, kinds: Kinds, places: Sequence[float]) -> None:
    """From 0; what would flatten all else lies beyond the edge, where its mean is written."""
    columns = ("test_error", "error_alone")
    groups = [[100 * row[name] for name in columns for row in own] for own in kinds.values()]
    end = end_without_outlier(groups)
    axes.set_xlim(0, 1.08 * max(map(max, groups)) + 1e-3 if end is None else end)
    for own, group, place in zip(kinds.values(), groups, places):
        if end is not None and min(group) > end:
            mean = 100 * summarise([row["test_error"] for row in own]).mean
            axes.text(0.98 * end, place, f"{mean:.1f} →", ha="right", va="center", color=INK)


def two_lines(words: str) -> str:
    """Broken near its middle where it is long."""
    if len(words) < 26:
        return words
    spaces = [k for k, letter in enumerate(words) if letter == " "]
    middle = min(spaces, key=lambda k: abs(k - len(words) / 2))
    return f"{words[:middle]}\n{words[middle + 1 :]}"
