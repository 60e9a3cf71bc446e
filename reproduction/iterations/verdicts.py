"""What the rows of `iterations` say about the two claims, by rules that look at no result.

A difference between two numbers of iterations is taken seed by seed (equal seeds have equal first
weights and batches), and counts as one when its t-interval over the seeds leaves out zero. The
intervals of a claim hold together at 95 % (Bonferroni: each is at 1 − 0.05/n for n comparisons).

- "3 is best" is *borne out* if every other r errs more than r = 3, *contradicted* if one errs less,
  else *not decided*.
- "More iterations overfit" is about every r above 3. Such an r *overfits* if it errs more than
  r = 3 on held-out images, and its margin loss rises further from training to held-out images. The
  claim is *borne out* if one overfits and none errs less. It is *contradicted* if one errs less and
  none overfits, in trainings that can show it: where no r has a larger loss on held-out images than
  on training images there is nothing that could overfit more, and the claim is *not testable*. It
  is *not decided* otherwise. An r that errs more without the wider gap is named as worse, not as
  overfitting, and as *at chance* where its errors say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reproduction.harness.cell import Row
from reproduction.harness.statistics import Summary, difference, summarise

__all__ = ["Verdict", "best_at_three", "deciding", "overfitting"]

BEST = 3
CHANCE = 0.88  # error above which a network of ten classes has learned nothing
ByIterations = Mapping[int, Sequence[Row]]  # rows by seed


@dataclass(frozen=True)
class Verdict:
    """An answer to a claim, and the sentence that gives its reasons."""

    answer: str
    sentence: str


def best_at_three(rows: ByIterations) -> Verdict:
    """Whether r = 3 errs least."""
    errors = _differences(rows, [r for r in rows if r != BEST], "test_error")
    less, more, unclear = _sorted_out(errors)
    if less:
        answer, parts = "contradicted", [f"{_named(less)} err{_s(less)} less than r = {BEST}"]
    elif not unclear:
        answer, parts = "borne out", [f"every other r errs more than r = {BEST}"]
    else:
        answer, parts = "not decided", [f"no r errs less than r = {BEST}"]
        if more:
            parts.append(f"{_named(more)} err{_s(more)} more")
    if unclear:
        parts.append(f"{_named(unclear)} cannot be told apart from it{_within(errors, unclear)}")
    return Verdict(answer, f"“{BEST} is best”: {answer}. " + _sentence(parts))


def overfitting(rows: ByIterations) -> Verdict:
    """Whether more than three iterations overfit."""
    higher = [r for r in rows if r > BEST]
    errors = _differences(rows, higher, "test_error")
    less, more, unclear = _sorted_out(errors)
    _, wider, _ = _sorted_out(_differences(rows, higher, "loss_gap"))
    overfit = [r for r in more if r in wider]
    worse = [r for r in more if r not in wider]
    if overfit and not less:
        answer = "borne out"
    elif less and not overfit:
        answer = "contradicted" if _fits_closer(rows) else "not testable"
    else:
        answer = "not decided"
    parts = []
    if overfit:
        parts.append(
            f"{_named(overfit)} err{_s(overfit)} more, with a wider gap between the losses"
        )
    if worse:
        parts.append(
            f"{_named(worse)} err{_s(worse)} more, but without a wider gap between training and "
            f"held-out loss{_at_chance(rows, worse)}"
        )
    if less:
        parts.append(f"{_named(less)} err{_s(less)} less than r = {BEST}")
    if unclear:
        parts.append(
            f"{_named(unclear)} cannot be told apart from r = {BEST}{_within(errors, unclear)}"
        )
    if answer == "not testable":
        parts.append("no network has a larger loss on held-out images than on training images")
    return Verdict(answer, f"“More iterations overfit”: {answer}. " + _sentence(parts))


def deciding(rows: ByIterations) -> tuple[int, Summary]:
    """The r above 3 that `overfitting` is answered by, and its error less that of r = 3.

    One that surely errs less, else one that surely errs more, else the highest; at the level at
    which the intervals of all of them hold together.
    """
    higher = [r for r in rows if r > BEST]
    errors = _differences(rows, higher, "test_error")
    less, more, _ = _sorted_out(errors)
    chosen = max(less or more or [max(higher)], key=lambda r: abs(errors[r].mean))
    return chosen, errors[chosen]


def _fits_closer(rows: ByIterations) -> list[int]:
    """Those of 3 and more whose loss is surely larger on held-out images."""
    those = [r for r in rows if r >= BEST]
    level = 1 - 0.05 / len(those)
    gaps = {r: summarise([row["loss_gap"] for row in rows[r]], level) for r in those}
    return _sorted_out(gaps)[1]


def _at_chance(rows: ByIterations, those: Sequence[int]) -> str:
    """How many trainings have learned nothing."""
    trainings = [row["test_error"] > CHANCE for r in those for row in rows[r]]
    if not any(trainings):
        return ""
    return f" (at chance in {sum(trainings)} of {len(trainings)} trainings)"


def _differences(rows: ByIterations, those: Sequence[int], name: str) -> dict[int, Summary]:
    level = 1 - 0.05 / max(1, len(those))
    return {r: difference(rows[r], rows[BEST], name, level) for r in those}


def _sorted_out(differences: Mapping[int, Summary]) -> tuple[list[int], list[int], list[int]]:
    """Those that are surely below zero, surely above it, and the rest."""
    below = [r for r, spread in differences.items() if spread.high < 0]
    above = [r for r, spread in differences.items() if spread.low > 0]
    return below, above, [r for r in differences if r not in below and r not in above]


def _within(errors: Mapping[int, Summary], those: Sequence[int]) -> str:
    """How far apart they may be."""
    if any(errors[r].count == 1 for r in those):
        return " (one seed has no spread)"
    low, high = min(errors[r].low for r in those), max(errors[r].high for r in those)
    return f" (the errors differ by {100 * low:+.2f} to {100 * high:+.2f} points)"


def _named(those: Sequence[int]) -> str:
    return "r = " + ", ".join(map(str, those))


def _s(those: Sequence[int]) -> str:
    return "s" if len(those) == 1 else ""


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:] if text.startswith(("every", "no ")) else text
