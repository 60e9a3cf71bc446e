"""Losses of classes, of reconstructions and of masks."""

import math

import torch
from torch import Tensor

from torchcaps.functional import accumulated
from torchcaps.types import (
    check_float_tensor,
    check_number,
    check_real_tensor,
    values_at_hand,
)

__all__ = [
    "dice_loss",
    "dice_score",
    "margin_loss",
    "reconstruction_loss",
    "spread_loss",
    "spread_margin",
]

ROUNDING = 1e-3  # a mask that was resized may be that much beyond 0 and 1


def margin_loss(
    activation: Tensor,
    labels: Tensor,
    *,
    positive_margin: float = 0.9,
    negative_margin: float = 0.1,
    down_weight: float = 0.5,
) -> Tensor:
    """Ask for a long capsule where the class is present and a short one where it is not.

    L_k = T_k max(0, m⁺ − |v_k|)² + λ (1 − T_k) max(0, |v_k| − m⁻)²      (Eq 4)

    summed over the classes k, averaged over the batch.

    Args:
        activation: |v_k|, `[B, J]`, lengths in [0, 1]: not softmaxed, or m⁺ can never be met.
        labels: class indices `[B]`, or T_k itself, `[B, J]` in [0, 1] (several classes present, as
            in MultiMNIST).
        positive_margin: m⁺ = 0.9.
        negative_margin: m⁻ = 0.1.
        down_weight: λ = 0.5, for absent classes.

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError: shapes that do not fit. TypeError: labels of another kind.

    Reference: Sabour, Frosst, Hinton (2017), Eq 4. The authors' code takes half of it and averages
    over classes; see `CapsNet(loss_scale=…)`.

    Example:
        >>> lengths = torch.tensor([[0.9, 0.1, 0.1], [0.4, 0.1, 0.3]])
        >>> margin_loss(lengths, torch.tensor([0, 0]))  # (0 + 0.25 + 0.5·0.04) / 2
        tensor(0.1350)
    """
    lengths = checked_activation(activation)
    present = class_targets(labels, activation.shape).to(lengths.dtype)
    missed = (positive_margin - lengths).clamp(min=0).square()
    raised = (lengths - negative_margin).clamp(min=0).square()
    loss = present * missed + down_weight * (1 - present) * raised
    return loss.sum(dim=1).mean()


def spread_loss(activation: Tensor, labels: Tensor, margin: float | Tensor = 0.9) -> Tensor:
    """Ask for the class that is present to be more active than any other, by a margin.

    L = Σ_{k≠y} max(0, m − (a_y − a_k))²

    averaged over the batch.

    Args:
        activation: a_k, `[B, J]`, in [0, 1].
        labels: class indices y, `[B]`.
        margin: m, one number for all, in training from 0.2 to 0.9; see `spread_margin`.

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError: shapes that do not fit, several margins. TypeError: labels of another kind.

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR, §3.

    Example:
        >>> spread_loss(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([0]), 0.5)  # (0.5 − 0.4)²
        tensor(0.0100)
    """
    a = checked_activation(activation)
    if not isinstance(labels, Tensor) or labels.dim() != 1:
        raise ValueError("labels must be [B] class indices: the spread loss has one class an image")
    # Several would be taken for those of classes, or of samples, by how many there are.
    if math.prod(shape := getattr(margin, "shape", ())) != 1:
        raise ValueError(f"margin must be one number for all classes, got shape {tuple(shape)}")
    if shape:
        margin = torch.as_tensor(margin).reshape(())  # axes of size 1 would change the sums
    present = class_targets(labels, activation.shape)
    of_class = a.masked_fill(~present, 0).sum(dim=1, keepdim=True)
    missing = (margin - (of_class - a)).clamp(min=0).masked_fill(present, 0)
    return missing.square().sum(dim=1).mean()


def spread_margin(step: int | Tensor) -> Tensor:
    """The margin of the spread loss after so many steps: 0.2 + 0.79 · σ(min(10, step/50000 − 4)).

    Reference: the code of Hinton, Sabour, Frosst (2018). The paper grows it linearly from 0.2 to
    0.9 "to avoid dead capsules in the earlier layers".

    Example:
        >>> spread_margin(0), spread_margin(200_000), spread_margin(1_000_000)
        (tensor(0.2142), tensor(0.5950), tensor(0.9900))
    """
    return 0.2 + 0.79 * torch.sigmoid((torch.as_tensor(step) / 50_000 - 4).clamp(max=10))


def reconstruction_loss(reconstruction: Tensor, images: Tensor) -> Tensor:
    """The sum of squared pixel errors of an image, averaged over the batch.

    Σ_pixels (reconstruction − image)²; the paper adds 0.0005 of it to the margin loss. A *mean*
    over the 784 pixels would make it 784 times too weak.

    Args:
        reconstruction: `[B, ...]`.
        images: `[B, ...]`, the same shape, in [0, 1].

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError: shapes that differ. TypeError: a reconstruction that is not floating-point.

    Reference: Sabour, Frosst, Hinton (2017), §4.1.

    Example:
        >>> reconstruction_loss(torch.zeros(2, 1, 28, 28), torch.ones(2, 1, 28, 28))
        tensor(784.)
    """
    check_float_tensor("reconstruction", reconstruction)
    check_float_tensor("images", images)
    if reconstruction.dim() < 1 or reconstruction.shape != images.shape:
        raise ValueError(
            f"reconstruction {tuple(reconstruction.shape)} and images {tuple(images.shape)} "
            "must have the same shape [B, ...]"
        )
    check_not_empty("reconstruction", reconstruction.shape[:1])
    error = accumulated(reconstruction) - accumulated(images)
    return error.square().unsqueeze(-1).flatten(1).sum(dim=1).mean()


