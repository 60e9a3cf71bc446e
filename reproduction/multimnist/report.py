"""What is said of `multimnist`: errors beside the published ones, paired tests, drawings."""

from collections.abc import Mapping, Sequence

from reproduction.harness.cell import Row
from reproduction.harness.comparison import Comparison, compared, draw_errors, paired_table, verdict
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, plus_minus, table
from reproduction.harness.statistics import summarise
from reproduction.multimnist.figures import draw_examples

__all__ = ["BEST", "COMPARISONS", "report"]

COMPARISONS = {
    "cnn": Comparison("baseline CNN", {"model": "baseline_cnn", "learning_rate": 0.001}, 8.1),
    "r1": Comparison("CapsNet, r = 1", {"iterations": 1}, 7.5),
    "r3": Comparison("CapsNet, r = 3", {"iterations": 3}, 5.2),
}
BEST = "r3"
PAIRS = [("r1", BEST), ("cnn", BEST)]


def report(results: Results) -> Report:
    """Ours beside the published, the differences that the table is read for, and drawings."""
    rows = {name: results.of(name) for name in COMPARISONS}
    errors = {name: [row["test_error"] for row in own] for name, own in rows.items()}
    draw_errors(
        COMPARISONS, errors, title="Pairs of digits of which not both are found",
        measured="wrong pairs, %", path=results.folder / "errors.png",
    )  # fmt: skip
    figures = [
        f"{one.label}: {plus_minus(summarise(errors[name]))} % of the pairs wrong (published "
        f"{one.published})"
        for name, one in COMPARISONS.items()
    ]
    figures += [
        compared(COMPARISONS[first], COMPARISONS[second], errors[first], errors[second])
        for first, second in PAIRS
    ]
    parts = [
        "![Wrong pairs of every network, with the published figures](errors.png)",
        error_table(rows, errors),
        f"{rows[BEST][0]['training_pairs']:,} pairs to learn from, each drawn anew; "
        f"{rows[BEST][0]['pairs']:,} held-out pairs, the same for all. Mean ± standard deviation "
        "over the seeds; last epoch; Student's intervals.",
        f"## Paired test against {COMPARISONS[BEST].label}",
        "Exact McNemar test on the same held-out pairs, pooled over the seeds, and by seed.",
        paired_table(results, COMPARISONS, BEST, "wrong"),
        "## Two digits, drawn apart",
        drawing_table(rows),
        "Squared error: of one digit of a pair as drawn from its own class capsule, summed over "
        "its pixels. Read back: drawings of a digit of the pair which the network itself, shown "
        "only the drawing, takes for that digit; not there: the same of the most active class that "
        "is neither in the image nor answered.",
        *draw_examples(results.arrays(rows[BEST][0]), results.folder),
    ]
    return Report(figures, "\n\n".join(parts), findings(errors, rows))


def errs_more(errors: Mapping[str, Sequence[float]], first: str, second: str) -> Finding:
    """Whether the first of two networks errs more than the second."""
    ours, theirs = errors[first], errors[second]
    networks = COMPARISONS[first], COMPARISONS[second]
    return Finding(
        f"{networks[0].label} errs more than {networks[1].label} on overlapping digits",
        f"{networks[0].published} and {networks[1].published} %",
        f"{plus_minus(summarise(ours))} and {plus_minus(summarise(theirs))} %",
        verdict(*networks, ours, theirs),
    )


def findings(
    errors: Mapping[str, Sequence[float]], rows: Mapping[str, Sequence[Row]]
) -> list[Finding]:
    """The claims, each with its verdict."""
    there, absent = (
        summarise([row[name] for row in rows[BEST]]) for name in ("read_back", "read_back_absent")
    )
    return [
        *(errs_more(errors, *pair) for pair in PAIRS),
        Finding(
            "Told to draw a digit that is not there, CapsNet cannot",
            "shown in a figure",
            f"of drawings of digits that are there it reads back {plus_minus(there)} %, of those "
            f"that are not {plus_minus(absent)} %",
            "it draws a blur, read back less than half as often"
            if absent.mean < there.mean / 2
            else "not as published",
        ),
    ]


def error_table(rows: Mapping[str, Sequence[Row]], errors: Mapping[str, Sequence[float]]) -> str:
    """A line a network."""
    body = [
        [
            one.label,
            f"{one.published:.1f}",
            plus_minus(summarise(errors[name])),
            interval(summarise(errors[name]), least=0),
            plus_minus(summarise([row["digits_missed"] / 2 / row["pairs"] for row in rows[name]])),
            plus_minus(summarise([row["training_error"] for row in rows[name]])),
            f"{rows[name][0]['parameters']:,}",
            f"{1000 * min(row['seconds_per_step'] for row in rows[name]):.0f}",
        ]
        for name, one in COMPARISONS.items()
    ]
    header = [
        "wrong pairs", "published, %", "ours, %", "95 % interval", "digits missed, %",
        "in training, last epoch, %", "parameters", "quickest training step, ms",
    ]  # fmt: skip
    return table(header, body)


def drawing_table(rows: Mapping[str, Sequence[Row]]) -> str:
    """What the drawings come to."""
    body = [
        [
            COMPARISONS[name].label,
            plus_minus(summarise([row["drawing_error"] for row in rows[name]]), 1, 1),
            plus_minus(summarise([row["read_back"] for row in rows[name]])),
            plus_minus(summarise([row["read_back_absent"] for row in rows[name]])),
        ]
        for name in ("r1", "r3")
    ]
    header = ["", "squared error", "read back, %", "read back, not there, %"]
    return table(header, body)
