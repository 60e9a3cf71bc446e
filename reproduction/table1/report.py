"""The report of `table1`: errors beside the published ones, and paired tests."""

from collections.abc import Mapping, Sequence

from reproduction.harness.comparison import Comparison, compared, draw_errors, paired_table, verdict
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, plus_minus, table
from reproduction.harness.statistics import Summary, summarise

__all__ = ["BEST", "COMPARISONS", "finding", "reached", "report"]

COMPARISONS = {
    "cnn": Comparison("baseline CNN", {"model": "baseline_cnn", "learning_rate": 0.001}, 0.39),
    "r1": Comparison("CapsNet, r = 1", {"iterations": 1, "reconstruct": False}, 0.34, 0.032),
    "r1-reconstruction": Comparison(
        "CapsNet, r = 1, reconstruction", {"iterations": 1}, 0.29, 0.011
    ),
    "r3": Comparison("CapsNet, r = 3", {"iterations": 3, "reconstruct": False}, 0.35, 0.036),
    "r3-reconstruction": Comparison(
        "CapsNet, r = 3, reconstruction", {"iterations": 3}, 0.25, 0.005
    ),
}
BEST = "r3-reconstruction"
PAIRS = [("r1-reconstruction", BEST), ("r3", BEST), ("cnn", BEST)]


def report(results: Results) -> Report:
    """Ours beside the published, and the differences that the table is read for."""
    rows = {name: results.of(name) for name in COMPARISONS}
    errors = {name: [row["test_error"] for row in own] for name, own in rows.items()}
    draw_errors(
        COMPARISONS, errors,
        title="Test error on MNIST after the last epoch; published: mean ± spread",
        measured="test error, %", path=results.folder / "errors.png",
    )  # fmt: skip
    lines = [
        [
            one.label,
            f"{one.published:.2f}" + ("" if one.spread is None else f" ± {one.spread}"),
            plus_minus(summarise(errors[name])),
            interval(summarise(errors[name]), least=0),
            f"{rows[name][0]['parameters']:,}",
            f"{1000 * min(row['seconds_per_step'] for row in rows[name]):.0f}",
        ]
        for name, one in COMPARISONS.items()
    ]
    header = [
        "", "published, %", "ours, %", "95 % interval", "parameters", "quickest training step, ms"
    ]  # fmt: skip
    figures = [
        f"{COMPARISONS[BEST].label}: {plus_minus(summarise(errors[BEST]))} % "
        f"(published {COMPARISONS[BEST].published:.2f} ± {COMPARISONS[BEST].spread})",
        *(
            compared(COMPARISONS[first], COMPARISONS[second], errors[first], errors[second])
            for first, second in PAIRS
        ),
    ]
    parts = [
        "![Test error of every line, with the published one](errors.png)",
        table(header, lines),
        "Mean ± standard deviation over the seeds; last epoch; Student's intervals.",
        f"## Paired test against {COMPARISONS[BEST].label}",
        "Exact McNemar test on the same held-out images, pooled over the seeds, and by seed.",
        paired_table(results, COMPARISONS, BEST, "wrong"),
    ]
    findings = [
        Finding(
            f"Test error on MNIST of {COMPARISONS[BEST].label}",
            f"{COMPARISONS[BEST].published:.2f} ± {COMPARISONS[BEST].spread} %",
            f"{plus_minus(summarise(errors[BEST]))} %",
            reached(summarise(errors[BEST])),
        ),
        *(finding(errors, *pair) for pair in PAIRS),
    ]
    return Report(figures, "\n\n".join(parts), findings)


def reached(ours: Summary) -> str:
    """Where the published error lies, beside the interval of ours."""
    published = (COMPARISONS[BEST].published or 0) / 100
    if ours.deviation is None:
        return "not decided, one seed"
    return "higher" if ours.low > published else "lower" if ours.high < published else "reached"


def finding(errors: Mapping[str, Sequence[float]], first: str, second: str) -> Finding:
    """The difference of two networks."""
    pair, values = (COMPARISONS[first], COMPARISONS[second]), (errors[first], errors[second])
    spread = summarise([a - b for a, b in zip(*values)])
    known = "" if spread.deviation is None else f" (95 % interval {interval(spread)})"
    return Finding(
        f"{pair[0].label} errs more than {pair[1].label}",
        f"{pair[0].published:.2f} and {pair[1].published:.2f} %",
        f"by {100 * spread.mean:+.2f} points{known}",
        verdict(*pair, *values),
    )
