"""Losses of classes by name: each routing names the one that its activations are made for."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.losses import checked_activation, class_targets, margin_loss

__all__ = [
    "CLASS_LOSSES",
    "SEVERAL_CLASSES",
    "check_one_class",
    "likelihood_loss",
    "log_odds_loss",
    "presence_loss",
]

LEAST = 1e-7  # of a probability, and of what it lacks to 1, whose logarithm is taken
LEAST_LIKELY = 1e-12  # of one in a distribution; below, there is no gradient


def log_odds_loss(activation: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the softmax of the log-odds ln(a / (1 − a)), averaged over the batch.

    For activations a = σ(z) this is the usual cross entropy of z. It asks for no value of an
    activation, only that the right one is larger: so it is for one class an image (for several
    see `presence_loss`).

    Args:
        activation: a_k, `[B, J]` in [0, 1].
        labels: class indices `[B]`, or how likely each class is, `[B, J]`.

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError, TypeError: as `margin_loss`.

    Example:
        >>> log_odds_loss(torch.tensor([[0.75, 0.5]]), torch.tensor([0]))  # −ln(3 / (3 + 1))
        tensor(0.2877)
    """
    a, targets = checked(activation, labels)
    a = a.clamp(LEAST, 1 - LEAST)
    return F.cross_entropy(a.log() - torch.log1p(-a), targets)


def presence_loss(activation: Tensor, targets: Tensor) -> Tensor:
    """Ask of every class by itself whether it is there: the binary cross entropy.

    −Σ_k (T_k ln a_k + (1 − T_k) ln(1 − a_k)), averaged over the batch.

    Args:
        activation: a_k, `[B, J]` in [0, 1].
        targets: T_k, `[B, J]` in [0, 1], any number of classes present (or class indices `[B]`).

    Returns, raises: as `log_odds_loss`.

    Example:
        >>> presence_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[1, 1]]))  # 2 ln 2
        tensor(1.3863)
    """
    a, there = checked(activation, targets)
    a = a.clamp(LEAST, 1 - LEAST)
    return -(there * a.log() + (1 - there) * torch.log1p(-a)).sum(dim=1).mean()


def likelihood_loss(activation: Tensor, labels: Tensor) -> Tensor:
    """−ln a_y, averaged over the batch: for activations that are a distribution.

    Args, returns and raises: as `log_odds_loss`.

    Example:
        >>> likelihood_loss(torch.tensor([[0.75, 0.25]]), torch.tensor([0]))
        tensor(0.2877)
    """
    a, targets = checked(activation, labels)
    return -(targets * a.clamp(min=LEAST_LIKELY).log()).sum(dim=1).mean()


def checked(activation: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Activations in float32 or wider, and targets `[B, J]` of the same type."""
    a = checked_activation(activation)
    return a, class_targets(labels, activation.shape).to(a.dtype)


def check_one_class(labels: Tensor, who: str) -> None:
    """Raise for labels of several classes an image."""
    if isinstance(labels, Tensor) and labels.dim() == 2:
        raise ValueError(f"labels must be [B]: {who} finds one class an image")


CLASS_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "margin": margin_loss,
    "log_odds": log_odds_loss,
    "likelihood": likelihood_loss,
}
# Where an image has any number of classes: what takes one share from another cannot tell.
SEVERAL_CLASSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "margin": margin_loss,
    "log_odds": presence_loss,
}
