"""What is said of `league`: errors, what they are more or less than without routing, and costs."""

from collections.abc import Mapping, Sequence

from reproduction.harness.budget import budget_part
from reproduction.harness.cell import Row
from reproduction.harness.comparison import (
    Comparison,
    differences_on,
    error_of,
    judgement_part,
    judgement_table,
)
from reproduction.harness.crossed import Estimate
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, number, plus_minus, table
from reproduction.harness.statistics import summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import Judgement, judge_groups, too_few
from reproduction.league.entrants import CNN, ENTRANTS, UNIFORM
from reproduction.league.figures import draw_errors

__all__ = ["report"]

Rows = Mapping[str, Sequence[Row]]
MIB = 2**20
BOTH_TABLES = "in this table and that of transformed images"


def report(results: Results) -> Report:
    """All networks by their error, beside uniform coupling, what each costs, and the trials."""
    names = [name for name in ENTRANTS if results.of(name)]
    rows: Rows = dict(
        sorted(((name, results.of(name)) for name in names), key=lambda pair: mean_error(pair[1]))
    )
    known = {name: error_of(results, name) for name in rows}
    grey = all(row["affine_error"] is not None for own in rows.values() for row in own)
    samples = {"wrong": ""} | ({"affine_wrong": " on transformed images"} if grey else {})
    judged, *on_transformed = judged_by_name(results, list(rows), list(samples))
    draw_errors(results, list(rows), path=results.folder / "errors.png")
    figures = [
        f"{ENTRANTS[name].label}: {plus_minus(summarise([row['test_error'] for row in own]))} % "
        "wrong"
        for name, own in rows.items()
    ]
    parts = [
        "![Error of every network on held-out images and on transformed ones](errors.png)",
        error_table(rows, known),
        "Errors on held-out images, %; mean ± standard deviation over the seeds, and the 95 % "
        "interval over seeds and images.",
        "## Beside uniform coupling",
        *judgement_part(
            list(judged.values()), **({"where": BOTH_TABLES} if on_transformed else {})
        ),
        *(transformed_part(one) for one in on_transformed),
        "## What a step costs",
        cost_table(rows),
        f"Loss and gradients of {results.scale.config.batch_size} images: processor time of all "
        "threads, the quickest of several in any seed; memory at the peak beyond what is held "
        "before, gradients included. Dynamic routing and uniform coupling have a fused kernel.",
        *budget_part({ENTRANTS[name].label: own for name, own in rows.items()}, results.scale),
        *trial_part(results, {name: ENTRANTS[name].label for name in names}),
    ]
    found = [finding(one, where) for one, where in zip([judged, *on_transformed], samples.values())]
    return Report(figures, "\n\n".join(parts), found)


def judged_by_name(
    results: Results, names: Sequence[str], samples: Sequence[str] = ("wrong",)
) -> list[dict[str, Judgement]]:
    """The error of every network less that of uniform coupling, on each sample of images.

    No paper has the difference.
    """
    networks = {name: Comparison(ENTRANTS[name].label, {}, None) for name in names}
    others = [name for name in names if name != UNIFORM]
    pairs = [(name, UNIFORM) for name in others]
    found = differences_on(results, networks, pairs, samples)
    return [dict(zip(others, judged)) for judged in judge_groups(found)]


def transformed_part(judged: Mapping[str, Judgement]) -> str:
    """The same on transformed images, the lowest error first."""
    ordered = sorted(judged.values(), key=lambda one: one.difference.estimate.mean)
    return "\n\n".join(
        [
            "On transformed images, which nothing was trained on:",
            judgement_table(ordered),
        ]
    )


def mean_error(rows: Sequence[Row]) -> float:
    """What the table is sorted by."""
    return summarise([row["test_error"] for row in rows]).mean


def finding(judged: Mapping[str, Judgement], where: str = "") -> Finding:
    """Of how many routings it is decided that they err less than uniform coupling."""
    verdicts = [one.verdict for name, one in judged.items() if name != CNN]
    lower, higher = (verdicts.count(word) for word in ("lower", "higher"))
    decided = [f"{count} {word}" for count, word in ((lower, "lower"), (higher, "higher")) if count]
    fewest = min(one.difference.estimate.seeds for one in judged.values())
    undecided = "not decided" if verdicts.count("not decided") else too_few(fewest)
    return Finding(
        f"A routing errs less than uniform coupling on the same network{where}",
        "not compared",
        f"lower: {lower} of {len(verdicts)} routings, higher: {higher}, not decided: "
        f"{len(verdicts) - lower - higher}",
        ", ".join(decided) or undecided,
    )


def error_table(rows: Rows, known: Mapping[str, Estimate]) -> str:
    """A line a network, the lowest error first."""
    body = []
    for name, own in rows.items():
        errors = summarise([row["test_error"] for row in own])
        affine = [row["affine_error"] for row in own if row["affine_error"] is not None]
        body.append(
            [
                ENTRANTS[name].label,
                plus_minus(errors),
                interval(known[name], least=0),
                plus_minus(summarise(affine)) if affine else "–",
                plus_minus(summarise([1 - row["training_accuracy"] for row in own])),
            ]
        )
    header = ["", "held-out", "95 % interval", "transformed", "in training, last epoch"]
    return table(header, body)


def cost_table(rows: Rows) -> str:
    """Time and memory, the quickest first."""
    costs = []
    for name, own in rows.items():
        seconds = min(row["step_seconds"] for row in own)
        peaks = [row["step_bytes"] / MIB for row in own if row["step_bytes"] is not None]
        memory = number(min(peaks)) if peaks else "–"
        costs.append((seconds, [ENTRANTS[name].label, f"{1000 * seconds:.0f}", memory]))
    costs.sort(key=lambda cost: cost[0])
    return table(["", "time, ms", "memory, MiB"], [line for _, line in costs])
