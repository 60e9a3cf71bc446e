"""Which items of a user count: a mask, of what a caller gives."""

import torch
from torch import Tensor

from torchcaps.types import check_float_tensor, values_at_hand

__all__ = ["as_mask"]


def as_mask(given: Tensor | None, items: Tensor, dim: int, most: int | None) -> Tensor:
    """A mask `[B, S]` of a mask, of lengths `[B]`, or of None, for items `[B, S, dim]`.

    Raises:
        ValueError, TypeError: something else, or other items; more of them than `most`.
    """
    check_float_tensor("items", items)
    if items.dim() != 3 or items.shape[2] != dim:
        raise ValueError(f"items must be [B, S, {dim}] (dim), got shape {tuple(items.shape)}")
    batch, length = items.shape[:2]
    if most is not None and length > most:
        raise ValueError(f"items has {length} positions, and the layer is for length {most}")
    if given is None:
        return torch.ones(batch, length, dtype=torch.bool, device=items.device)
    if not isinstance(given, Tensor):
        raise TypeError(f"mask must be a tensor, got {type(given).__name__}")
    kind = given.dtype
    if kind == torch.bool and given.shape == (batch, length):
        return given
    if given.shape != (batch,) or kind == torch.bool or kind.is_floating_point or kind.is_complex:
        raise ValueError(
            f"mask must be bool [B, S] = ({batch}, {length}), or whole lengths [B] = ({batch},), "
            f"got {kind} of shape {tuple(given.shape)}"
        )
    # On a GPU looking at the values would mean waiting for them.
    looking = given.device.type == "cpu" and values_at_hand(given)
    if looking and batch and (given.min() < 0 or given.max() > length):
        low, high = int(given.min()), int(given.max())
        raise ValueError(f"lengths must be 0 to {length}, got {low} to {high}")
    return torch.arange(length, device=items.device) < given.unsqueeze(-1)
