"""Layers of capsules."""

from torchcaps.layers.dense import DenseCaps
from torchcaps.layers.interests import InterestCaps, SelfAttentiveInterests, attend_to_interests
from torchcaps.layers.primary import PrimaryCaps

__all__ = [
    "DenseCaps",
    "InterestCaps",
    "PrimaryCaps",
    "SelfAttentiveInterests",
    "attend_to_interests",
]
