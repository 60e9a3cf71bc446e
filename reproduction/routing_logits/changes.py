"""How much each routing iteration changes the logits and the coupling."""

import copy
from typing import NamedTuple

import torch

from torchcaps.data import ImageData
from torchcaps.models import CapsNet

__all__ = ["IMAGES", "ITERATIONS", "QUANTITIES", "logit_changes"]

ITERATIONS = 10
IMAGES = 200  # of the training part, on which routing is traced


class Quantity(NamedTuple):
    """What is averaged, and the first iteration that has it."""

    label: str
    first: int


QUANTITIES = {
    "logit": Quantity("change of b", 1),
    "second": Quantity("change of that change", 2),
    "coupling": Quantity("change of c", 1),
}


@torch.no_grad()
def logit_changes(model: CapsNet, data: ImageData) -> dict[str, list[float]]:
    """Mean |change| by each iteration but the last, for every one of `QUANTITIES`.

    Iteration 1 changes b from 0 to û · v^1, and c from 1/J. Routed as the network is, but for more
    iterations.
    """
    images, _ = data.batch(torch.arange(min(len(data), IMAGES)))
    capsules = model.primary_capsules(images.to(model.classes.weight.device))
    routing = copy.copy(model.classes.routing)
    routing.iterations = ITERATIONS
    trace = routing.trace(model.classes.votes(capsules))
    change = trace.logits.diff(dim=0)
    parts = {"logit": change, "second": change.diff(dim=0), "coupling": trace.coupling.diff(dim=0)}
    return {name: part.abs().mean(dim=(1, 2, 3)).tolist() for name, part in parts.items()}
