"""The report of `iterations`: two claims answered, the table, the pictures."""

from collections.abc import Mapping, Sequence

import numpy as np

from reproduction.harness.cell import Arrays, Row
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import (
    interval,
    number,
    p_value,
    percent,
    plus_minus,
    table,
)
from reproduction.harness.statistics import Summary, difference, discordant, mcnemar, summarise
from reproduction.iterations import verdicts
from reproduction.iterations.figures import draw_coupling, draw_errors, draw_matrix
from reproduction.iterations.verdicts import (
    BEST,
    best_at_three,
    deciding,
    overfitting,
)
from torchcaps.training.config import TrainConfig
from torchcaps.training.metrics import wilson_interval

__all__ = ["RANDOM", "report", "slim"]

RANDOM = "random"
Kinds = Mapping[str, Sequence[Row]]  # "1", …, "10", "random" → rows by seed


def report(results: Results) -> Report:
    """Answers, tables and pictures."""
    by_r = {r: results.of(f"r{r}") for r in results.scale.iterations}
    kinds: Kinds = {str(r): rows for r, rows in by_r.items()} | {RANDOM: results.of(RANDOM)}
    folder = results.folder
    draw_errors(kinds, path=folder / "error.png")
    draw_coupling(kinds, path=folder / "coupling.png")
    draw_matrix(kinds, results.scale.iterations, path=folder / "matrix.png")
    errors = {kind: column(rows, "test_error") for kind, rows in kinds.items()}
    best = min(errors, key=lambda kind: errors[kind].mean)
    said = f"r = {best}" if best != RANDOM else "random coupling"
    figures = [
        f"lowest mean test error: {said}, {plus_minus(errors[best])} %; r = {BEST}: "
        f"{plus_minus(errors[str(BEST)])} %; random coupling: {plus_minus(errors[RANDOM])} %",
        best_at_three(by_r).sentence,
        overfitting(by_r).sentence,
    ]
    parts = [
        "![Test error, and training and test loss, against r](error.png)",
        error_table(kinds),
        low_high(kinds),
        "## Paired test against r = 3",
        "Exact McNemar test on the same held-out images: how many only one of the two networks "
        "gets wrong. Pooled over the seeds each image counts once a seed, so that p says nothing "
        "of other trainings; that is what the intervals over seeds are for.",
        paired_table(results, kinds),
        "## What routing does",
        "![Entropy of the coupling, and share of input capsules that go to the predicted class]"
        "(coupling.png)",
        routing_table(kinds),
        "## Evaluated with other numbers of iterations",
        "![Test error of networks trained with one r and evaluated with another](matrix.png)",
        unrouted(kinds),
        "## Rules of the two answers",
        (verdicts.__doc__ or "").split("\n", 2)[2].strip(),
    ]
    return Report(
        figures, "\n\n".join(filter(None, parts)), findings(kinds, results.scale.training)
    )


def findings(kinds: Kinds, config: TrainConfig | None) -> list[Finding]:
    """The two claims."""
    by_r = {int(kind): rows for kind, rows in kinds.items() if kind != RANDOM}
    errors = {r: column(rows, "test_error") for r, rows in by_r.items()}
    least = min(errors, key=lambda r: errors[r].mean)
    chosen, more = deciding(by_r)
    known = "" if more.deviation is None else f" ({interval(more)})"
    mnist = config is not None and config.data == "mnist"
    return [
        Finding(
            "Three routing iterations are best",
            "0.29 ± 0.011 % (r = 1), 0.25 ± 0.005 % (r = 3)" if mnist else "–",
            "".join(f"r = {r}: {plus_minus(errors[r])} %, " for r in (1, BEST) if r in errors)
            + f"least at r = {least}: {plus_minus(errors[least])} %",
            best_at_three(by_r).answer,
        ),
        Finding(
            "More iterations overfit",
            "no figure",
            f"r = {chosen}: error {100 * more.mean:+.2f} points from r = 3{known}",
            overfitting(by_r).answer,
        ),
    ]


def column(rows: Sequence[Row], name: str) -> Summary:
    """Mean and spread of a column."""
    return summarise([row[name] for row in rows])


