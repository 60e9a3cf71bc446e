"""Capsule networks with one mistake each, as they are found in public code: for `mistakes` alone.

One has two: a softmax over the input capsules and W from N(0, 1), with which the right axis hardly
trains, are found together. Every variant has the first weights of the right network of its seed,
unless its mistake lies in them, and differs from it in what is written here and in nothing else.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchcaps.functional import class_targets, squash
from torchcaps.layers import PrimaryCaps
from torchcaps.models import CapsNet
from torchcaps.models.capsnet import LOSS_SCALES
from torchcaps.models.classifier import Losses, ModelOutput
from torchcaps.routing.dynamic import no_autocast
from torchcaps.seeding import mix_seed
from torchcaps.types import Capsules
from torchcaps.votes import LinearVotes

__all__ = ["RIGHT", "VARIANTS", "Variant"]

RIGHT = "right"


class Variant(NamedTuple):
    """A mistake: what it is called in tables, and what makes the right network of a seed wrong."""

    label: str
    make: Callable[[CapsNet, int], CapsNet] | None = None


# --- in routing


class Procedure1(nn.Module):
    """Procedure 1 with a method for each line that is got wrong below; as it stands it is right.

    Votes are held as [B, J, I, D], the logits b and the coupling c as [B, J, I].
    """

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations

    def coupling(self, b: Tensor) -> Tensor:
        """Line 4: an input capsule divides itself among the outputs."""
        return torch.softmax(b, dim=1)

    def squashed(self, s: Tensor) -> Tensor:
        """Line 6, of s [B, J, D]."""
        return squash(s)

    def agreement(self, u_hat: Tensor, v: Tensor) -> Tensor:
        """What line 7 adds to b."""
        return (u_hat @ v.unsqueeze(-1)).squeeze(-1)

    def steps(self, votes: LinearVotes) -> Iterator[tuple[Tensor, Tensor]]:
        """(c, v) of every iteration."""
        u_hat = torch.einsum("bip,ijdp->bjid", votes.pose, votes.weight).contiguous()
        b = u_hat.new_zeros(u_hat.shape[:3])
        for iteration in range(1, self.iterations + 1):
            c = self.coupling(b)
            v = self.squashed((c.unsqueeze(2) @ u_hat).squeeze(2))
            yield c, v
            if iteration < self.iterations:
                b = b + self.agreement(u_hat, v)

    def forward(self, votes: LinearVotes, mask: Tensor | None = None) -> Capsules:
        """Votes of a batch, none of them masked → `Capsules`."""
        if mask is not None:
            raise ValueError("a routing with a mistake takes no mask")
        with no_autocast(votes):
            *_, (_, pose) = self.steps(votes)
        return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))

    def last_coupling(self, votes: LinearVotes) -> Tensor:
        """c of the last iteration, `[B, I, J]`."""
        *_, (c, _) = self.steps(votes)
        return c.transpose(1, 2)


class SoftmaxOverInputs(Procedure1):
    """Every output capsule divides itself among the inputs."""

    def coupling(self, b: Tensor) -> Tensor:
        return torch.softmax(b, dim=2)


class LogitsAveragedOverBatch(Procedure1):
    """All samples of a batch share their logits."""

    def agreement(self, u_hat: Tensor, v: Tensor) -> Tensor:
        return super().agreement(u_hat, v).mean(dim=0, keepdim=True)


class SquashOverClasses(Procedure1):
    """The d-th components of all classes are squashed as if they were one capsule."""

    def squashed(self, s: Tensor) -> Tensor:
        return squash(s, dim=1)


def routed_by(kind: type[Procedure1]) -> Callable[[CapsNet, int], CapsNet]:
    """Puts a routing in the place of the right one."""

    def make(model: CapsNet, seed: int) -> CapsNet:
        model.classes.routing = kind(model.classes.routing.iterations)  # type: ignore[arg-type]
        return model

    return make


# --- in the capsules


class ScrambledPrimaryCaps(PrimaryCaps):
    """Reshaped without a permutation: a "capsule" is eight neighbouring pixels of a channel."""

    def forward(self, features: Tensor) -> Capsules:
        maps = self.conv(features).to(self.conv.weight.dtype)
        pose = squash(maps.reshape(len(maps), -1, self.dim))
        return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))


def scrambled(model: CapsNet, seed: int) -> CapsNet:
    """Scrambles the primary capsules."""
    conv, types, dim = model.primary.conv, model.primary.types, model.primary.dim
    model.primary = ScrambledPrimaryCaps(conv.in_channels, types, dim)
    model.primary.conv = conv
    return model


def unit_normal(model: CapsNet, seed: int) -> CapsNet:
    """Draws W from N(0, 1)."""
    generator = torch.Generator().manual_seed(mix_seed("weights", seed))
    with torch.no_grad():
        model.classes.weight.normal_(generator=generator)
    return model


# --- in the loss


class SoftmaxedLengths(CapsNet):
    """The margin loss is given softmax(lengths), of which none can reach m⁺ = 0.9."""

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        softmaxed = output._replace(activation=output.activation.softmax(dim=1))
        return super().loss(softmaxed, images, labels)


class UnsquaredMargin(CapsNet):
    """Eq 4 without its squares."""

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        lengths = output.activation
        present = class_targets(labels, lengths.shape).to(lengths.dtype)
        missed, raised = torch.relu(0.9 - lengths), torch.relu(lengths - 0.1)
        margin = (present * missed + 0.5 * (1 - present) * raised).sum(dim=1).mean()
        drawing = super().loss(output, images, labels).reconstruction
        return Losses(margin + drawing, margin, drawing)


def rebuilt(kind: type[CapsNet]) -> Callable[[CapsNet, int], CapsNet]:
    """Makes the same network, with the same weights, of another kind."""

    def make(model: CapsNet, seed: int) -> CapsNet:
        other = kind(**model.config)
        other.load_state_dict(model.state_dict())
        return other

    return make


def mean_over_pixels(model: CapsNet, seed: int) -> CapsNet:
    """0.0005 of the *mean* squared error of a pixel: 784 times too little for 28×28."""
    scale = LOSS_SCALES["paper"]
    height, width = model.image_size
    weight = scale.reconstruction / (model.channels * height * width)
    model.loss_scale = scale._replace(reconstruction=weight)
    return model


VARIANTS: Mapping[str, Variant] = {
    RIGHT: Variant("none: the right network"),
    "wrong-axis": Variant("softmax over the input capsules", routed_by(SoftmaxOverInputs)),
    "wrong-axis-unit-normal": Variant(
        "softmax over the input capsules, and W from N(0, 1)",
        lambda model, seed: unit_normal(routed_by(SoftmaxOverInputs)(model, seed), seed),
    ),
    "scrambled": Variant("primary capsules reshaped without a permutation", scrambled),
    "batch-averaged": Variant(
        "logits averaged over the batch", routed_by(LogitsAveragedOverBatch)
    ),
    "squash-classes": Variant("squash over the classes", routed_by(SquashOverClasses)),
    "unit-normal": Variant("W drawn from N(0, 1)", unit_normal),
    "softmaxed": Variant("lengths softmaxed before the margin loss", rebuilt(SoftmaxedLengths)),
    "not-squared": Variant("margin loss not squared", rebuilt(UnsquaredMargin)),
    "weak-reconstruction": Variant("mean squared error × 0.0005", mean_over_pixels),
}  # fmt: skip
