"""The networks that the experiment trains: the right one, and those with a mistake each.

One has two: a softmax over the input capsules and W from N(0, 1), with which the right axis hardly
trains, are found together. Every variant has the first weights of the right network of its seed,
unless its mistake lies in them, and differs from it in its mistake and in nothing else.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from reproduction.mistakes.mistakes import (
    LogitsAveragedOverBatch,
    MeanOverPixels,
    MistakenRouting,
    ScrambledCapsNet,
    SoftmaxedLengths,
    SoftmaxOverInputs,
    SquashOverClasses,
    UnsquaredMargin,
)
from torchcaps.models import CapsNet
from torchcaps.seeding import mix_seed

__all__ = ["RIGHT", "VARIANTS", "Variant"]

RIGHT = "right"


class Variant(NamedTuple):
    """A mistake: what it is called in tables, and what makes the right network of a seed wrong."""

    label: str
    make: Callable[[CapsNet, int], CapsNet] | None = None


def routed_by(kind: type[MistakenRouting]) -> Callable[[CapsNet, int], CapsNet]:
    """Puts a routing in the place of the right one."""

    def make(model: CapsNet, seed: int) -> CapsNet:
        model.classes.routing = kind(model.classes.routing.iterations)
        return model

    return make


def rebuilt(kind: type[CapsNet]) -> Callable[[CapsNet, int], CapsNet]:
    """Makes the same network, with the same weights, of another kind."""

    def make(model: CapsNet, seed: int) -> CapsNet:
        other = kind(**model.config)
        other.load_state_dict(model.state_dict())
        return other

    return make


def unit_normal(model: CapsNet, seed: int) -> CapsNet:
    """Draws W from N(0, 1)."""
    # Numbers are drawn in the order of memory, and in this one those of the published rows were.
    model.classes.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(mix_seed("weights", seed))
    with torch.no_grad():
        model.classes.weight.normal_(generator=generator)
    return model


VARIANTS: Mapping[str, Variant] = {
    RIGHT: Variant("none: the right network"),
    "wrong-axis": Variant("softmax over the input capsules", routed_by(SoftmaxOverInputs)),
    "wrong-axis-unit-normal": Variant(
        "softmax over the input capsules, and W from N(0, 1)",
        lambda model, seed: unit_normal(routed_by(SoftmaxOverInputs)(model, seed), seed),
    ),
    "scrambled": Variant(
        "primary capsules reshaped without a permutation", rebuilt(ScrambledCapsNet)
    ),
    "batch-averaged": Variant(
        "logits averaged over the batch", routed_by(LogitsAveragedOverBatch)
    ),
    "squash-classes": Variant("squash over the classes", routed_by(SquashOverClasses)),
    "unit-normal": Variant("W drawn from N(0, 1)", unit_normal),
    "softmaxed": Variant("lengths softmaxed before the margin loss", rebuilt(SoftmaxedLengths)),
    "not-squared": Variant("margin loss not squared", rebuilt(UnsquaredMargin)),
    "weak-reconstruction": Variant("mean squared error × 0.0005", rebuilt(MeanOverPixels)),
}  # fmt: skip
