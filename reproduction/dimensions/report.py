"""The report of `dimensions`: the strongest dimension for every measure, beside chance."""

from collections.abc import Mapping, Sequence

import numpy as np

from reproduction.dimensions.figures import draw_tweaks, most_changed
from reproduction.dimensions.shape_measures import MEASURES
from reproduction.harness.cell import Arrays, Row
from reproduction.harness.comparison import plain_table
from reproduction.harness.crossed import over_seeds
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import plus_minus, table
from reproduction.harness.statistics import summarise
from reproduction.harness.verdict import RULES, Difference, Judgement, judge

__all__ = ["report", "slim"]


def report(results: Results) -> Report:
    """The strongest dimension of every class for every measure, beside random directions."""
    arrays = results.arrays(results.rows[0])
    more = [beside_chance(name, results.rows) for name in MEASURES]
    judgements = dict(zip(MEASURES, judge([one for one in more if one is not None])))
    effects, correlations = arrays["effects"], arrays["correlations"]  # [J, D, M]
    draw_tweaks(effects, slim(arrays)["examples"], path=results.folder / "tweaks.png")
    best = np.abs(effects).argmax(axis=1)  # [J, M]
    lines = [
        [k]
        + [
            f"{d + 1}: {effects[k, d, m]:+.1f} ({correlations[k, d, m]:+.2f})"
            for m, d in enumerate(best[k])
        ]
        for k in range(len(effects))
    ]
    strongest = {name: strongest_words(name, results.rows) for name in MEASURES}
    verdicts = {
        name: judgements[name].verdict if judgements else "not decided, no random directions"
        for name in MEASURES
    }
    figures = [
        f"{name}: the strongest dimension of a class changes it by {strongest[name]}, on average "
        f"over the classes; beside chance: {verdicts[name]}"
        for name in MEASURES
    ]
    finding = Finding(
        "Single dimensions of a class capsule stand for properties such as stroke width and slant, "
        "more than other directions do",
        "shown in a figure",
        ", ".join(f"{name} {words}" for name, words in strongest.items()),
        ", ".join(f"{name}: {said}" for name, said in verdicts.items())
        if len(set(verdicts.values())) > 1
        else next(iter(verdicts.values())),
    )
    parts = [
        "![One dimension changed from −0.25 to 0.25, for each measure](tweaks.png)",
        *chance_part(judgements),
        "## Every class",
        "For every class and measure the dimension with the strongest effect: its number, the "
        "effect, and in brackets the correlation. Picture and table are of the first seed: which "
        "dimension stands for what is another in each training.",
        table(["class", *MEASURES], lines),
    ]
    return Report(figures, "\n\n".join(parts), [finding])


def beside_chance(name: str, rows: Sequence[Row]) -> Difference | None:
    """The strongest effect of a dimension less that of a random direction; None of older rows."""
    if any(f"{name} by chance" not in row for row in rows):
        return None
    more = [row[f"strongest effect on {name}"] - row[f"{name} by chance"] for row in rows]
    label = f"{name}: strongest dimension"
    return Difference(label, "strongest random direction", over_seeds(more))


def strongest_words(name: str, rows: Sequence[Row]) -> str:
    """The strongest effects, in standard deviations."""
    own = summarise([row[f"strongest effect on {name}"] for row in rows])
    words = f"{plus_minus(own, 1, 1)} standard deviations"
    chance = [row[f"{name} by chance"] for row in rows if f"{name} by chance" in row]
    if not chance:
        return words
    return f"{words} (random directions {plus_minus(summarise(chance), 1, 1)})"


def chance_part(judgements: Mapping[str, Judgement]) -> list[str]:
    """The comparison with random directions, measure by measure."""
    if not judgements:
        return []
    return [
        "## Beside random directions",
        plain_table(list(judgements.values()), "standard deviations"),
        "The strongest effect of the dimensions of a class less the strongest of as many random "
        "directions that stand on each other (mean of several draws), mean "
        "over the classes; Student's intervals over the seeds alone. The images of a class that "
        "are drawn and the random directions could have been others too, which is not counted; "
        f"the classes are all there are. {RULES}",
    ]


def slim(arrays: Arrays) -> Arrays:
    """Of the drawings those that are shown, in 256 shades; the rest is zero."""
    shown = np.zeros_like(arrays["examples"], dtype=np.uint8)
    for m, (k, _) in enumerate(most_changed(arrays["effects"])):
        drawn = arrays["examples"][k, m]
        shown[k, m] = drawn if drawn.dtype == np.uint8 else (255 * drawn).round()
    return {**arrays, "examples": shown}
