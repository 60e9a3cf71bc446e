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

import torch
from torch import Tensor

from reproduction.agreement.examples import ANGLES, dot_products, three_to_two, two_capsules
from reproduction.agreement.report import report
from reproduction.harness.cell import Arrays, Cell, Outcome, Row
from reproduction.harness.experiment import Experiment
from reproduction.harness.scale import Scale, ScaleName
from reproduction.harness.workbench import Workbench
from torchcaps.routing import RoutingTrace

__all__ = ["EXPERIMENT"]


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
