"""The report of `table1`: errors beside the published ones, and the differences it is read for."""

import dataclasses
import math

from reproduction.harness.budget import budget_part
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
from reproduction.harness.crossed import Estimate
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, plus_minus, table
from reproduction.harness.scale import Scale
from reproduction.harness.statistics import summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import Difference, judge

__all__ = ["BEST", "COMPARISONS", "beside_published", "compared", "report"]

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
    networks = with_published(compared(results.scale), results)
    rows = {name: results.of(name) for name in networks}
    errors = {name: [row["test_error"] for row in own] for name, own in rows.items()}
    known = {name: error_of(results, name) for name in networks}
    pairs = [pair for pair in PAIRS if networks.keys() >= set(pair)]
    mnist = on_mnist(results)
    beside = [beside_published(known[BEST])] if mnist else []
    all_judged = judge([*beside, *differences(results, networks, pairs)])
    published, judged = all_judged[: len(beside)], all_judged[len(beside) :]
    where = "on MNIST " if mnist else ""
    draw_errors(
        networks, errors, known,
        title=f"Test error {where}after the last epoch"
        + ("; published: mean ± spread" if mnist else ""),
        measured="test error, %", path=results.folder / "errors.png",
    )  # fmt: skip
    lines = [
        [
            one.label,
            published_of(one),
            plus_minus(summarise(errors[name])),
            interval(known[name], least=0),
            f"{1000 * min(row['seconds_per_step'] for row in rows[name]):.0f}",
        ]
        for name, one in networks.items()
    ]
    header = ["", "published, %", "ours, %", "95 % interval", "quickest training step, ms"]
    best = f"{plus_minus(summarise(errors[BEST]))} %"
    figures = [
        f"{COMPARISONS[BEST].label}: {best}"
        + (f" (published {published_of(networks[BEST])})" if mnist else ""),
        *map(said_of, judged),
    ]
    labels = {name: one.label for name, one in networks.items()}
    parts = [
        f"![Test error of every line{', with the published one' if mnist else ''}](errors.png)",
        table(header, lines),
        "Mean ± standard deviation over the seeds; last epoch; intervals over seeds and images.",
        "## Differences",
        *judgement_part(all_judged),
        *budget_part({labels[name]: own for name, own in rows.items()}, results.scale),
        *trial_part(results, labels),
    ]
    findings = [
        *(
            Finding(
                f"Test error on MNIST of {COMPARISONS[BEST].label}",
                f"{published_of(networks[BEST])} %", best, one.verdict,
            )
            for one in published
        ),
        *map(finding_of, judged),
    ]  # fmt: skip
    return Report(figures, "\n\n".join(parts), findings)


def published_of(one: Comparison) -> str:
    """The published error and its spread; a dash where there is none."""
    if one.published is None:
        return "–"
    return f"{one.published:.2f}" + ("" if one.spread is None else f" ± {one.spread}")


def compared(scale: Scale) -> dict[str, Comparison]:
    """The networks of a scale."""
    return {name: COMPARISONS[name] for name in scale.compared or COMPARISONS}


def beside_published(ours: Estimate) -> Difference:
    """The error of the network of the last line less the published one, with the spread of both.

    Of no error at all nobody knows how far it is from few.
    """
    one = COMPARISONS[BEST]
    assert one.published is not None
    assert one.spread is not None
    error = math.hypot(ours.error, one.spread / 100) if ours.error else math.inf
    shifted = dataclasses.replace(ours, mean=ours.mean - one.published / 100, error=error)
    return Difference(one.label, "the published error", shifted)
