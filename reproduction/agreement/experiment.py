"""Routing by agreement on a few vectors: similarity, one capsule, and coupling that moves.

Explanations of Sabour, Frosst, Hinton, *Dynamic Routing Between Capsules* (2017), Procedure 1,
draw these pictures by hand; here each is computed by the package itself.

- The scalar product û · v measures similarity: from −1 for two opposed unit vectors, over 0, to 1
  for aligned ones.
- A capsule turns each input pose into a vote (û_ij = W_ij u_i), weights the votes by its coupling
  coefficients c_ij, adds them up (s_j) and squashes the sum (v_j).
- An input capsule whose vote opposes v_1 and agrees with v_2 loses coupling to the first and gains
  coupling to the second.
- All c_ij are ≥ 0, those of one input capsule sum to 1, and with two outputs each begins at 0.5:
  "maximum confusion".
"""

import math

import torch
from torch import Tensor

from reproduction.agreement.figures import (
    draw_capsule,
    draw_coupling,
    draw_dot_products,
    draw_two_capsules,
)
from reproduction.harness.cell import Arrays, Cell, Outcome, Row
from reproduction.harness.experiment import Experiment, Finding, Report, Results
from reproduction.harness.markdown import table
from reproduction.harness.scale import Scale, ScaleName
from reproduction.harness.workbench import Workbench
from torchcaps.functional import agreement
from torchcaps.routing import RoutingTrace, dynamic_routing_trace
from torchcaps.types import LinearVotes

__all__ = ["EXPERIMENT"]

ANGLES = (180, 135, 90, 45, 0)  # degrees between vote and pose
ITERATIONS = 3

# Three input capsules and what W makes of them: turned by so many degrees, and longer.
POSES = ((0.8, 0.2), (0.5, 0.6), (-0.3, 0.7))
TURNS = ((15, 150), (25, -100), (120, 0))  # [input][output]
LONGER = 1.8

# Votes of five input capsules for two output capsules, as angles; all are of length 1. The first
# two agree on output 1, the next two on output 2; the last opposes the former and joins the latter.
VOTES = ((60, 300), (70, 170), (200, 20), (320, 35), (245, 25))


def unit(degrees: float) -> tuple[float, float]:
    """The vector of length 1 in a direction."""
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


def dot_products() -> tuple[Tensor, Tensor]:
    """(votes `[5, 2]` of length 1, agreement `[5]` of each with the pose (1, 0))."""
    votes = torch.tensor([unit(angle) for angle in ANGLES], dtype=torch.float64)
    pose = torch.tensor([unit(0)], dtype=torch.float64)
    return votes, agreement(votes[:, None], pose)[:, 0]


def three_to_two() -> tuple[LinearVotes, RoutingTrace]:
    """Three input capsules, two output capsules, three iterations."""
    turns = torch.deg2rad(torch.tensor(TURNS, dtype=torch.float64))
    cos, sin = turns.cos(), turns.sin()
    weight = LONGER * torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    votes = LinearVotes(torch.tensor(POSES, dtype=torch.float64), weight)
    return votes, dynamic_routing_trace(votes, ITERATIONS)


def two_capsules() -> tuple[Tensor, RoutingTrace]:
    """The votes `[5, 2, 2]` of `VOTES`, and what five iterations make of them."""
    votes = torch.tensor([[unit(a) for a in angles] for angles in VOTES], dtype=torch.float64)
    return votes, dynamic_routing_trace(votes, 5)


def compute(cell: Cell, workbench: Workbench) -> Outcome:
    """One of the three computations."""
    if cell.name == "dot-product":
        votes, products = dot_products()
        row: Row = {f"at {a} degrees": p for a, p in zip(ANGLES, products.tolist())}
        return Outcome(row, as_arrays(votes=votes, products=products))
    if cell.name == "capsule":
        linear, trace = three_to_two()
        arrays = {"inputs": linear.pose, "votes": linear.materialize()}
    else:
        votes, trace = two_capsules()
        arrays = {"votes": votes}
    return Outcome(facts(trace), as_arrays(**arrays, **trace._asdict()))


def facts(trace: RoutingTrace) -> Row:
    """What holds of every coupling, and the couplings and lengths of each iteration."""
    row: Row = {
        "smallest coupling": trace.coupling.min().item(),
        "largest deviation of a sum from 1": (trace.coupling.sum(-1) - 1).abs().max().item(),
    }
    for t, (coupling, pose) in enumerate(zip(trace.coupling, trace.pose), start=1):
        for i, j in torch.cartesian_prod(*map(torch.arange, coupling.shape)).tolist():
            row[f"c_{i + 1}{j + 1} at iteration {t}"] = coupling[i, j].item()
        for j, length in enumerate(pose.norm(dim=-1).tolist(), start=1):
            row[f"length of v_{j} at iteration {t}"] = length
    return row


def as_arrays(**tensors: Tensor) -> Arrays:
    """The tensors, to be kept."""
    return {name: tensor.numpy() for name, tensor in tensors.items()}


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


SCALES: dict[ScaleName, Scale] = {name: Scale(minutes=0.1) for name in ("smoke", "cpu", "paper")}
EXPERIMENT = Experiment(
    name="agreement",
    about=__doc__,
    scales=SCALES,
    cells=lambda scale: [Cell(name) for name in ("dot-product", "capsule", "two-capsules")],
    compute=compute,
    report=report,
    differs=lambda scale: ["The vectors are our own: two-dimensional, so that they can be drawn."],
)
