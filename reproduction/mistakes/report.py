"""The report of `mistakes`: the cost of each one, in tables, in a picture, and in a sentence."""

from collections.abc import Mapping, Sequence

from reproduction.harness.budget import budget_part
from reproduction.harness.cell import Row
from reproduction.harness.comparison import (
    Comparison,
    differences,
    error_of,
    judgement_part,
    plain_table,
    wrong_by_seed,
)
from reproduction.harness.crossed import Estimate, crossed_difference, over_seeds
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, number, percent, plus_minus, table
from reproduction.harness.statistics import Summary, summarise
from reproduction.harness.tuning import trial_part
from reproduction.harness.verdict import Difference, Judgement, judge
from reproduction.mistakes.figures import draw_costs
from reproduction.mistakes.variants import RIGHT, VARIANTS

__all__ = ["judged_by_name", "report"]

Kinds = Mapping[str, Sequence[Row]]  # variant → rows by seed
Judged = Mapping[
    str, Judgement
]  # variant → its error less that of the right network; the two below
ALONE, DRAWING = "images alone", "drawing"
NOTABLE = 0.005  # share of answers that change with the batch, above which it is said
RULES = f"""\
The trainings of a seed begin with the same weights (but for W from N(0, 1)) and see the same images
in the same order. Where nothing is decided a mistake may still cost something. That answers change
with the batch is said where more than {100 * NOTABLE:g} % of them do; of a network at chance, whose
lengths are nearly alike, rounding can do that."""


def report(results: Results) -> Report:
    """Costs, one mistake a line."""
    kinds: Kinds = {name: results.of(name) for name in VARIANTS}
    labels = {name: one.label for name, one in VARIANTS.items()}
    judged = judged_by_name(results, kinds)
    draw_costs(kinds, path=results.folder / "costs.png")
    batch = results.scale.config.batch_size
    parts = [
        "![Test error, entropy of the coupling and error of a drawing, of each mistake](costs.png)",
        error_table(results, kinds),
        "Mean ± standard deviation over the seeds (in the picture: lowest to highest); intervals "
        "over seeds and images.",
        "## Differences",
        *judgement_part(
            [one for name, one in judged.items() if name != DRAWING],
            where="in this table and the next",
        ),
        plain_table([judged[DRAWING]], "squared error"),
        "The difference of drawings, and of rows of an older version that of images alone, is over "
        "the seeds alone.",
        RULES.replace("\n", " "),
        "## Depending on the batch",
        batch_table(kinds, batch),
        f"The same {kinds[RIGHT][0]['images_by_batch']:,} held-out images in mixed batches of "
        f"{batch}, alone, and in batches sorted by class; then the share of them whose answer is "
        "another than in the mixed batches: alone, in other mixed batches, and sorted by class.",
        "## Coupling and drawings",
        inner_table(kinds),
        "Entropy of the last iteration's coupling over the output capsules (1 undecided, 0 "
        "decided) and what an input capsule gives away in all, which is 1 by Procedure 1: mean, "
        "and lowest to highest of the first seed. The error of a drawing is the sum of squared "
        "pixel errors, with the true class shown, mean over the held-out images: "
        f"{column(kinds[RIGHT], 'drawing_error').mean:.1f} of the right network, where drawing the "
        f"mean training image of the class has {mean_image(kinds):.1f}.",
        *budget_part({labels[name]: rows for name, rows in kinds.items()}, results.scale),
        *trial_part(results, labels),
    ]
    findings = [
        axis_finding(judged),
        batch_finding(kinds, judged, batch),
        drawing_finding(kinds, judged),
    ]
    return Report(sentences(kinds, judged, batch), "\n\n".join(parts), findings)


def judged_by_name(results: Results, kinds: Kinds) -> Judged:
    """Every mistake beside the right network, images alone, and the drawings of a weak decoder."""
    networks = {name: Comparison(one.label, {}, None) for name, one in VARIANTS.items()}
    networks[RIGHT] = networks[RIGHT]._replace(label="the right one")
    wrong = [name for name in VARIANTS if name != RIGHT]
    found = differences(results, networks, [(name, RIGHT) for name in wrong])
    found += [images_alone(results, kinds), weak_drawings(kinds)]
    return dict(zip([*wrong, ALONE, DRAWING], judge(found)))


def column(rows: Sequence[Row], name: str) -> Summary:
    """Mean and spread of a column."""
    return summarise([row[name] for row in rows])


def mean_image(kinds: Kinds) -> float:
    """The error of drawing every image as the mean image of its class."""
    return column(kinds[RIGHT], "mean_image_error").mean


def sentences(kinds: Kinds, judged: Judged, batch: int) -> list[str]:
    """The right network, then a line for every mistake."""
    right = kinds[RIGHT]
    lines = [f"the right network: {plus_minus(column(right, 'test_error'))} % test error"]
    for name, rows in kinds.items():
        if name == RIGHT:
            continue
        spread = judged[name].difference.estimate
        line = (
            f"{VARIANTS[name].label}: {plus_minus(column(rows, 'test_error'))} %, "
            f"{100 * spread.mean:+.2f} points{within(spread)}: {judged[name].verdict}"
        )
        lines.append("; ".join([line, *batch_words(rows), *inner_words(name, kinds)]))
    together, alone = (
        plus_minus(column(right, name))
        for name in ("softmax_over_batch", "softmax_over_batch_alone")
    )
    lines.append(
        f"the right network, its lengths softmaxed over the batch: {together} % in batches of "
        f"{batch}, {alone} % for an image alone"
    )
    return lines


def within(spread: Estimate) -> str:
    """The interval of a difference, in brackets."""
    known = interval(spread)
    return "" if known == "–" else f" ({known})"


