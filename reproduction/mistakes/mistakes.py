"""The mistakes of public implementations, each a subclass that overrides one method.

`tests/test_known_mistakes.py` holds every one to the check that finds it; the experiment `mistakes`
trains networks with those that accuracy might tell. Routing with a mistake runs with all votes at
once: its lines look beyond one input capsule or one sample.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchcaps.functional import squash
from torchcaps.layers import DenseCaps, PrimaryCaps
from torchcaps.losses import class_targets, reconstruction_loss
from torchcaps.models import CapsNet
from torchcaps.models.classifier import Losses, ModelOutput
from torchcaps.routing import DynamicRouting, EMRouting, Tile, register_routing
from torchcaps.routing.dynamic import State
from torchcaps.routing.em import State as Gaussians
from torchcaps.routing.moments import Moments
from torchcaps.routing.tile import Problem
from torchcaps.routing.trace import Step
from torchcaps.types import Capsules
from torchcaps.votes import LinearVotes

# --- in routing


class MistakenRouting(DynamicRouting):
    """Dynamic routing of which a subclass gets one line wrong; this one is right."""

    by_tiles = False
    laws = frozenset()


@register_routing
class SoftmaxOverInputs(MistakenRouting):
    """Line 4: every output capsule divides itself among the inputs."""

    name = "softmax-over-inputs"

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=-2)


@register_routing
class LogitsAveragedOverBatch(MistakenRouting):
    """Line 7: all samples of a batch share their logits."""

    name = "logits-averaged-over-batch"

    def score(self, tile: Tile, state: State) -> Tensor:
        own = super().score(tile, state)
        return own.mean(dim=0, keepdim=True).expand_as(own)


@register_routing
class SquashOverClasses(MistakenRouting):
    """Line 6: the d-th components of all classes are squashed as if they were one capsule."""

    name = "squash-over-classes"

    def squashed(self, s: Tensor) -> Tensor:
        return squash(s, dim=-2 if s.dim() > 1 else -1)  # of a single capsule there is one axis


class SquashOverAll(MistakenRouting):
    """Line 6: all capsules of a sample are squashed as if they were one."""

    def squashed(self, s: Tensor) -> Tensor:
        return squash(s.flatten(-2)).view_as(s)


class NaNAtZero(MistakenRouting):
    """Line 6: 0 / 0 at a zero capsule."""

    def squashed(self, s: Tensor) -> Tensor:
        n = s.norm(dim=-1, keepdim=True)
        v: Tensor = n**2 / (1 + n**2) * s / n
        return v


class NaNAtZeroInBackward(MistakenRouting):
    """Line 6: finite at a zero capsule, and NaN in its gradient."""

    def squashed(self, s: Tensor) -> Tensor:
        n = (s * s).sum(dim=-1, keepdim=True).sqrt()
        return n / (1 + n**2) * s


class OnePassMore(MistakenRouting):
    """Line 3: "r iterations" are r + 1."""

    def steps(self, problem: Problem) -> Iterator[Step]:
        yield from DynamicRouting(self.iterations + 1).steps(problem)


class UpdateForNothing(MistakenRouting):
    """Line 7: the logits are updated after the last iteration too."""

    def steps(self, problem: Problem) -> Iterator[Step]:
        for step in super().steps(problem):
            yield step
        self.score(problem.tile(slice(None)), State(*step.state))


class ActivationsCancel(EMRouting):
    """EM routing in which R a is divided by its sum over the parents, which takes a out again."""

    by_tiles = False
    laws = frozenset()

    def gather(self, tile: Tile, coupling: Tensor, state: Gaussians) -> Moments:
        everywhere = replace(tile, activation=torch.ones_like(tile.activation))
        return super().gather(everywhere, coupling, state)


# --- in the capsules


class ScrambledPrimaryCaps(PrimaryCaps):
    """Reshaped without a permutation: a "capsule" is eight neighbouring pixels of a channel."""

    def forward(self, features: Tensor) -> Capsules:
        maps = self.conv(features).to(self.conv.weight.dtype)
        pose = squash(maps.reshape(len(maps), -1, self.dim))
        return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))


class UnitNormalCaps(DenseCaps):
    """W is drawn from N(0, 1)."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)


class BroadcastVotes(LinearVotes):
    """A broadcast product copies W for every sample, and keeps the copies for backward."""

    def materialize(self) -> Tensor:
        weight = self.weight.expand(len(self.pose), *self.weight.shape).contiguous()
        return (weight @ self.pose[:, :, None, :, None]).squeeze(-1)


# --- in the network and its loss


class ScrambledCapsNet(CapsNet):
    """Its primary capsules are reshaped without a permutation."""

    primary_kind: ClassVar[type[PrimaryCaps]] = ScrambledPrimaryCaps


class SoftmaxOverBatch(CapsNet):
    """Lengths are softmaxed over the batch before the class is taken."""

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return torch.softmax(self(images).activation, dim=0).argmax(dim=1)


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


class MeanOverPixels(CapsNet):
    """0.0005 of the *mean* squared error of a pixel: 784 times too little for 28×28."""

    def loss(self, output: ModelOutput, images: Tensor, labels: Tensor) -> Losses:
        margin = super().loss(output._replace(reconstruction=None), images, labels).total
        assert output.reconstruction is not None
        error = reconstruction_loss(output.reconstruction, images) / images[0].numel()
        drawing = self.loss_scale.reconstruction * error
        return Losses(margin + drawing, margin, drawing)


class MaskedByPrediction(CapsNet):
    """While training too, the decoder draws the class that is answered, not the true one."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        return super().forward(images)


class Squeezed(CapsNet):
    """squeeze() takes away the axis of a batch of one."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> ModelOutput:
        pose, activation, reconstruction = super().forward(images, labels)
        return ModelOutput(pose.squeeze(), activation.squeeze(), reconstruction)
