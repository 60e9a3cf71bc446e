"""The report of `mistakes`: the cost of each one, in tables, in a picture, and in a sentence."""

from collections.abc import Mapping, Sequence

from reproduction.harness.cell import Row
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import interval, number, p_value, percent, plus_minus, table
from reproduction.harness.statistics import Summary, difference, discordant, mcnemar, summarise
from reproduction.mistakes.figures import draw_costs
from reproduction.mistakes.variants import RIGHT, VARIANTS

__all__ = ["cost_in_accuracy", "report"]

Kinds = Mapping[str, Sequence[Row]]  # variant → rows by seed
NOTABLE = 0.005  # share of answers that change with the batch, above which it is said
HIDDEN, COSTS, ERRS_LESS, ONE_SEED = (
    "accuracy does not tell it apart", "costs accuracy", "errs less", "not decided, one seed"
)  # fmt: skip
RULES = f"""\
Differences are seed by seed: the trainings of a seed begin with the same weights (but for W from
N(0, 1)) and see the same images in the same order. A mistake *costs accuracy* or *errs less*
where the interval of its difference leaves out zero, and else accuracy does not tell it apart,
which is not to say that it costs nothing. The intervals of these answers hold together at 95 %
(Bonferroni: each is at 1 − 0.05/{len(VARIANTS) - 1}), those of the table each by itself. p is of
the images: pooled over the seeds it says nothing of other trainings. That answers change with the
batch is said where more than {100 * NOTABLE:g} % of them do."""


def report(results: Results) -> Report:
    """Costs, one mistake a line."""
    kinds: Kinds = {name: results.of(name) for name in VARIANTS}
    draw_costs(kinds, path=results.folder / "costs.png")
    batch = results.scale.config.batch_size
    parts = [
        "![Test error, entropy of the coupling and error of a drawing, of each mistake](costs.png)",
        error_table(results, kinds),
        "Mean ± standard deviation over the seeds (in the picture: lowest to highest); differences "
        "in percentage points; exact McNemar test on the same held-out images, pooled over the "
        "seeds.",
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
        "pixel errors, with the true class shown, mean over the held-out images, after so short a "
        "training barely better than the mean image for the right network too: drawing the mean "
        f"training image of the class has {mean_image(kinds):.1f}.",
        "## Rules of the answers",
        RULES.replace("\n", " "),
    ]
    return Report(sentences(kinds, batch), "\n\n".join(parts), findings(kinds, batch))


def column(rows: Sequence[Row], name: str) -> Summary:
    """Mean and spread of a column."""
    return summarise([row[name] for row in rows])


def mean_image(kinds: Kinds) -> float:
    """The error of drawing every image as the mean image of its class."""
    return column(kinds[RIGHT], "mean_image_error").mean


def cost_in_accuracy(rows: Sequence[Row], right: Sequence[Row]) -> tuple[Summary, str]:
    """(difference of the test errors, what it says)."""
    spread = difference(rows, right, "test_error", level=1 - 0.05 / (len(VARIANTS) - 1))
    if spread.deviation is None:
        return spread, ONE_SEED
    return spread, COSTS if spread.low > 0 else ERRS_LESS if spread.high < 0 else HIDDEN


def sentences(kinds: Kinds, batch: int) -> list[str]:
    """The right network, then a line for every mistake."""
    right = kinds[RIGHT]
    lines = [f"the right network: {plus_minus(column(right, 'test_error'))} % test error"]
    for name, rows in kinds.items():
        if name == RIGHT:
            continue
        spread, said = cost_in_accuracy(rows, right)
        line = (
            f"{VARIANTS[name].label}: {plus_minus(column(rows, 'test_error'))} %, "
            f"{100 * spread.mean:+.2f} points{within(spread)}: {said}"
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


def within(spread: Summary) -> str:
    """The interval of a difference, in brackets."""
    return "" if spread.deviation is None else f" ({interval(spread)})"


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
    """Errors, differences and the paired test."""
    wrong = {
        (row["cell"], row["seed"]): results.arrays(row)["wrong"].astype(bool)
        for row in results.rows
    }
    lines = []
    for name, rows in kinds.items():
        error = column(rows, "test_error")
        line = [VARIANTS[name].label, plus_minus(error), interval(error, least=0)]
        if name != RIGHT:
            less = difference(rows, kinds[RIGHT], "test_error")
            pairs = [discordant(wrong[name, r["seed"]], wrong[RIGHT, r["seed"]]) for r in rows]
            this, other = (sum(part) for part in zip(*pairs))
            line += [f"{100 * less.mean:+.2f}", interval(less), f"{this}", f"{other}"]
            line += [p_value(mcnemar(this, other))]
        lines.append(line + [""] * (8 - len(line)))
    header = [
        "mistake", "test error, %", "95 % interval", "minus the right one", "95 % interval",
        "only this wrong", "only the right one wrong", "p",
    ]  # fmt: skip
    return table(header, lines)


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


def findings(kinds: Kinds, batch: int) -> list[Finding]:
    """Three mistakes of which something is claimed."""
    right = kinds[RIGHT]
    spread, said = cost_in_accuracy(kinds["wrong-axis-unit-normal"], right)
    averaged = kinds["batch-averaged"]
    together, alone = (column(averaged, f"error_{name}") for name in ("together", "alone"))
    weak, sharp = (column(kinds[n], "drawing_error") for n in ("weak-reconstruction", RIGHT))
    return [
        Finding(
            "Accuracy does not reveal a softmax over the input capsules (with W from N(0, 1))",
            "99.7 % accuracy with it",
            f"error {100 * spread.mean:+.2f} points from the right one{within(spread)}",
            said,
        ),
        Finding(
            "With logits averaged over the batch, an image alone is answered badly",
            "accuracy collapses",
            f"error {plus_minus(together)} % in batches of {batch}, {plus_minus(alone)} % alone",
            collapse(averaged),
        ),
        Finding(
            "A mean in place of the sum of squares leaves the decoder untrained",
            "784 times too weak",
            f"squared error of a drawing {plus_minus(weak, 1, 1)}, of the right network "
            f"{plus_minus(sharp, 1, 1)}, of the mean image {mean_image(kinds):.1f}",
            "no better than the mean image" if weak.mean >= mean_image(kinds)
            else "draws worse" if weak.mean > sharp.mean else "draws no worse",
        ),
    ]  # fmt: skip


def collapse(rows: Sequence[Row]) -> str:
    """Whether images alone are answered worse: surely more errors, and more than twice as many."""
    spread = summarise([row["error_alone"] - row["error_together"] for row in rows])
    if spread.deviation is None:
        return ONE_SEED
    if spread.low <= 0:
        return "not seen"
    together, alone = (column(rows, f"error_{name}").mean for name in ("together", "alone"))
    return "borne out" if alone > 2 * together else "errs more, but no collapse"
