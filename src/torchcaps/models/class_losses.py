"""Losses of classes by name: each routing names the one that its activations are made for."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.losses import class_targets, margin_loss
from torchcaps.types import check_float_tensor

__all__ = ["CLASS_LOSSES", "likelihood_loss", "log_odds_loss"]

LEAST = 1e-7  # of a probability, and of what it lacks to 1, whose logarithm is taken
LEAST_LIKELY = 1e-12  # of one in a distribution; below, there is no gradient


def log_odds_loss(activation: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the softmax of the log-odds ln(a / (1 − a)), averaged over the batch.

    For activations a = σ(z) this is the usual cross entropy of z. It asks for no value of an
    activation, only that the right one is larger.

    Args:
        activation: a_k, `[B, J]` in [0, 1].
        labels: class indices `[B]`, or targets `[B, J]`.

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
    check_float_tensor("activation", activation)
    if activation.dim() != 2:
        raise ValueError(f"activation must be [B, J], got shape {tuple(activation.shape)}")
    a = activation.to(torch.promote_types(activation.dtype, torch.float32))
    return a, class_targets(labels, activation.shape).to(a.dtype)


CLASS_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "margin": margin_loss,
    "log_odds": log_odds_loss,
    "likelihood": likelihood_loss,
}
