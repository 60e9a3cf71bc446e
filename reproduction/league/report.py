"""What is said of `league`: errors, what they are more or less than without routing, and costs."""

from collections.abc import Mapping, Sequence

from reproduction.harness.cell import Row
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, number, p_value, percent, plus_minus, table
from reproduction.harness.statistics import (
    Summary,
    difference,
    discordant,
    mcnemar,
    summarise,
)
from reproduction.league.entrants import CNN, ENTRANTS, UNIFORM, trial_name
from reproduction.league.figures import draw_errors

__all__ = ["report"]

Rows = Mapping[str, Sequence[Row]]
MIB = 2**20


def report(results: Results) -> Report:
    """All networks by their error, beside uniform coupling, what each costs, and the trials."""
    names = [name for name in ENTRANTS if results.of(name)]
    rows: Rows = dict(
        sorted(((name, results.of(name)) for name in names), key=lambda pair: mean_error(pair[1]))
    )
    routed = [name for name in rows if name not in (CNN, UNIFORM)]
    level = 1 - 0.05 / len(routed)
    against = {
        name: difference(own, rows[UNIFORM], "test_error", level)
        for name, own in rows.items()
        if name != UNIFORM
    }
    draw_errors(rows, path=results.folder / "errors.png")
    figures = [
        f"{ENTRANTS[name].label}: {plus_minus(summarise([row['test_error'] for row in own]))} % "
        "wrong"
        for name, own in rows.items()
    ]
    parts = [
        "![Error of every network on held-out images and on transformed ones](errors.png)",
        error_table(rows),
        "Errors on held-out images, %; mean ± standard deviation over the seeds, and Student's "
        "95 % interval over the seeds.",
        "## Beside uniform coupling",
        against_table(results, rows, against),
        "Difference of the errors seed by seed, in points; the interval is at "
        f"{percent(level, 1)} %, so that all {len(routed)} comparisons of a routing together are "
        "at 95 %. A difference is decided where its interval leaves out zero. p: exact McNemar "
        "test on the same held-out images, pooled over the seeds, not corrected.",
        "## What a step costs",
        cost_table(rows),
        f"Loss and gradients of {results.scale.config.batch_size} images: processor time of all "
        "threads, the quickest of several in any seed; memory at the peak beyond what is held "
        "before, gradients included. Dynamic routing and uniform coupling have a fused kernel.",
        "## The trials",
        trial_table(results, names),
        "Errors on training images kept aside, %; the network is trained at the rate with the "
        "lowest.",
    ]
    return Report(figures, "\n\n".join(parts), [finding(against, routed)])


def mean_error(rows: Sequence[Row]) -> float:
    """What the table is sorted by."""
    return summarise([row["test_error"] for row in rows]).mean


def verdict(spread: Summary) -> str:
    """Decided where the interval of the difference leaves out zero."""
    if spread.high < 0:
        return "less"
    return "more" if spread.low > 0 else "not decided"


def finding(against: Mapping[str, Summary], routed: Sequence[str]) -> Finding:
    """Of how many routings it is decided that they err less than uniform coupling."""
    verdicts = [verdict(against[name]) for name in routed]
    less, more = (verdicts.count(word) for word in ("less", "more"))
    return Finding(
        "A routing errs less than uniform coupling on the same network",
        "not compared",
        f"less: {less} of {len(routed)} routings, more: {more}, not decided: "
        f"{len(routed) - less - more}",
        "borne out for some" if less else "not shown for any",
    )


def error_table(rows: Rows) -> str:
    """A line a network, the lowest error first."""
    body = []
    for name, own in rows.items():
        errors = summarise([row["test_error"] for row in own])
        affine = [row["affine_error"] for row in own if row["affine_error"] is not None]
        body.append(
            [
                ENTRANTS[name].label,
                plus_minus(errors),
                interval(errors, least=0),
                plus_minus(summarise(affine)) if affine else "–",
                plus_minus(summarise([1 - row["training_accuracy"] for row in own])),
            ]
        )
    header = ["", "held-out", "95 % interval", "transformed", "in training, last epoch"]
    return table(header, body)


def against_table(results: Results, rows: Rows, against: Mapping[str, Summary]) -> str:
    """The difference of every network from uniform coupling."""
    body = []
    for name, spread in against.items():
        counts = [
            discordant(*(results.arrays(row)["wrong"].astype(bool) for row in pair))
            for pair in zip(rows[name], rows[UNIFORM])
        ]
        ours, theirs = (sum(part) for part in zip(*counts))
        body.append(
            [
                ENTRANTS[name].label,
                f"{100 * spread.mean:+.2f}",
                interval(spread),
                verdict(spread),
                ours,
                theirs,
                p_value(mcnemar(ours, theirs)),
            ]
        )
    header = ["", "difference", "interval", "errs", "only this wrong", "only uniform wrong", "p"]
    return table(header, body)


def cost_table(rows: Rows) -> str:
    """Time, memory and parameters, the quickest first."""
    costs = []
    for name, own in rows.items():
        seconds = min(row["step_seconds"] for row in own)
        peaks = [row["step_bytes"] / MIB for row in own if row["step_bytes"] is not None]
        memory = number(min(peaks)) if peaks else "–"
        costs.append((seconds, [ENTRANTS[name].label, f"{1000 * seconds:.0f}", memory,
                                f"{own[0]['parameters']:,}"]))  # fmt: skip
    costs.sort(key=lambda cost: cost[0])
    return table(["", "time, ms", "memory, MiB", "parameters"], [line for _, line in costs])


def trial_table(results: Results, names: Sequence[str]) -> str:
    """The error of every trial."""
    rates = results.scale.rates
    body = []
    for name in names:
        trials = [row for rate in rates for row in results.of(trial_name(name, rate))]
        chosen = results.of(name)[0]["learning_rate"]
        body.append(
            [ENTRANTS[name].label, *(percent(row["aside_error"]) for row in trials), f"{chosen:g}"]
        )
    return table(["", *(f"{rate:g}" for rate in rates), "chosen"], body)
