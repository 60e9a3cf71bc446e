"""What `iterations` says about the two claims, by rules that look at no result.

The error of each number of iterations is compared with that of r = 3, over seeds and images, and
judged as all differences are. Equal seeds have equal first weights and batches.

- "3 is best": *borne out*, if every other r has a higher error than r = 3; *contradicted*, if one
  has a lower one; else *not decided*.
- "More iterations overfit" is about every r above 3. Such an r *overfits* if its error is higher
  than that of r = 3, and its margin loss rises further from training to held-out images; the gap of
  the losses is compared over the seeds alone, by the same rule. The claim is *borne out*, if one
  overfits and none has a lower error. It is *contradicted*, if one has a lower error and none
  overfits, in trainings that can show it: where no r of 3 or more has a larger loss on held-out
  images than on training images there is nothing that could overfit more. It is *not decided*
  otherwise. An r whose error is higher without the wider gap is named as worse, not as
  overfitting, and as *at chance* where its errors say so.

Where there are training images that nobody used, the claims are answered on them, too; the losses
are those on the test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reproduction.harness.cell import Row
from reproduction.harness.crossed import over_seeds
from reproduction.harness.verdict import Difference, Judgement

__all__ = [
    "BEST",
    "Claim",
    "at_chance_of",
    "best_at_three",
    "closer",
    "deciding",
    "gap_differences",
    "having_learned",
    "overfitting",
]

BEST = 3
# A network has learned nothing whose error is not smaller than this much of that of answering the
# most frequent class for every image; rows of an older version are of ten classes of one size.
LEARNED = 0.98
TEN_CLASSES = 0.9
ByIterations = Mapping[int, Sequence[Row]]  # rows by seed
Judged = Mapping[int, Judgement]  # the error with r iterations less that of r = 3


@dataclass(frozen=True)
class Claim:
    """The answer to a claim, and the sentence that gives its reasons."""

    answer: str
    sentence: str


def best_at_three(judged: Judged) -> Claim:
    """Whether r = 3 errs least."""
    if not judged:
        return Claim(_undecided(judged), f"“{BEST} is best”: not decided. No other r was trained.")
    lower, higher, unclear = _sorted_out(judged)
    if lower:
        answer, parts = "contradicted", [f"{_named(lower)} err{_s(lower)} less than r = {BEST}"]
    elif not unclear:
        answer, parts = "borne out", [f"every other r errs more than r = {BEST}"]
    else:
        answer, parts = _undecided(judged), [f"no r surely errs less than r = {BEST}"]
        if higher:
            parts.append(f"{_named(higher)} err{_s(higher)} more")
    if unclear:
        parts.append(f"{_named(unclear)} cannot be told apart from it{_within(judged, unclear)}")
    return Claim(answer, f"“{BEST} is best”: {answer}. " + _sentence(parts))


def overfitting(judged: Judged, gaps: Judged, fits: Judged, rows: ByIterations) -> Claim:
    """Whether more than three iterations overfit.

    Args:
        judged: the errors less that of r = 3.
        gaps, fits: the judgements on `gap_differences` and on `closer`.
        rows: of every r.
    """
    above = {r: one for r, one in judged.items() if r > BEST}
    if not above:
        sentence = f"“More iterations overfit”: not decided. No r above {BEST} was trained."
        return Claim(_undecided(above), sentence)
    lower, higher, unclear = _sorted_out(above)
    wider = _higher(gaps)
    overfit = [r for r in higher if r in wider]
    worse = [r for r in higher if r not in wider]
    testable = bool(_higher(fits))
    answer = _undecided(above)
    if overfit and not lower:
        answer = "borne out"
    elif lower and not overfit and testable:
        answer = "contradicted"
    parts = []
    if overfit:
        parts.append(
            f"{_named(overfit)} err{_s(overfit)} more, with a wider gap between the losses"
        )
    if worse:
        parts.append(
            f"{_named(worse)} err{_s(worse)} more, but without a wider gap between training and "
            f"held-out loss{at_chance_of([row for r in worse for row in rows[r]])}"
        )
    if lower:
        parts.append(f"{_named(lower)} err{_s(lower)} less than r = {BEST}")
    if unclear:
        parts.append(
            f"{_named(unclear)} cannot be told apart from r = {BEST}{_within(above, unclear)}"
        )
    if not testable:
        nothing = all(one.difference.estimate.mean <= 0 for one in fits.values())
        follows = (
            "none has on average: there is nothing to overfit"
            if nothing
            else "whether any network overfits is not decided"
        )
        parts.append(
            f"no network with r = {BEST} or more surely has a larger loss on held-out images than "
            f"on training images, and {follows}"
        )
    return Claim(answer, f"“More iterations overfit”: {answer}. " + _sentence(parts))


def deciding(judged: Judged) -> int | None:
    """The r above 3 that `overfitting` is answered by; None where there is none.

    One that surely errs less, else one that surely errs more, else the highest.
    """
    above = {r: one for r, one in judged.items() if r > BEST}
    lower, higher, _ = _sorted_out(above)
    mean = {r: abs(one.difference.estimate.mean) for r, one in above.items()}
    return max(lower or higher or sorted(above)[-1:], key=lambda r: mean[r], default=None)


def gap_differences(rows: ByIterations) -> dict[int, Difference]:
    """By how much the loss rises further from training to held-out images than with r = 3."""
    base = {row["seed"]: row["loss_gap"] for row in rows[BEST]}
    return {
        r: Difference(
            f"r = {r}",
            f"r = {BEST}",
            over_seeds([row["loss_gap"] - base[row["seed"]] for row in of_r]),
        )
        for r, of_r in rows.items()
        if r != BEST
    }


def closer(rows: ByIterations) -> dict[int, Difference]:
    """Of r = 3 and more, by how much the loss is larger on held-out images."""
    return {
        r: Difference(
            f"r = {r}, held-out", "training", over_seeds([row["loss_gap"] for row in of_r])
        )
        for r, of_r in rows.items()
        if r >= BEST
    }


def _higher(judged: Judged) -> list[int]:
    return [r for r, one in judged.items() if one.verdict == "higher"]


def _sorted_out(judged: Judged) -> tuple[list[int], list[int], list[int]]:
    """Those with a lower error, those with a higher one, and the rest."""
    lower = [r for r, one in judged.items() if one.verdict == "lower"]
    higher = _higher(judged)
    return lower, higher, [r for r in judged if r not in lower and r not in higher]


def _undecided(judged: Judged) -> str:
    """Not decided, and why where it is the number of seeds."""
    said = {one.verdict for one in judged.values() if one.verdict.startswith("not decided")}
    return max(said, default="not decided", key=len)


def at_chance_of(rows: Sequence[Row]) -> str:
    """How many trainings have learned nothing."""
    failed = len(rows) - len(having_learned(rows))
    return f" (at chance in {failed} of {len(rows)} trainings)" if failed else ""


def having_learned(rows: Sequence[Row]) -> list[Row]:
    """Those trainings that are better than chance."""
    return [row for row in rows if learned_something(row)]


def learned_something(row: Row) -> bool:
    """Whether an error is below what one class for all images has."""
    return bool(row["test_error"] <= LEARNED * row.get("one_class_error", TEN_CLASSES))


def _within(judged: Judged, those: Sequence[int]) -> str:
    """How far apart they may be."""
    spreads = [judged[r].difference.estimate for r in those]
    if any(spread.seeds == 1 for spread in spreads):
        return " (one seed has no spread)"
    low, high = min(one.low for one in spreads), max(one.high for one in spreads)
    return f" (the errors differ by {100 * low:+.2f} to {100 * high:+.2f} points)"


def _named(those: Sequence[int]) -> str:
    return "r = " + ", ".join(map(str, those))


def _s(those: Sequence[int]) -> str:
    return "s" if len(those) == 1 else ""


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:] if text.startswith(("every", "no ")) else text
