"""Layers of capsules."""

from torchcaps.layers.conv import ConvCaps
from torchcaps.layers.dense import DenseCaps
from torchcaps.layers.primary import PrimaryCaps

__all__ = ["ConvCaps", "DenseCaps", "PrimaryCaps"]
