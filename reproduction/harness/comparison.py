"""Networks with published errors beside ours, and what is said of the difference of two."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reproduction.harness.cell import Row
from reproduction.harness.charts import headline, legend_above, series
from reproduction.harness.crossed import Estimate, crossed_difference, crossed_mean
from reproduction.harness.experiment import Finding, Results
from reproduction.harness.markdown import interval, p_value, table
from reproduction.harness.verdict import RULES, Difference, Judgement
from torchcaps.training.pictures.style import BLUE, INK, WIDTH, Path, figure

__all__ = [
    "INTERVALS",
    "Comparison",
    "Parts",
    "differences",
    "differences_on",
    "draw_errors",
    "error_of",
    "finding_of",
    "judgement_part",
    "judgement_table",
    "on_mnist",
    "plain_table",
    "said_of",
    "with_published",
    "wrong_by_seed",
]

INTERVALS = (
    "Intervals are at 95 % and count both the seeds and the test images, as crossed random effects."
)
Wrong = npt.NDArray[np.float64]
Parts = npt.NDArray[np.generic]


class Comparison(NamedTuple):
    """A network that is compared, with its published error and the spread of it in percent."""

    label: str
    options: dict[str, object]
    published: float | None
    spread: float | None = None


def on_mnist(results: Results) -> bool:
    """Whether the published errors are of the same images."""
    config = results.scale.training
    return config is not None and config.data == "mnist"


def with_published(networks: Mapping[str, Comparison], results: Results) -> dict[str, Comparison]:
    """The networks, without the errors published of MNIST where these are of other images."""
    if on_mnist(results):
        return dict(networks)
    return {name: one._replace(published=None, spread=None) for name, one in networks.items()}


def wrong_by_seed(results: Results, rows: Sequence[Row], name: str = "wrong") -> Wrong:
    """Which images each of some trainings answers wrongly, `[S, N]`: 0, 1, or a share of both."""
    return np.stack([results.arrays(row)[name].astype(float) for row in rows])


def error_of(
    results: Results, cell: str, name: str = "wrong", parts: Parts | None = None
) -> Estimate:
    """The error of a network, over its seeds and the images."""
    return crossed_mean(wrong_by_seed(results, results.of(cell), name), parts)


def differences(
    results: Results,
    networks: Mapping[str, Comparison],
    pairs: Sequence[tuple[str, str]],
    name: str = "wrong",
    parts: Parts | None = None,
) -> list[Difference]:
    """The error of the first network of each pair less that of the second, by their answers.

    Args:
        results: their cells have the names of the networks.
        networks: by the name of their cells.
        pairs: which are compared, of trainings with the seeds that both have.
        name: the array that says which images are answered wrongly.
        parts: what the images are put together of, as in `crossed_mean`.
    """
    return [
        Difference(
            networks[first].label,
            networks[second].label,
            answers_differ(results, results.of(first), results.of(second), name, parts),
            *published_difference(networks[first], networks[second]),
        )
        for first, second in pairs
    ]


def differences_on(
    results: Results,
    networks: Mapping[str, Comparison],
    pairs: Sequence[tuple[str, str]],
    samples: Sequence[str],
) -> list[list[Difference]]:
    """The differences of some pairs on each sample of images.

    Arguments as of `differences`, and the names of the arrays that say which images of a sample are
    answered wrongly. What is published is of the first sample.
    """
    first, *others = samples
    unpublished = {name: one._replace(published=None) for name, one in networks.items()}
    return [
        differences(results, networks, pairs, first),
        *(differences(results, unpublished, pairs, name) for name in others),
    ]


def answers_differ(
    results: Results,
    first: Sequence[Row],
    second: Sequence[Row],
    name: str = "wrong",
    parts: Parts | None = None,
) -> Estimate:
    """The error of some trainings less that of others, over the seeds that both have."""
    there = {row["seed"]: row for row in second}
    pairs = [(row, there[row["seed"]]) for row in first if row["seed"] in there]
    ours, theirs = (wrong_by_seed(results, rows, name) for rows in zip(*pairs))
    return crossed_difference(ours, theirs, parts)


def published_difference(first: Comparison, second: Comparison) -> tuple[float | None, float]:
    """As a fraction, and its standard error as far as the spreads tell it, taken for errors."""
    if first.published is None or second.published is None:
        return None, 0.0
    error = math.hypot(first.spread or 0.0, second.spread or 0.0)
    return (first.published - second.published) / 100, error / 100


def said_of(judgement: Judgement) -> str:
    """A difference and its verdict in a line."""
    one = judgement.difference
    spread = one.estimate
    known = ["one seed"]
    if spread.seeds > 1:
        known = [f"95 % interval {interval(spread)}", f"p {p_value(judgement.p)}"]
    if one.published is not None:
        known.append(f"published {100 * one.published:+.2f}")
    return (
        f"{one.first} minus {one.second}: {100 * spread.mean:+.2f} points ({'; '.join(known)}): "
        f"{judgement.verdict}"
    )


def finding_of(judged: Judgement) -> Finding:
    """The difference of two networks."""
    one = judged.difference
    known = "" if one.estimate.seeds == 1 else f" (95 % interval {interval(one.estimate)})"
    published = "–" if one.published is None else f"{100 * one.published:+.2f} points"
    return Finding(
        f"Error of {one.first} less that of {one.second}",
        published,
        f"{100 * one.estimate.mean:+.2f} points{known}",
        judged.verdict,
    )


def judgement_part(judgements: Sequence[Judgement], *, where: str = "in the table") -> list[str]:
    """The table of comparisons of a report, and the rules.

    Args:
        judgements: on the differences.
        where: in which tables those stand that p is corrected for.
    """
    return [
        judgement_table(judgements),
        f"Differences of the errors in percentage points. {INTERVALS} p is corrected for the "
        f"number of comparisons {where} (Holm). {RULES}",
    ]


def judgement_table(judgements: Sequence[Judgement]) -> str:
    """A line a comparison; without the published differences where there are none."""
    any_published = any(one.difference.published is not None for one in judgements)
    body = []
    for judgement in judgements:
        one = judgement.difference
        published = [
            "–" if one.published is None else f"{100 * one.published:+.2f}",
            size(one),
            p_value(judgement.p_published),
        ]
        body.append(
            [
                f"{one.first} minus {one.second}",
                f"{100 * one.estimate.mean:+.2f}",
                interval(one.estimate),
                p_value(judgement.p),
                *(published if any_published else []),
                judgement.verdict,
            ]
        )
    published = ["published", "the published size", "p of one as large"]
    header = [
        "", "difference", "95 % interval", "p", *(published if any_published else []), "verdict"
    ]  # fmt: skip
    return table(header, body)


def plain_table(judgements: Sequence[Judgement], what: str, digits: int = 2) -> str:
    """The same for differences of anything but a share, none of which is published.

    Args:
        judgements: on the differences.
        what: the unit.
        digits: behind the point.
    """
    body = [
        [
            f"{one.difference.first} minus {one.difference.second}",
            f"{one.difference.estimate.mean:+.{digits}f}",
            interval(one.difference.estimate, digits, 1),
            p_value(one.p),
            one.verdict,
        ]
        for one in judgements
    ]
    return table(["", f"difference, {what}", "95 % interval", "p", "verdict"], body)


def size(one: Difference) -> str:
    """Where the published difference lies beside the interval, if there is one."""
    if one.published is None or one.estimate.seeds == 1 or one.estimate.error == 0:
        return "–"
    within = one.estimate.low <= one.published <= one.estimate.high
    return "in the interval" if within else "not in the interval"


def draw_errors(
    comparisons: Mapping[str, Comparison],
    errors: Mapping[str, Sequence[float]],
    known: Mapping[str, Estimate],
    *,
    title: str,
    measured: str,
    path: Path,
) -> None:
    """Draw the error of every network beside the published one.

    Args:
        comparisons: by name.
        errors: by the same names, one a seed.
        known: the errors over seeds and images, for the bars.
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
            bars = [(100 * known[name].low, 100 * known[name].high)]
            label = "ours" if k == 0 else None
            series(axes, [k - 0.08], values, BLUE, "o", label, bars=bars)
            if one.published is not None:
                axes.errorbar(
                    [k + 0.12], [one.published], yerr=one.spread, color=INK, marker="D",
                    fillstyle="none", linestyle="", label=None if labelled else "published",
                )  # fmt: skip
                labelled = True
        words = [one.label.replace(", ", "\n") for one in comparisons.values()]
        axes.set_xticks(range(len(comparisons)), words)
        axes.set(ylabel=measured, xlim=(-0.5, len(comparisons) - 0.5))
        axes.set_ylim(0, 1.02 * axes.get_ylim()[1])  # markers at the edge are whole
        axes.grid(visible=True, axis="y")
        legend_above(axes)
        headline(page, title)
