"""Losses of masks; those of classes and of reconstructions are in `functional`."""

import torch
from torch import Tensor

from torchcaps.types import check_float_tensor, check_number

__all__ = ["dice_loss", "dice_score"]


def dice_score(probability: Tensor, mask: Tensor, smooth: float = 1.0) -> Tensor:
    """How far masks overlap: (2 Σ p·t + s) / (Σ p + Σ t + s), over the pixels of each mask.

    Args:
        probability: p, `[..., H, W]` in [0, 1].
        mask: t, the same shape: what is true, in [0, 1] or bool.
        smooth: s ≥ 0, which makes the score of two empty masks 1.

    Returns:
        `[...]`, in [0, 1], float32 or wider.

    Raises:
        ValueError: shapes that differ. TypeError: probabilities that are not floating-point.

    Reference: Dice (1945); soft form after Milletari, Navab, Ahmadi (2016), *V-Net*.

    Example:
        >>> seen, true = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> dice_score(seen, true, smooth=0)  # 2·1 / (2 + 1)
        tensor(0.6667)
    """
    check_float_tensor("probability", probability)
    check_number("smooth", smooth, least=0)
    if probability.dim() < 2 or probability.shape != mask.shape:
        raise ValueError(
            f"probability {tuple(probability.shape)} and mask {tuple(mask.shape)} must have the "
            "same shape [..., H, W]"
        )
    p = probability.to(torch.promote_types(probability.dtype, torch.float32))
    t = mask.to(p.dtype)
    overlap, sizes = (p * t).sum(dim=(-2, -1)), (p + t).sum(dim=(-2, -1))
    return (2 * overlap + smooth) / (sizes + smooth)


def dice_loss(probability: Tensor, mask: Tensor, smooth: float = 1.0) -> Tensor:
    """1 − `dice_score`, averaged over all masks: it does not see how many pixels are background.

    Args, raises and reference: as `dice_score`.

    Example:
        >>> dice_loss(torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
        tensor(0.)
    """
    return 1 - dice_score(probability, mask, smooth).mean()
