"""What is said of `affine`: errors at the level and after the last epoch."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from reproduction.affine.doses import DOSES, UNITS, column_of
from reproduction.affine.figures import draw_curves, draw_digits, draw_doses
from reproduction.harness.budget import budget_part
from reproduction.harness.cell import Row
from reproduction.harness.comparison import (
    Comparison,
    differences,
    draw_errors,
    error_of,
    finding_of,
    judgement_part,
    on_mnist,
    said_of,
    with_published,
)
from reproduction.harness.experiment import Report, Results
from reproduction.harness.markdown import plus_minus, table
from reproduction.harness.report_file import at_one_look
from reproduction.harness.scale import Scale
from reproduction.harness.statistics import summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import Difference, judge

__all__ = ["BEST", "COMPARISONS", "compared", "judged_differences", "report"]

COMPARISONS = {
    "cnn": Comparison("CNN", {"model": "baseline_cnn", "learning_rate": 0.001}, 34.0),
    "r1": Comparison("CapsNet, uniform coupling (r = 1)", {"iterations": 1}, None),
    "r3": Comparison("CapsNet, r = 3", {"iterations": 3}, 21.0),
    "em": Comparison("CapsNet, EM", {"routing": "em"}, None),
    "self_routing": Comparison("CapsNet, self-routing", {"routing": "self_routing"}, None),
    "attention": Comparison("CapsNet, inverted attention", {"routing": "attention"}, None),
}
FIRST = ("cnn", "r1", "r3")  # of scales that do not say
BEST = "r3"
# Every network beside r = 3, as the paper's claim is of it, and what capsules do without routing.
PAIRS = [*((name, BEST) for name in COMPARISONS if name != BEST), ("cnn", "r1")]


def report(results: Results) -> Report:
    """Both errors where the level is reached and at the end, and how they go together."""
    networks = with_published(compared(results.scale), results)
    rows = {name: results.of(name) for name in networks}
    labels = {name: one.label for name, one in networks.items()}
    reached = {
        name: [row for row in own if row["matched_look"] is not None] for name, own in rows.items()
    }
    level = results.scale.level
    assert level is not None
    curves = {
        name: [
            (arrays["aside_moved"], arrays["aside_transformed"])
            for arrays in map(results.arrays, own)
        ]
        for name, own in rows.items()
    }
    draw_curves(networks, curves, level, results.folder / "curves.png")
    draw_digits(results.arrays(rows[BEST][0]), results.folder / "digits.png")
    at_level = f"where {100 * (1 - level):g} % of the moved ones are told wrongly"
    judged = judge(judged_differences(results))
    counts = ", ".join(
        f"{COMPARISONS[name].label} {len(own)} of {len(rows[name])}"
        for name, own in reached.items()
    )
    parts = [
        "![Held-out digits as moved in training, and transformed](digits.png)",
        f"## Transformed digits, {at_level}",
        *draw_at_level(
            results,
            networks,
            reached,
            f"Transformed digits, {at_level}"
            + (" (published: 0.8 %)" if on_mnist(results) else ""),
        ),
        f"{how_matched(reached)} Trainings that come so far: {counts}.",
        matched_table(reached),
        "## After the last epoch",
        last_table(rows),
        "Errors on held-out digits, %; mean ± standard deviation over the seeds. Moved farther: "
        "not transformed, but moved up to the edges as the transformed ones are, which is farther "
        "than in training. affNIST: the published test set, where affnist/test.mat lies in the "
        "data folder or beside it.",
        "![Error on transformed digits over the error on moved ones](curves.png)",
        *dose_part(networks, rows, results.folder),
        "## Differences on transformed digits",
        *judgement_part(judged),
        *budget_part({labels[name]: own for name, own in rows.items()}, results.scale),
        *trial_part(results, labels),
    ]
    figures = summaries(networks, reached) or [f"no training reaches {100 * level:g} %"]
    figures += map(said_of, judged)
    figures += [moved_or_transformed(COMPARISONS[name], own) for name, own in rows.items()]
    claims = [finding_of(one) for one in judged if one.difference.published is not None]
    return Report(figures, "\n\n".join(parts), claims)


def how_matched(reached: Mapping[str, Sequence[Row]]) -> str:
    """Where the level was met. Older rows have a whole number of looks there."""
    if at_one_look([row for own in reached.values() for row in own]):
        return (
            "Errors at the level are of the first look at which so many of the moved training "
            "digits kept aside, or fewer, are told wrongly: a network that learns fast is past it."
        )
    return (
        "Errors at the level lie on the straight line between the last look at which more of the "
        "moved training digits kept aside are told wrongly, and the first at which as many are or "
        "fewer."
    )


def compared(scale: Scale) -> dict[str, Comparison]:
    """The networks of a scale."""
    return {name: COMPARISONS[name] for name in scale.compared or FIRST}


def dose_part(
    networks: Mapping[str, Comparison], rows: Mapping[str, Sequence[Row]], folder: Path
) -> list[str]:
    """The errors by what was done to the digits, each alone; nothing of rows that lack them."""
    columns = [column_of(cause, dose) for cause, doses in DOSES.items() for dose in doses]
    if any(column not in row for own in rows.values() for row in own for column in columns):
        return []
    draw_doses(networks, rows, folder / "doses.png")
    tables = [
        table(
            [f"{cause}, {UNITS[cause]}", *(f"{dose:g}" for dose in doses)],
            [
                [one.label, *(spread_of(rows[name], column_of(cause, dose)) for dose in doses)]
                for name, one in networks.items()
            ],
        )
        for cause, doses in DOSES.items()
    ]
    return [
        "## By what was done",
        "![Error by what was done to the digits, each alone](doses.png)",
        *tables,
        "Errors on the same held-out digits, %, after the last epoch; mean ± standard deviation "
        "over the seeds. But for those that are moved by a dose, digits lie where they do in "
        "training, at most 6 pixels from the middle.",
    ]


def judged_differences(results: Results) -> list[Difference]:
    """Of the errors on transformed digits, at the level where both come so far, and at the end."""
    there = [row for row in results.rows if row.get("matched_look") is not None]
    reached = dataclasses.replace(results, rows=there)
    networks = with_published(compared(results.scale), results)
    seeds = {name: {row["seed"] for row in reached.of(name)} for name in networks}
    every = [pair for pair in PAIRS if networks.keys() >= set(pair)]
    pairs = [pair for pair in every if seeds[pair[0]] & seeds[pair[1]]]
    at_level = differences(reached, networks, pairs, "matched_wrong")
    last = differences(results, networks, every)
    return [
        *(one._replace(first=f"{one.first}, at the level,") for one in at_level),
        *(
            one._replace(first=f"{one.first}, after the last epoch,", published=None)
            for one in last
        ),
    ]


def draw_at_level(
    results: Results,
    networks: Mapping[str, Comparison],
    reached: Mapping[str, Sequence[Row]],
    title: str,
) -> list[str]:
    """The picture of the errors at the level, of the seeds with which all networks reach it."""
    seeds = common_seeds(reached)
    if not seeds:
        return []
    own = [row for rows in reached.values() for row in rows if row["seed"] in seeds]
    some = dataclasses.replace(results, rows=own)
    draw_errors(
        networks,
        {name: [row["matched_affine_error"] for row in some.of(name)] for name in reached},
        {name: error_of(some, name, "matched_wrong") for name in reached},
        title=title, measured="error, %", path=results.folder / "errors.png",
    )  # fmt: skip
    return ["![Error of every network on transformed digits](errors.png)"]


def common_seeds(reached: Mapping[str, Sequence[Row]]) -> set[int]:
    """Those with which every network reaches the level: only they can be paired."""
    return set.intersection(*({row["seed"] for row in own} for own in reached.values()))


def summaries(
    networks: Mapping[str, Comparison], reached: Mapping[str, Sequence[Row]]
) -> list[str]:
    """A line a network that reaches the level."""
    lines = []
    for name, own in reached.items():
        if own:
            placed, affine = (
                plus_minus(summarise([row[f"matched_{kind}_error"] for row in own]))
                for kind in ("placed", "affine")
            )
            label, published = networks[name].label, networks[name].published
            known = "" if published is None else f" (published {published:g} and 0.8)"
            lines.append(
                f"{label}, at the level: {affine} % of the transformed digits wrong, "
                f"{placed} % of the moved ones{known}"
            )
    return lines


def moved_or_transformed(one: Comparison, rows: Sequence[Row]) -> str:
    """How much of the error on transformed digits is there when they are only moved as far."""
    affine, far = (spread_of(rows, f"{kind}_error") for kind in ("affine", "far"))
    return (
        f"{one.label}, after the last epoch: {affine} % of the transformed digits wrong, and "
        f"{far} % of digits moved as far but not transformed"
    )


def matched_table(reached: Mapping[str, Sequence[Row]]) -> str:
    """Errors at the level."""
    kinds = ("validation", "placed", "affine", "affnist")
    body = [
        [
            COMPARISONS[name].label,
            ", ".join(f"{row['matched_images']:,}" for row in own) or "–",
            *(spread_of(own, f"matched_{kind}_error") for kind in kinds),
        ]
        for name, own in reached.items()
    ]
    header = [
        "at the level", "after digits", "moved, kept aside", "moved", "transformed", "affNIST"
    ]  # fmt: skip
    return table(header, body)


def last_table(rows: Mapping[str, Sequence[Row]]) -> str:
    """Errors after the last epoch."""
    body = [
        [
            COMPARISONS[name].label,
            *(spread_of(own, f"{kind}_error") for kind in ("placed", "far", "affine", "affnist")),
            f"{own[0]['parameters_without_decoder']:,}",
        ]
        for name, own in rows.items()
    ]
    header = [
        "last epoch", "moved", "moved farther", "transformed", "affNIST",
        "parameters, without decoder",
    ]  # fmt: skip
    return table(header, body)


def spread_of(rows: Sequence[Row], column: str) -> str:
    """Mean ± standard deviation of what is there, or a dash."""
    values = [row[column] for row in rows if row[column] is not None]
    return plus_minus(summarise(values)) if values else "–"
