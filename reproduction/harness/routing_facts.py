"""What routing does in a trained capsule network, measured over a set of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.models import CapsNet
from torchcaps.routing import dynamic_routing_trace

__all__ = ["RoutingFacts", "look_at_routing", "normalised_entropy", "share_of_parent"]

BATCH = 50  # images whose votes and traces are held at once


@dataclass(frozen=True)
class RoutingFacts:
    """How decided the coupling of the last iteration is, and for whom.

    Attributes:
        entropy: of c_i over the output capsules, divided by log J: 1 undecided, 0 decided. Mean
            over input capsules and images.
        to_prediction: share of the input capsules whose strongest parent is the predicted class; of
            equally strong parents each counts in part.
        to_prediction_by_length: the same, an input capsule weighted by the length of its pose.
        predictions: `[R, N]`, the class of each image with the other numbers of iterations.
    """

    entropy: float
    to_prediction: float
    to_prediction_by_length: float
    predictions: Tensor


@torch.no_grad()
def look_at_routing(model: CapsNet, data: ImageData, iterations: Sequence[int]) -> RoutingFacts:
    """Route every image, by the model's own routing and with other numbers of iterations.

    The first t iterations of a longer routing are those of a shorter one, so that one trace serves
    all of them.
    """
    device = model.classes.weight.device
    own = model.classes.routing
    most = max(iterations)
    sums, predictions = torch.zeros(4, dtype=torch.float64), []
    for indices in torch.split(torch.arange(len(data)), BATCH):
        capsules = model.primary_capsules(data.batch(indices)[0].to(device))
        votes = model.classes.votes(capsules)
        trace = dynamic_routing_trace(votes, most)
        classes = trace.pose.norm(dim=-1).argmax(dim=-1)  # [r, B]
        last = own.trace(votes)
        coupling, predicted = last.coupling[-1], last.activation[-1].argmax(dim=-1)
        share = share_of_parent(coupling, predicted)
        lengths = capsules.activation
        parts = (normalised_entropy(coupling).mean(-1), share.mean(-1), share * lengths, lengths)
        sums += torch.stack([part.sum().double().cpu() for part in parts])
        predictions.append(classes[[r - 1 for r in iterations]].cpu())
    entropy, even, weighted, length = sums.tolist()
    return RoutingFacts(
        entropy / len(data), even / len(data), weighted / length, torch.cat(predictions, dim=1)
    )


def normalised_entropy(coupling: Tensor) -> Tensor:
    """−Σ_j c_ij log c_ij / log J: `[..., I, J]` → `[..., I]`, from 0 (decided) to 1 (undecided).

    Example:
        >>> normalised_entropy(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]]))
        tensor([1., 0.])
    """
    entropy: Tensor = torch.special.entr(coupling).sum(dim=-1) / math.log(coupling.shape[-1])
    return entropy


def share_of_parent(coupling: Tensor, parent: Tensor) -> Tensor:
    """How much of each input capsule's strongest parent is this one.

    Args:
        coupling: `[B, I, J]`.
        parent: `[B]`, an output capsule.

    Returns:
        `[B, I]`: 1 where `parent` is the strongest, 0 where it is not, 1/n where n are.

    Example:
        >>> share_of_parent(torch.tensor([[[0.2, 0.8], [0.5, 0.5]]]), torch.tensor([1]))
        tensor([[1.0000, 0.5000]])
    """
    strongest = coupling == coupling.amax(dim=-1, keepdim=True)
    chosen = parent[:, None, None].expand(-1, coupling.shape[1], 1)
    mine = strongest.gather(-1, chosen).squeeze(-1)
    share: Tensor = mine / strongest.sum(dim=-1)
    return share
