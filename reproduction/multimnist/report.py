"""What is said of `multimnist`: errors beside the published ones, differences, drawings."""

from collections.abc import Mapping, Sequence

import torch

from reproduction.harness.budget import budget_part
from reproduction.harness.cell import Row
from reproduction.harness.comparison import (
    Comparison,
    Parts,
    differences,
    draw_errors,
    error_of,
    finding_of,
    judgement_part,
    said_of,
    with_published,
)
from reproduction.harness.crossed import Estimate, over_seeds
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, plus_minus, table
from reproduction.harness.scale import Scale
from reproduction.harness.statistics import summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import Difference, Judgement, judge
from reproduction.multimnist.figures import draw_examples
from torchcaps.data import ImageData, MultiMNIST

__all__ = ["BEST", "COMPARISONS", "PAIRS_SEED", "digits_of_pairs", "report"]

COMPARISONS = {
    "cnn": Comparison("baseline CNN", {"model": "baseline_cnn", "learning_rate": 0.001}, 8.1),
    "r1": Comparison("CapsNet, r = 1", {"iterations": 1}, 7.5),
    "r3": Comparison("CapsNet, r = 3", {"iterations": 3}, 5.2),
    "attention": Comparison("inverted attention", {"routing": "attention"}, None),
}
PUBLISHED = ("cnn", "r1", "r3")
BEST = "r3"
PAIRS = [("r1", BEST), ("cnn", BEST), ("attention", BEST)]
PAIRS_SEED = 0  # of the held-out pairs


def report(results: Results) -> Report:
    """Ours beside the published, the differences that the table is read for, and drawings."""
    networks = with_published(compared(results.scale), results)
    rows = {name: results.of(name) for name in networks}
    labels = {name: one.label for name, one in networks.items()}
    errors = {name: [row["test_error"] for row in own] for name, own in rows.items()}
    parts = digits_of_pairs(results)
    known = {name: error_of(results, name, parts=parts) for name in networks}
    pairs = [pair for pair in PAIRS if pair[0] in networks]
    drawn = rows[BEST][0]["drawing_error"] is not None
    compared_pairs = differences(results, networks, pairs, parts=parts)
    all_judged = judge([*compared_pairs, *([drawings_differ(rows[BEST])] if drawn else [])])
    judged, of_drawings = all_judged[: len(pairs)], all_judged[len(pairs) :]
    draw_errors(
        networks, errors, known, title="Pairs of digits of which not both are found",
        measured="wrong pairs, %", path=results.folder / "errors.png",
    )  # fmt: skip
    figures = [
        f"{one.label}: {plus_minus(summarise(errors[name]))} % of the pairs wrong"
        + ("" if one.published is None else f" (published {one.published})")
        for name, one in networks.items()
    ]
    figures += map(said_of, judged)
    pages = [
        "![Wrong pairs of every network](errors.png)"
        if all(one.published is None for one in networks.values())
        else "![Wrong pairs of every network, with the published figures](errors.png)",
        error_table(networks, rows, errors, known),
        f"{rows[BEST][0]['training_pairs']:,} pairs to learn from, each drawn anew; "
        f"{rows[BEST][0]['pairs']:,} held-out pairs, the same for all. Mean ± standard deviation "
        "over the seeds; last epoch; intervals over seeds and pairs.",
        *(["## Differences", *judgement_part(all_judged)] if all_judged else []),
        "Pairs that share a digit are not taken for independent." if parts is not None
        else "A digit is in several pairs; these rows do not say in which, and the intervals take "
        "pairs for independent: those of one network's error are too narrow.",
        *budget_part({labels[name]: own for name, own in rows.items()}, results.scale),
        *trial_part(results, labels),
    ]  # fmt: skip
    findings = [*map(finding_of, judged)]
    for one in of_drawings:
        pages += drawing_part(results, rows)
        findings.append(drawing_finding(rows[BEST], one))
    return Report(figures, "\n\n".join(pages), findings)


def compared(scale: Scale) -> dict[str, Comparison]:
    """The networks of a scale."""
    return {name: COMPARISONS[name] for name in scale.compared or PUBLISHED}


def drawing_part(results: Results, rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """The digits of a pair, each drawn by itself."""
    return [
        "## Two digits, drawn apart",
        drawing_table(rows),
        "Squared error: of one digit of a pair as drawn from its own class capsule, summed over "
        "its pixels. Read back: drawings of a digit of the pair which the network itself, shown "
        "only the drawing, takes for that digit; not there: the same of the most active class that "
        "is neither in the image nor answered.",
        *draw_examples(results.arrays(rows[BEST][0]), results.folder),
    ]


def digits_of_pairs(results: Results) -> Parts | None:
    """Which held-out digits each pair is made of, `[N, 2]`; None of rows that do not say."""
    row = results.of(BEST)[0]
    labels = results.arrays(row).get("digit_labels")
    if labels is None:
        return None
    classes = torch.from_numpy(labels).long()
    names = tuple(str(k) for k in range(int(classes.max()) + 1))
    blank = ImageData(torch.zeros(len(classes), 1, 1, 1), classes, names, "labels alone")
    return MultiMNIST(blank, seed=PAIRS_SEED).places(0, row["pairs"]).numpy()


def drawings_differ(rows: Sequence[Row]) -> Difference:
    """How often digits are read back that are not there, less half of how often those that are."""
    return Difference(
        "drawings read back, of digits that are not there,",
        "half of those of digits that are (over the seeds alone)",
        over_seeds([row["read_back_absent"] - row["read_back"] / 2 for row in rows]),
    )


def drawing_finding(rows: Sequence[Row], judged: Judgement) -> Finding:
    """What is drawn of digits that are not there."""
    there, absent = (
        summarise([row[name] for row in rows]) for name in ("read_back", "read_back_absent")
    )
    return Finding(
        "Told to draw a digit that is not there, CapsNet cannot: read back less than half as often",
        "shown in a figure",
        f"of drawings of digits that are there it reads back {plus_minus(there)} %, of those "
        f"that are not {plus_minus(absent)} %",
        judged.verdict,
    )


def error_table(
    networks: Mapping[str, Comparison],
    rows: Mapping[str, Sequence[Row]],
    errors: Mapping[str, Sequence[float]],
    known: Mapping[str, Estimate],
) -> str:
    """A line a network."""
    body = [
        [
            one.label,
            "–" if one.published is None else f"{one.published:.1f}",
            plus_minus(summarise(errors[name])),
            interval(known[name], least=0),
            plus_minus(summarise([row["digits_missed"] / 2 / row["pairs"] for row in rows[name]])),
            plus_minus(summarise([row["training_error"] for row in rows[name]])),
            f"{1000 * min(row['seconds_per_step'] for row in rows[name]):.0f}",
            *(farther_of(rows[name]) if all(map(farther_of, rows.values())) else []),
        ]
        for name, one in networks.items()
    ]
    header = [
        "wrong pairs", "published, %", "ours, %", "95 % interval", "digits missed, %",
        "in training, last epoch, %", "quickest training step, ms",
        *(["shifted by up to 6, %"] if all(map(farther_of, rows.values())) else []),
    ]  # fmt: skip
    return table(header, body)


def farther_of(rows: Sequence[Row]) -> list[str]:
    """The error on digits shifted farther than in training; nothing of rows that lack it."""
    found = [row["farther_error"] for row in rows if row.get("farther_error") is not None]
    return [plus_minus(summarise(found))] if found else []


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