def check_shares(name: str, values: Tensor) -> None:
    """Raise where numbers are seen to lie outside [0, 1], but for rounding, as in a mask of 0 and
    255; NaN is let through, for who trains is told of a loss that is none."""
    if values.device.type != "cpu" or not values_at_hand(values) or values.numel() == 0:
        return
    low, high = values.min().item(), values.max().item()
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(f"{name} must be in [0, 1], got {low:g} to {high:g}")


def check_not_empty(name: str, averaged: torch.Size) -> None:
    """Raise unless there is something to average over: the mean of nothing is not a number."""
    if 0 in averaged:
        raise ValueError(f"{name} must not be empty, got {tuple(averaged)} to average over")


def checked_activation(activation: Tensor) -> Tensor:
    """Activations `[B, J]` in float32 or wider; raise unless that is what they are."""
    check_float_tensor("activation", activation)
    if activation.dim() != 2:
        raise ValueError(f"activation must be [B, J], got shape {tuple(activation.shape)}")
    check_not_empty("activation", activation.shape)
    return accumulated(activation)


def class_targets(labels: Tensor, shape: torch.Size) -> Tensor:
    """T_k as `[B, J]` from class indices `[B]` (or from T_k itself), checked against `shape`."""
    check_real_tensor("labels", labels)
    batch, classes = shape
    # On a GPU looking at the values would mean waiting for them.
    looking = labels.device.type == "cpu" and values_at_hand(labels) and labels.numel()
    if labels.shape == (batch, classes):
        # Not "below 0 or above 1", which is false for NaN.
        if looking and not (labels.min() >= 0 and labels.max() <= 1):
            raise ValueError(f"targets [B, J] must be in [0, 1], got up to {labels.max().item()}")
        return labels
    if labels.shape != (batch,):
        raise ValueError(
            f"labels must be [B] = [{batch}] class indices or [B, J] = [{batch}, {classes}] "
            f"targets, got shape {tuple(labels.shape)}"
        )
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise TypeError(f"labels [B] must be integer class indices, got {labels.dtype}")
    if looking:
        low, high = labels.min(), labels.max()
        if low < 0 or high >= classes:
            raise ValueError(f"labels must be 0 to {classes - 1}, got {int(low)} to {int(high)}")
    return labels.unsqueeze(1) == torch.arange(classes, device=labels.device)


def dice_score(probability: Tensor, mask: Tensor, smooth: float = 1.0) -> Tensor:
    """How far masks overlap: (2 Σ p·t + s) / (Σ p + Σ t + s), over the pixels of each mask.

    Args:
        probability: p, `[..., H, W]` in [0, 1].
        mask: t, the same shape: what is true, in [0, 1] or bool.
        smooth: s ≥ 0. The score of two empty masks is 1.

    Returns:
        `[...]`, in [0, 1], float32 or wider.

    Raises:
        ValueError: shapes that differ, numbers outside [0, 1]. TypeError: probabilities that are
            not floating-point, a mask of complex numbers.

    Reference: Dice (1945); soft form after Milletari, Navab, Ahmadi (2016), *V-Net*.

    Example:
        >>> seen, true = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> dice_score(seen, true, smooth=0)  # 2·1 / (2 + 1)
        tensor(0.6667)
    """
    check_float_tensor("probability", probability)
    check_real_tensor("mask", mask)
    check_number("smooth", smooth, least=0)
    if probability.dim() < 2 or probability.shape != mask.shape:
        raise ValueError(
            f"probability {tuple(probability.shape)} and mask {tuple(mask.shape)} must have the "
            "same shape [..., H, W]"
        )
    check_shares("probability", probability)
    check_shares("mask", mask)
    p = probability.to(torch.promote_types(probability.dtype, torch.float32))
    t = mask.to(p.dtype)
    overlap, sizes = (p * t).sum(dim=(-2, -1)), (p + t).sum(dim=(-2, -1))
    both = sizes + smooth
    nothing = both == 0  # two empty masks, which are the same: with s = 0 their score is 1, too
    score = (2 * overlap + smooth) / both.masked_fill(nothing, 1)
    return score.masked_fill(nothing, 1)


def dice_loss(probability: Tensor, mask: Tensor, smooth: float = 1.0) -> Tensor:
    """1 − `dice_score`, averaged over all masks: it does not see how many pixels are background.

    Args, raises and reference: as `dice_score`.

    Example:
        >>> dice_loss(torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
        tensor(0.)
    """
    score = dice_score(probability, mask, smooth)
    check_not_empty("probability", score.shape)
    return 1 - score.mean()
