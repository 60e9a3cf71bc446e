"""The report of `agreement`: four pictures, and the numbers in them."""

from reproduction.agreement.examples import ANGLES, ITERATIONS, VOTES
from reproduction.agreement.figures import (
    draw_capsule,
    draw_coupling,
    draw_dot_products,
    draw_two_capsules,
)
from reproduction.harness.cell import Row
from reproduction.harness.experiment import Finding, Report, Results
from reproduction.harness.markdown import table

__all__ = ["report"]


def report(results: Results) -> Report:
    """Four pictures, and the numbers in them."""
    (products,), (layer,), (pair,) = (
        results.of(name) for name in ("dot-product", "capsule", "two-capsules")
    )
    arrays = {row["cell"]: results.arrays(row) for row in results.rows}
    folder, steps = results.folder, len(arrays["two-capsules"]["coupling"])
    draw_dot_products(ANGLES, arrays["dot-product"], path=folder / "dot_product.png")
    draw_capsule(arrays["capsule"], path=folder / "capsule.png")
    draw_coupling(arrays["capsule"]["coupling"], path=folder / "coupling.png")
    draw_two_capsules(arrays["two-capsules"], path=folder / "two_capsules.png")
    last = len(VOTES)
    before, after = ([pair[f"c_{last}{j} at iteration {t}"] for j in (1, 2)] for t in (1, steps))
    deviation = max(row["largest deviation of a sum from 1"] for row in (layer, pair))
    smallest = min(row["smallest coupling"] for row in (layer, pair))
    figures = [
        f"scalar product of unit vectors: {products['at 180 degrees']:+.2f} opposed, "
        f"{products['at 90 degrees']:+.2f} at a right angle, "
        f"{products['at 0 degrees']:+.2f} aligned",
        f"the input capsule that opposes v_1 and agrees with v_2: c_1 {before[0]:.2f} → "
        f"{after[0]:.2f}, c_2 {before[1]:.2f} → {after[1]:.2f} in {steps} iterations",
        f"3 inputs, 2 outputs: every c_ij begins at {layer['c_11 at iteration 1']:.2f}; over all "
        f"iterations the smallest is {smallest:.3f}, and no sum differs from 1 by more than "
        f"{deviation:.0e}",
    ]
    moved = before[0] > after[0] and before[1] < after[1]
    begins = layer["c_11 at iteration 1"]
    findings = [
        Finding(
            "An input that opposes v_1 and agrees with v_2 loses c_1 and gains c_2",
            "drawn by hand",
            f"c_1 {before[0]:.2f} → {after[0]:.2f}, c_2 {before[1]:.2f} → {after[1]:.2f}",
            "borne out" if moved else "contradicted",
        ),
        Finding(
            "With two outputs every c begins at 0.5; those of an input capsule sum to 1",
            "0.5; 1",
            f"{begins:.2f}; 1 to within {deviation:.0e}",
            "borne out" if begins == 0.5 and deviation < 1e-12 else "contradicted",
        ),
    ]
    return Report(figures, body(layer, pair, steps), findings)


def body(layer: Row, pair: Row, steps: int) -> str:
    """The pictures, each followed by its numbers."""

    def over_time(row: Row, names: list[str], iterations: int) -> str:
        lines = [
            [name, *(f"{row[f'{name} at iteration {t}']:.3f}" for t in range(1, iterations + 1))]
            for name in names
        ]
        return table(["", *(f"iteration {t}" for t in range(1, iterations + 1))], lines)

    last = len(VOTES)
    return "\n\n".join(
        [
            "![Votes and poses of two capsules, and the coupling by iteration](two_capsules.png)",
            f"Coupling moves to the output that is agreed with. Input capsule {last}:",
            over_time(pair, [f"c_{last}1", f"c_{last}2", "length of v_1", "length of v_2"], steps),
            "## Similarity",
            "![Two vectors from opposed to aligned, with their scalar product](dot_product.png)",
            "## What one capsule computes",
            "![Poses, votes, weighted votes and their sum, squashed](capsule.png)",
            "## Three inputs, two outputs",
            "![Coupling coefficients of each iteration](coupling.png)",
            over_time(layer, [n for i in (1, 2, 3) for n in (f"c_{i}1", f"c_{i}2")], ITERATIONS),
        ]
    )