def batch_words(rows: Sequence[Row]) -> list[str]:
    """What is said of the batch, if anything."""
    mixed, alone, by_class = (
        column(rows, f"changed_{name}").mean for name in ("mixed", "alone", "by_class")
    )
    if max(mixed, alone, by_class) <= NOTABLE:
        return []
    return [
        f"{percent(mixed, 1)} % of the answers change in another mixed batch, "
        f"{percent(alone, 1)} % alone, {percent(by_class, 1)} % among images of one class, "
        f"where the error is {percent(column(rows, 'error_by_class').mean)} % in place of "
        f"{percent(column(rows, 'error_together').mean)} %"
    ]


def inner_words(name: str, kinds: Kinds) -> list[str]:
    """What is said of coupling and drawings, if anything."""
    rows, words = kinds[name], []
    given = column(rows, "coupling_sum").mean
    if abs(given - 1) > 0.01:
        words.append(f"the coupling of an input capsule sums to {number(given)}, in place of 1")
    if name == "weak-reconstruction":
        ours, right = (column(part, "drawing_error") for part in (rows, kinds[RIGHT]))
        words.append(
            f"squared error of a drawing {plus_minus(ours, 1, 1)}, of the right network "
            f"{plus_minus(right, 1, 1)}, of the mean image of the class {mean_image(kinds):.1f}"
        )
    return words


def error_table(results: Results, kinds: Kinds) -> str:
    """Errors of every variant."""
    lines = [
        [
            VARIANTS[name].label,
            plus_minus(column(rows, "test_error")),
            interval(error_of(results, name), least=0),
        ]
        for name, rows in kinds.items()
    ]
    return table(["mistake", "test error, %", "95 % interval"], lines)


def batch_table(kinds: Kinds, batch: int) -> str:
    """Errors and changed answers by the kind of batch."""
    errors = [f"error_{name}" for name in ("together", "alone", "by_class")]
    changes = [f"changed_{name}" for name in ("alone", "mixed", "by_class")]
    lines = [
        [
            VARIANTS[name].label,
            *(plus_minus(column(rows, error)) for error in errors),
            *(percent(column(rows, change).mean) for change in changes),
        ]
        for name, rows in kinds.items()
    ]
    header = [
        "mistake", f"error in batches of {batch}, %", "alone, %", "by class, %",
        "changed alone, %", "in other batches, %", "by class, %",
    ]  # fmt: skip
    return table(header, lines)


def inner_table(kinds: Kinds) -> str:
    """Coupling, drawings and time."""
    lines = [
        [
            VARIANTS[name].label,
            number(column(rows, "entropy").mean),
            number(column(rows, "coupling_sum").mean),
            f"{number(rows[0]['coupling_sum_low'])} to {number(rows[0]['coupling_sum_high'])}",
            plus_minus(column(rows, "drawing_error"), 1, 1),
        ]
        for name, rows in kinds.items()
    ]
    header = [
        "mistake", "entropy of c / log J", "an input capsule gives away", "lowest to highest",
        "error of a drawing",
    ]  # fmt: skip
    return table(header, lines)


def axis_finding(judged: Judged) -> Finding:
    """Of the mistake that is found with the best accuracy."""
    one = judged["wrong-axis-unit-normal"]
    spread = one.difference.estimate
    return Finding(
        "Accuracy does not reveal a softmax over the input capsules (with W from N(0, 1))",
        "99.7 % accuracy with it",
        f"error {100 * spread.mean:+.2f} points from the right one{within(spread)}",
        one.verdict,
    )


def batch_finding(kinds: Kinds, judged: Judged, batch: int) -> Finding:
    """Of the mistake whose answers depend on the batch."""
    rows = kinds["batch-averaged"]
    together, alone = (column(rows, f"error_{name}") for name in ("together", "alone"))
    spread = judged[ALONE].difference.estimate
    return Finding(
        "With logits averaged over the batch, an image alone is answered badly",
        "accuracy collapses",
        f"error {plus_minus(together)} % in batches of {batch}, {plus_minus(alone)} % alone, "
        f"{100 * spread.mean:+.2f} points{within(spread)}",
        judged[ALONE].verdict,
    )


def images_alone(results: Results, kinds: Kinds) -> Difference:
    """The error on images alone less that in batches; older rows have no answers, but shares."""
    rows = kinds["batch-averaged"]
    if "wrong_alone" in results.arrays(rows[0]):
        wrong = (wrong_by_seed(results, rows, f"wrong_{name}") for name in ("alone", "together"))
        estimate = crossed_difference(*wrong)
    else:
        estimate = over_seeds([row["error_alone"] - row["error_together"] for row in rows])
    label = VARIANTS["batch-averaged"].label
    return Difference(f"{label}, images alone", "the same in batches", estimate)


def drawing_finding(kinds: Kinds, judged: Judged) -> Finding:
    """Of the mistake whose decoder hardly trains."""
    weak, sharp = (column(kinds[n], "drawing_error") for n in ("weak-reconstruction", RIGHT))
    return Finding(
        "A mean in place of the sum of squares leaves the decoder worse than the mean image",
        "784 times too weak",
        f"squared error of a drawing {plus_minus(weak, 1, 1)}, of the right network "
        f"{plus_minus(sharp, 1, 1)}, of the mean image {mean_image(kinds):.1f}",
        judged[DRAWING].verdict,
    )


def weak_drawings(kinds: Kinds) -> Difference:
    """Their error less that of the mean image: seeds alone are counted, the gap is wide."""
    rows = kinds["weak-reconstruction"]
    above = [row["drawing_error"] - row["mean_image_error"] for row in rows]
    return Difference(
        f"drawing, {VARIANTS['weak-reconstruction'].label},",
        "the mean image of the class",
        over_seeds(above),
    )
