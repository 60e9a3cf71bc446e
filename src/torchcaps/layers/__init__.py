"""Layers of capsules."""

from torchcaps.layers.classes import ClassCaps
from torchcaps.layers.cluster import ClusterCaps
from torchcaps.layers.concurrent import route_concurrently
from torchcaps.layers.conv import ConvCaps
from torchcaps.layers.convolved import ConvolvedCaps, DeconvCaps
from torchcaps.layers.dense import DenseCaps
from torchcaps.layers.interest_attention import attend_to_interests
from torchcaps.layers.interests import InterestCaps
from torchcaps.layers.primary import PrimaryCaps, WholeMapCaps
from torchcaps.layers.primary_map import PrimaryCapsMap
from torchcaps.layers.self_attentive_interests import SelfAttentiveInterests

__all__ = [
    "ClassCaps",
    "ClusterCaps",
    "ConvCaps",
    "ConvolvedCaps",
    "DeconvCaps",
    "DenseCaps",
    "InterestCaps",
    "PrimaryCaps",
    "PrimaryCapsMap",
    "SelfAttentiveInterests",
    "WholeMapCaps",
    "attend_to_interests",
    "route_concurrently",
]
