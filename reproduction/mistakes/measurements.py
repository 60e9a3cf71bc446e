"""What is measured of a trained network with a mistake: its batches and its coupling."""

import torch
from torch import Tensor

from reproduction.harness.cell import Outcome, Row
from reproduction.harness.routing_facts import normalised_entropy
from torchcaps.data import ImageData
from torchcaps.models import CapsNet
from torchcaps.training.metrics import evaluate

__all__ = ["answers", "batch_facts", "coupling_facts", "share", "shuffled", "softmaxed_over_batch"]


def shuffled(data: ImageData, draw: int) -> Tensor:
    """An order of the images, `[N]`: another for each draw, always the same for one."""
    return torch.randperm(len(data), generator=torch.Generator().manual_seed(draw))


def answers(model: CapsNet, data: ImageData, order: Tensor, batch_size: int) -> Tensor:
    """The lengths of every image, `[N, J]` in the order of the data, with batches in `order`."""
    found = evaluate(model, data.subset(order), batch_size=batch_size).activation
    lengths = torch.empty_like(found)
    lengths[order] = found
    return lengths


def batch_facts(model: CapsNet, data: ImageData, batch_size: int) -> Outcome:
    """Errors of the same images in four kinds of batches, and how many answers differ.

    Args:
        model: in evaluation mode.
        data: the images; the answers in one mixed order of them are what the others are compared
            with.
        batch_size: of the batches that hold more than one image.

    Returns:
        In the row `error_together`, `error_alone` (a batch of one), `error_mixed` (in another mixed
        order), `error_by_class` (sorted by class), and `changed_…`, the share of the images whose
        class is another than together; `wrong_together` and `wrong_alone`, which images.
    """
    order = shuffled(data, 0)
    together = answers(model, data, order, batch_size).argmax(dim=1)
    others = {
        "alone": answers(model, data, order, 1),
        "mixed": answers(model, data, shuffled(data, 1), batch_size),
        "by_class": answers(model, data, data.labels.argsort(stable=True), batch_size),
    }
    row: Row = {"images_by_batch": len(data), "error_together": share(together != data.labels)}
    for name, lengths in others.items():
        predictions = lengths.argmax(dim=1)
        row[f"error_{name}"] = share(predictions != data.labels)
        row[f"changed_{name}"] = share(predictions != together)
    wrong = {"together": together, "alone": others["alone"].argmax(dim=1)}
    return Outcome(row, {f"wrong_{n}": (p != data.labels).numpy() for n, p in wrong.items()})


def share(those: Tensor) -> float:
    """How many of them are true."""
    return those.double().mean().item()


def softmaxed_over_batch(activation: Tensor, batch_size: int) -> Tensor:
    """The class of every image, `[N]`, where lengths `[N, J]` are softmaxed over the batch first.

    Example:
        >>> lengths = torch.tensor([[0.1, 0.8], [0.2, 0.6]])
        >>> softmaxed_over_batch(lengths, 2), softmaxed_over_batch(lengths, 1)
        (tensor([1, 0]), tensor([0, 0]))
    """
    parts = [part.softmax(dim=0) for part in torch.split(activation, batch_size)]
    return torch.cat(parts).argmax(dim=1)


@torch.no_grad()
def coupling_facts(model: CapsNet, data: ImageData, batch_size: int) -> Row:
    """How decided the coupling of the last iteration is, and what an input capsule gives away.

    Returns:
        `entropy` of c_i over the output capsules, made to sum to 1, divided by log J; and of the
        sum of c_i over the output capsules, which is 1 by Procedure 1, `coupling_sum` (the mean),
        `coupling_sum_low` and `coupling_sum_high` over all input capsules and images.
    """
    routing, device = model.classes.routing, model.classes.weight.device
    entropies, sums = [], []
    for indices in torch.split(torch.arange(len(data)), batch_size):
        capsules = model.primary_capsules(data.batch(indices)[0].to(device))
        votes = model.classes.votes(capsules)
        coupling = routing.trace(votes).coupling[-1]
        given = coupling.sum(dim=-1, keepdim=True)
        entropies.append(normalised_entropy(coupling / given).cpu())
        sums.append(given.cpu())
    entropy, given = torch.cat(entropies).double(), torch.cat(sums).double()
    return {
        "entropy": entropy.mean().item(),
        "coupling_sum": given.mean().item(),
        "coupling_sum_low": given.min().item(),
        "coupling_sum_high": given.max().item(),
    }
