"""The logits that interests with one map start from: nothing else sets them apart."""

import torch
from torch import Tensor

from torchcaps.types import check_counts, is_exporting

__all__ = ["starting_logits"]


def starting_logits(
    length: int, interests: int, seed: int = 0, *, device: torch.device | str = "cpu"
) -> Tensor:
    """What sets interests with one map apart: b⁰_sk ~ N(0, 1), drawn from seed, s and k alone.

    Each number is a hash of (seed, s, k), taken as a normal deviate: the same on every machine, for
    every length and number of interests.

    Returns:
        `[length, interests]`, float64; float32 on MPS, which has no float64.

    Raises:
        ValueError, TypeError: a length or a number of interests below 1.

    Example:
        >>> torch.equal(starting_logits(50, 4)[:7, :2], starting_logits(7, 2))
        True
    """
    if not is_exporting():  # a traced program's sizes are tensors
        length, interests = check_counts(length=length, interests=interests)
    device = torch.device(device)
    exact = torch.device("cpu") if device.type == "mps" else device
    s = torch.arange(length, device=exact).unsqueeze(1)
    k = torch.arange(interests, device=exact)
    x = (s * 0x9E3779B + k * 0x85EBCA7 + (seed % 2**32 + 1) * 0x27D4EB2F) & 0xFFFFFFFF
    for _ in range(2):  # the 32-bit hash of C. Wellons' hash-prospector ("lowbias32")
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x46A64D37) & 0xFFFFFFFF
        x = x ^ (x >> 16)
    uniform = (x.double() + 0.5) / 2**32
    normal: Tensor = torch.special.ndtri(uniform)
    return normal if exact == device else normal.float().to(device)
