"""A table of networks with published errors beside ours, and paired tests of two of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reproduction.harness.charts import headline, legend_above, series
from reproduction.harness.experiment import Results
from reproduction.harness.markdown import interval, p_value, table
from reproduction.harness.statistics import discordant, mcnemar, summarise
from torchcaps.training.pictures.style import BLUE, INK, WIDTH, Path, figure

__all__ = ["Comparison", "compared", "draw_errors", "paired_table", "verdict"]


class Comparison(NamedTuple):
    """A network that is compared, with its published error and the spread of it in percent."""

    label: str
    options: dict[str, object]
    published: float | None
    spread: float | None = None


def compared(
    first: Comparison, second: Comparison, ours: Sequence[float], theirs: Sequence[float]
) -> str:
    """The difference of the errors of two networks, seed by seed, with its interval.

    Args:
        first, second: the networks.
        ours, theirs: errors of the first and of the second, by seed.
    """
    spread = summarise([a - b for a, b in zip(ours, theirs)])
    known = f"95 % interval {interval(spread)}" if spread.deviation is not None else "one seed"
    if first.published is not None and second.published is not None:
        known += f"; published {first.published - second.published:+.2f}"
    said = f"{first.label} minus {second.label}: {100 * spread.mean:+.2f} points ({known})"
    return f"{said}: {verdict(first, second, ours, theirs)}"


def verdict(
    first: Comparison, second: Comparison, ours: Sequence[float], theirs: Sequence[float]
) -> str:
    """Decided where the interval of the difference leaves out zero, whichever way it then is."""
    spread = summarise([a - b for a, b in zip(ours, theirs)])
    if not (spread.low > 0 or spread.high < 0):
        return "not decided"
    if first.published is None or second.published is None:
        return "more" if spread.mean > 0 else "less"
    agrees = (spread.mean > 0) == (first.published > second.published)
    return "as published" if agrees else "the reverse of what is published"


def paired_table(
    results: Results, comparisons: Mapping[str, Comparison], best: str, wrong: str
) -> str:
    """McNemar's test of every network against one, on the same held-out images.

    Args:
        results: their cells have the names of the comparisons.
        comparisons: by the name of their cells.
        best: which all others are compared with.
        wrong: the array that says which images are answered wrongly.
    """
    answers = {
        (row["cell"], row["seed"]): results.arrays(row)[wrong].astype(bool) for row in results.rows
    }
    seeds = [row["seed"] for row in results.of(best)]
    body = []
    for name, one in comparisons.items():
        if name == best:
            continue
        counts = [discordant(answers[name, seed], answers[best, seed]) for seed in seeds]
        ours, theirs = (sum(part) for part in zip(*counts))
        single = ", ".join(p_value(mcnemar(*pair)) for pair in counts)
        body.append([one.label, ours, theirs, p_value(mcnemar(ours, theirs)), single])
    only_best = f"only {comparisons[best].label} wrong"
    header = ["", "only this wrong", only_best, "p, pooled", "p by seed"]
    return table(header, body)


def draw_errors(
    comparisons: Mapping[str, Comparison],
    errors: Mapping[str, Sequence[float]],
    *,
    title: str,
    measured: str,
    path: Path,
) -> None:
    """Draw the error of every network beside the published one.

    Args:
        comparisons: by name.
        errors: by the same names, one a seed.
        title: above the picture.
        measured: what the axis says.
        path: the PNG file to write.
    """
    with figure(WIDTH, 3.4, path=path) as page:
        page.set_layout_engine("constrained")
        axes = page.subplots()
        labelled = False
        for k, (name, one) in enumerate(comparisons.items()):
            values = [[100 * error for error in errors[name]]]
            series(axes, [k - 0.08], values, BLUE, "o", "ours" if k == 0 else None)
            if one.published is not None:
                axes.errorbar(
                    [k + 0.12], [one.published], yerr=one.spread, color=INK, marker="D",
                    fillstyle="none", linestyle="", label=None if labelled else "published",
                )  # fmt: skip
                labelled = True
        words = [one.label.replace(", ", "\n") for one in comparisons.values()]
        axes.set_xticks(range(len(comparisons)), words)
        axes.set(ylabel=measured, ylim=(0, None), xlim=(-0.5, len(comparisons) - 0.5))
        axes.grid(visible=True, axis="y")
        legend_above(axes)
        headline(page, title)
