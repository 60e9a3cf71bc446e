"""The interests of a user as one vector, for a target item."""

import math

import torch
from torch import Tensor

from torchcaps.types import check_float_tensor, check_number, check_same_dtype

__all__ = ["attend_to_interests"]


def attend_to_interests(interests: Tensor, target: Tensor, power: float = 1.0) -> Tensor:
    """The interests as one vector, weighted by how they fit a target item.

    Σ_k softmax_k((v_k · e)^power) v_k

    over the interests that are there: one of zeros, as `InterestCaps(number=…)` gives beyond a
    user's own, is absent.

    Args:
        interests: v, `[B, K, D]`.
        target: e, `[B, D]`.
        power: at least 0; `math.inf` takes the interest that fits best, as ComiRec does. Scalar
            products below 0 count as 0 where power is not 1.

    Returns:
        `[B, D]`; zeros for a user without interests.

    Reference: Li and others (2019), MIND, label-aware attention.

    Example:
        >>> interests = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> attend_to_interests(interests, torch.tensor([[0.1, 2.0]]), power=torch.inf)
        tensor([[0., 1.]])
    """
    check_float_tensor("interests", interests)
    check_float_tensor("target", target)
    if interests.dim() != 3 or target.shape != (interests.shape[0], interests.shape[2]):
        raise ValueError(
            f"interests must be [B, K, D] and target [B, D], got shapes {tuple(interests.shape)} "
            f"and {tuple(target.shape)}"
        )
    check_same_dtype("target", target, interests)
    if power != math.inf:
        check_number("power", power, least=0)
    if interests.shape[1] == 0:
        return torch.zeros_like(target)
    fit = torch.einsum("bkd,bd->bk", interests, target)
    absent = ~interests.bool().any(dim=-1)
    if power == math.inf:
        best = fit.masked_fill(absent, -math.inf).argmax(dim=1)
        return interests[torch.arange(fit.shape[0], device=fit.device), best]
    scores = fit if power == 1 else raised(fit, power)
    scores = scores.masked_fill(absent, torch.finfo(scores.dtype).min)
    return torch.einsum("bk,bkd->bd", torch.softmax(scores, dim=1), interests)


def raised(fit: Tensor, power: float) -> Tensor:
    """max(fit, 0)^power less the largest of its row, `[B, K]`, which a softmax does not notice.

    So the largest is 0 where its power would overflow. The slope of a power below 1, which is
    infinite at 0, is 0 there.
    """
    if power == 0:
        return torch.zeros_like(fit)
    positive = fit > 0
    exponent = power * torch.where(positive, fit, torch.ones_like(fit)).log()
    exponent = exponent.masked_fill(~positive, -torch.inf)
    top = exponent.detach().amax(dim=1, keepdim=True)
    top = torch.where(top > -torch.inf, top, torch.zeros_like(top))  # nothing fits
    largest = top.exp().clamp(max=torch.finfo(fit.dtype).max)
    return largest * torch.expm1(exponent - top)