def error_table(kinds: Kinds) -> str:
    """Errors and losses, mean ± standard deviation over the seeds."""
    header = [
        "r", "test error, %", "95 % interval", "minus r = 3", "95 % interval", "training error, %",
        "training loss", "test loss",
    ]  # fmt: skip
    lines = []
    for kind, rows in kinds.items():
        error, less = column(rows, "test_error"), difference(rows, kinds[str(BEST)], "test_error")
        lines.append(
            [
                kind,
                plus_minus(error),
                interval(error, least=0),
                "" if kind == str(BEST) else f"{100 * less.mean:+.2f}",
                "" if kind == str(BEST) else interval(less),
                plus_minus(column(rows, "training_error")),
                plus_minus(column(rows, "training_loss"), 4, 1),
                plus_minus(column(rows, "test_loss"), 4, 1),
            ]
        )
    return table(header, lines)


def low_high(kinds: Kinds) -> str:
    """How far one network is known from its held-out images alone."""
    row = kinds[str(BEST)][0]
    wrong = round(row["test_error"] * row["images"])
    low, high = wilson_interval(wrong, row["images"])
    return (
        f"Intervals are Student's over the seeds; differences, in percentage points, are seed by "
        f"seed. From {row['images']:,} held-out images alone, the error of one "
        f"network (r = {BEST}, first seed) is known to be {percent(low)} to {percent(high)} % "
        "(Wilson)."
    )


def paired_table(results: Results, kinds: Kinds) -> str:
    """McNemar against r = 3, pooled and seed by seed."""
    base = {row["seed"]: wrong_of(results, row) for row in kinds[str(BEST)]}
    lines = []
    for kind, rows in kinds.items():
        if kind == str(BEST):
            continue
        counts = [discordant(wrong_of(results, row), base[row["seed"]]) for row in rows]
        only_this, only_best = (sum(part) for part in zip(*counts))
        single = ", ".join(p_value(mcnemar(*pair)) for pair in counts)
        lines.append([kind, only_this, only_best, p_value(mcnemar(only_this, only_best)), single])
    return table(
        ["r", "only this wrong", f"only r = {BEST} wrong", "p, pooled", "p by seed"], lines
    )


def wrong_of(results: Results, row: Row) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which held-out images a network got wrong, `[N]`."""
    return slim(results.arrays(row))["wrong"].astype(bool)


def slim(arrays: Arrays) -> Arrays:
    """What the report needs of a cell: which images it got wrong."""
    if "wrong" in arrays:
        return arrays
    return {"wrong": arrays["labels"] != arrays["predictions"]}


def unrouted(kinds: Kinds) -> str:
    """What the networks that were trained with routing lose when they are evaluated without."""
    if "1" not in kinds:
        return ""
    lines = []
    for kind, rows in kinds.items():
        if kind not in ("1", RANDOM):
            more = summarise([row["test_error_with_1"] - row["test_error"] for row in rows])
            lines.append([kind, plus_minus(column(rows, "test_error")),
                          plus_minus(column(rows, "test_error_with_1")),
                          f"{100 * more.mean:+.2f}", interval(more)])  # fmt: skip
    header = ["trained with r", "test error, %", "evaluated with r = 1, %", "more", "95 % interval"]
    return table(header, lines) + (
        "\n\nWithout routing c is uniform. Where nothing is lost, what a larger r gains it gains "
        "in training, and not by routing the image that is answered."
    )


def routing_table(kinds: Kinds) -> str:
    """Coupling in the last iteration, and the cost."""
    lines = [
        [
            kind,
            number(column(rows, "entropy").mean),
            percent(column(rows, "to_prediction").mean, 1),
            percent(column(rows, "to_prediction_by_length").mean, 1),
            f"{1000 * min(row['seconds_per_step'] for row in rows):.1f}",
        ]
        for kind, rows in kinds.items()
    ]
    header = [
        "r", "entropy of c / log J", "strongest parent is the predicted class, % of input capsules",
        "the same, by length of pose", "quickest training step, ms",
    ]  # fmt: skip
    return table(header, lines)
