"""The report of `iterations`: two claims answered, the table, the pictures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reproduction.harness.budget import budget_part
from reproduction.harness.cell import Arrays, Row
from reproduction.harness.comparison import (
    INTERVALS,
    Comparison,
    differences_on,
    error_of,
    judgement_part,
    judgement_table,
    on_mnist,
    plain_table,
    wrong_by_seed,
)
from reproduction.harness.crossed import Estimate, crossed_mean
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, number, percent, plus_minus, table
from reproduction.harness.statistics import Summary, summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import Difference, Judgement, judge_groups
from reproduction.iterations import verdicts
from reproduction.iterations.figures import draw_coupling, draw_errors, draw_matrix
from reproduction.iterations.trend import trend_part, trend_sentence, trends
from reproduction.iterations.verdicts import (
    BEST,
    Claim,
    at_chance_of,
    best_at_three,
    closer,
    deciding,
    gap_differences,
    having_learned,
    overfitting,
)

__all__ = ["RANDOM", "report", "slim"]

RANDOM = "random"
SAMPLES = ("", "unused training images")
Kinds = Mapping[str, Sequence[Row]]  # "1", …, "10", "random" → rows by seed


def report(results: Results) -> Report:
    """Answers, tables and pictures."""
    by_r = {r: results.of(f"r{r}") for r in results.scale.iterations}
    kinds: Kinds = {str(r): rows for r, rows in by_r.items()} | {RANDOM: results.of(RANDOM)}
    folder = results.folder
    slimmed = dataclasses.replace(results, arrays=lambda row: slim(results.arrays(row)))
    known = {kind: error_of(slimmed, cell_of(kind)) for kind in kinds}
    samples = ("wrong", "unused_wrong") if results.scale.unused else ("wrong",)
    *on_samples, lines, gaps, fits = judged_together(
        *differences_by_kind(slimmed, kinds, samples),
        trends(slimmed, by_r, samples),
        gap_differences(by_r),
        closer(by_r),
    )
    judged, *on_unused = on_samples
    of_r = [{r: judged[str(r)] for r in by_r if r != BEST} for judged in on_samples]
    claims = [(best_at_three(one), overfitting(one, gaps, fits, by_r)) for one in of_r]
    learned = {kind: having_learned(rows) or rows for kind, rows in kinds.items()}
    of_learned = {
        kind: crossed_mean(wrong_by_seed(slimmed, rows)) for kind, rows in learned.items()
    }
    trained = {kind: len(rows) for kind, rows in kinds.items()}
    draw_errors(learned, of_learned, trained, path=folder / "error.png")
    draw_coupling(learned, trained, path=folder / "coupling.png")
    draw_matrix(learned, results.scale.iterations, path=folder / "matrix.png")
    errors = {kind: column(rows, "test_error") for kind, rows in kinds.items()}
    best = min(errors, key=lambda kind: errors[kind].mean)
    said = f"r = {best}" if best != RANDOM else "random coupling"
    figures = [
        f"lowest mean test error: {said}, {plus_minus(errors[best])} %; r = {BEST}: "
        f"{plus_minus(errors[str(BEST)])} %; random coupling: {plus_minus(errors[RANDOM])} %",
        *trend_sentence(lines, at_chance_of([row for rows in by_r.values() for row in rows])),
        *(
            f"on {where}: {claim.sentence}" if where else claim.sentence
            for where, pair in zip(SAMPLES, claims)
            for claim in pair
        ),
    ]
    labels = {f"r{r}": f"r = {r}" for r in by_r} | {RANDOM: "random coupling"}
    parts = [
        "![Test error, and training and test loss, against r](error.png)",
        left_out(kinds, learned),
        error_table(kinds, known),
        f"Mean ± standard deviation over the seeds. {INTERVALS}",
        "## Differences from r = 3",
        *judgement_part(list(judged.values()), where="in this table and those that follow"),
        *(unused_part(kinds, one) for one in on_unused),
        gap_part(gaps, fits),
        trend_part(lines),
        "## What routing does",
        "![Entropy of the coupling, and share of input capsules that go to the predicted class]"
        "(coupling.png)",
        routing_table(kinds),
        "## Evaluated with other numbers of iterations",
        "![Test error of networks trained with one r and evaluated with another](matrix.png)",
        *(evaluated_otherwise(kinds, r) for r in ends(results.scale.iterations)),
        "Student's intervals over the seeds. Without routing (r = 1) c is uniform: where nothing "
        "is lost, what a larger r gains it gains in training, and not by routing the image that is "
        "answered.",
        "## Rules of the two answers",
        (verdicts.__doc__ or "").split("\n", 2)[2].strip(),
        *budget_part({label: results.of(name) for name, label in labels.items()}, results.scale),
        *trial_part(results, labels),
    ]
    at_chance = {r: at_chance_of(rows) for r, rows in by_r.items()}
    found = findings(errors, of_r[0], claims[0], on_mnist(results), at_chance)
    for one, answered in zip(of_r[1:], claims[1:]):
        unused = {kind: column(rows, "unused_error") for kind, rows in kinds.items()}
        found += findings(unused, one, answered, False, at_chance, f" (on {SAMPLES[1]})")
    return Report(figures, "\n\n".join(filter(None, parts)), found)


def judged_together(*groups: Mapping[Any, Difference]) -> list[dict[Any, Judgement]]:
    """Verdicts on all comparisons of the report, under the same names."""
    judged = judge_groups([list(group.values()) for group in groups])
    return [dict(zip(group, of_group)) for group, of_group in zip(groups, judged)]


def ends(iterations: Sequence[int]) -> list[int]:
    """The fewest iterations and the most."""
    return sorted({min(iterations), max(iterations)})


def left_out(kinds: Kinds, learned: Kinds) -> str:
    """Which trainings the pictures do not show."""
    missing = [
        f"{len(rows) - len(learned[kind])} of {len(rows)} with "
        + (f"r = {kind}" if kind != RANDOM else "random coupling")
        for kind, rows in kinds.items()
        if len(learned[kind]) < len(rows)
    ]
    if not missing:
        return ""
    return f"The pictures leave out trainings at chance: {', '.join(missing)}. The tables do not."


def differences_by_kind(
    results: Results, kinds: Kinds, samples: Sequence[str] = ("wrong",)
) -> list[dict[str, Difference]]:
    """Every r but 3, and random coupling, beside r = 3, on each sample of images.

    The published difference is that of r = 1 on MNIST, with reconstruction.
    """
    published = {"1": (0.29, 0.011), str(BEST): (0.25, 0.005)} if on_mnist(results) else {}
    networks = {
        cell_of(kind): Comparison(
            f"r = {kind}" if kind != RANDOM else "random coupling",
            {},
            *published.get(kind, (None, None)),
        )
        for kind in kinds
    }
    others = [kind for kind in kinds if kind != str(BEST)]
    pairs = [(cell_of(kind), cell_of(str(BEST))) for kind in others]
    found = differences_on(results, networks, pairs, samples)
    return [dict(zip(others, of_sample)) for of_sample in found]


def unused_part(kinds: Kinds, judged: Mapping[str, Judgement]) -> str:
    """The errors on training images that nobody used, and what is said of their differences."""
    errors = [[kind, plus_minus(column(rows, "unused_error"))] for kind, rows in kinds.items()]
    return "\n\n".join(
        [
            "On training images that neither trainings nor trials used:",
            table(["r", "error, %"], errors),
            judgement_table(list(judged.values())),
        ]
    )


def gap_part(gaps: Mapping[int, Judgement], fits: Mapping[int, Judgement]) -> str:
    """How much further the loss rises from training to held-out images than with r = 3."""
    return "\n\n".join(
        [
            "Margin loss on test images less that on training images, of which the rule on "
            "overfitting asks: beside that of r = 3, and by itself. Over the seeds alone.",
            plain_table([*gaps.values(), *fits.values()], "margin loss", digits=4),
        ]
    )


def cell_of(kind: str) -> str:
    """The name of the cells of a kind."""
    return kind if kind == RANDOM else f"r{kind}"


def findings(
    errors: Mapping[str, Summary],
    judged: Mapping[int, Judgement],
    claims: Sequence[Claim],
    mnist: bool,
    at_chance: Mapping[int, str],
    where: str = "",
) -> list[Finding]:
    """The two claims; of each r what is to be said of trainings that have learned nothing.

    Args:
        errors: of each kind.
        judged: each r beside r = 3.
        claims: the answers to both.
        mnist: whether the published errors are of the same images.
        at_chance: of each r.
        where: what is said of the images, where they are not the test images.
    """
    of_r = {kind: spread for kind, spread in errors.items() if kind != RANDOM}
    least = min(of_r, key=lambda kind: of_r[kind].mean)
    return [
        Finding(
            f"Three routing iterations are best{where}",
            "0.29 ± 0.011 % (r = 1), 0.25 ± 0.005 % (r = 3)" if mnist else "–",
            "".join(f"r = {r}: {plus_minus(of_r[r])} %, " for r in ("1", str(BEST)) if r in of_r)
            + f"least at r = {least}: {plus_minus(of_r[least])} %",
            claims[0].answer,
        ),
        Finding(
            f"More iterations overfit{where}",
            "no figure",
            above_three(judged, at_chance),
            claims[1].answer,
        ),
    ]


def above_three(judged: Mapping[int, Judgement], at_chance: Mapping[int, str]) -> str:
    """The difference of the r that the claim of overfitting is answered by."""
    chosen = deciding(judged)
    if chosen is None:
        return "–"
    more = judged[chosen].difference.estimate
    known = "" if more.seeds == 1 else f" ({interval(more)})"
    said = f"r = {chosen}: error {100 * more.mean:+.2f} points from r = {BEST}{known}"
    return said + at_chance.get(chosen, "")


def column(rows: Sequence[Row], name: str) -> Summary:
    """Mean and spread of a column."""
    return summarise([row[name] for row in rows])


def error_table(kinds: Kinds, known: Mapping[str, Estimate]) -> str:
    """Errors and losses, mean ± standard deviation over the seeds."""
    header = [
        "r", "test error, %", "95 % interval", "training error, %", "training loss", "test loss"
    ]  # fmt: skip
    lines = [
        [
            kind,
            plus_minus(column(rows, "test_error")),
            interval(known[kind], least=0),
            plus_minus(column(rows, "training_error")),
            plus_minus(column(rows, "training_loss"), 4, 1),
            plus_minus(column(rows, "test_loss"), 4, 1),
        ]
        for kind, rows in kinds.items()
    ]
    return table(header, lines)


def slim(arrays: Arrays) -> Arrays:
    """What the report needs of a cell: which images it got wrong."""
    if "wrong" in arrays:
        return arrays
    unused = {name: arrays[name] for name in ("unused_wrong",) if name in arrays}
    return {"wrong": arrays["labels"] != arrays["predictions"], **unused}


def evaluated_otherwise(kinds: Kinds, with_r: int) -> str:
    """What the networks trained with other numbers of iterations lose when evaluated with this."""
    lines = []
    for kind, rows in kinds.items():
        if kind not in (str(with_r), RANDOM):
            name = f"test_error_with_{with_r}"
            more = summarise([row[name] - row["test_error"] for row in rows])
            lines.append([kind, plus_minus(column(rows, "test_error")),
                          plus_minus(column(rows, name)),
                          f"{100 * more.mean:+.2f}", interval(more)])  # fmt: skip
    header = [
        "trained with r", "test error, %", f"evaluated with r = {with_r}, %", "more",
        "95 % interval",
    ]  # fmt: skip
    return table(header, lines)


def routing_table(kinds: Kinds) -> str:
    """Coupling in the last iteration, and the cost."""
    lines = [
        [
            kind,
            number(max(0.0, 1 - column(rows, "entropy").mean), 2),
            percent(column(rows, "to_prediction").mean, 1),
            percent(column(rows, "to_prediction_by_length").mean, 1),
            f"{1000 * min(row['seconds_per_step'] for row in rows):.1f}",
        ]
        for kind, rows in kinds.items()
    ]
    header = [
        "r", "1 − entropy of c / log J",
        "strongest parent is the predicted class, % of input capsules",
        "the same, by length of pose", "quickest training step, ms",
    ]  # fmt: skip
    return table(header, lines)
