"""Layers of capsules."""

from torchcaps.layers.dense import DenseCaps
from torchcaps.layers.primary import PrimaryCaps

__all__ = ["DenseCaps", "PrimaryCaps"]
