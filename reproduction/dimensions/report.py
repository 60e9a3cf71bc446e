"""The report of `dimensions`: the strongest dimension of every class for every measure."""

import numpy as np

from reproduction.dimensions.figures import draw_tweaks, most_changed
from reproduction.dimensions.shape_measures import MEASURES
from reproduction.harness.cell import Arrays
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import plus_minus, table
from reproduction.harness.statistics import summarise

__all__ = ["report", "slim"]

NOTABLE = 2  # standard deviations


def report(results: Results) -> Report:
    """The strongest dimension of every class for every measure."""
    arrays = results.arrays(results.rows[0])
    strongest = {
        name: summarise([row[f"strongest effect on {name}"] for row in results.rows])
        for name in MEASURES
    }
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
    figures = [
        f"{name}: the strongest dimension of a class changes it by {plus_minus(spread, 1, 1)} "
        "standard deviations, on average over the classes"
        for name, spread in strongest.items()
    ]
    beyond = [name for name, spread in strongest.items() if spread.mean > NOTABLE]
    finding = Finding(
        "Dimensions of a class capsule stand for properties such as stroke width and slant",
        "shown in a figure",
        ", ".join(f"{name} {plus_minus(spread, 1, 1)}" for name, spread in strongest.items())
        + " standard deviations by the strongest",
        f"{len(beyond)} of {len(MEASURES)} changed by more than {NOTABLE:g}",
    )
    parts = [
        "![One dimension changed from −0.25 to 0.25, for each measure](tweaks.png)",
        "For every class and measure the dimension with the strongest effect: its number, the "
        "effect, and in brackets the correlation. Picture and table are of the first seed: which "
        "dimension stands for what is another in each training.",
        table(["class", *MEASURES], lines),
    ]
    return Report(figures, "\n\n".join(parts), [finding])


def slim(arrays: Arrays) -> Arrays:
    """Of the drawings those that are shown, in 256 shades; the rest is zero."""
    shown = np.zeros_like(arrays["examples"], dtype=np.uint8)
    for m, (k, _) in enumerate(most_changed(arrays["effects"])):
        drawn = arrays["examples"][k, m]
        shown[k, m] = drawn if drawn.dtype == np.uint8 else (255 * drawn).round()
    return {**arrays, "examples": shown}
