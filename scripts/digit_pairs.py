"""Images of one digit or of two, as a person draws them; and who answers both.

    python scripts/digit_pairs.py

Prints what the networks of the package answer on pairs and on single digits made of the 1,000
held-out digits. A minute on one core.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import torchcaps
from torchcaps.data import ImageData, PairBatch, load_data
from torchcaps.models import CapsNet
from torchcaps.seeding import mix_seed
from torchcaps.training.metrics import wilson_interval

SIDE, BOX = 28, 20  # pixels: of an image; of what the page scales a drawing to
KINDS = ("one", "over each other", "side by side")
LONG = 0.5  # as on the page: a class capsule that is present
HELD_OUT, HELD_OUT_SEED = 3000, 1


class DigitPairs:
    """Images of one digit or two of different classes: each batch a function of (seed, step).

    One digit is shifted by up to 2 pixels, each of two that lie over each other by up to 4. Two
    side by side, and half of those over each other, are then fitted as the page fits a drawing: the
    box of both scaled to 20×20 pixels (some: up to 27×27), and the centre of mass put into the
    middle.

    Args:
        data: digits of 28×28 pixels, of each class as many.
        seed: any integer.
        deformed: half of the digits are turned, sheared and stretched a little.
    """

    def __init__(self, data: ImageData, seed: int, *, deformed: bool) -> None:
        self.images = data.images / 255
        self.by_class = data.labels.argsort(stable=True).view(data.num_classes, -1)
        self.seed, self.deformed = seed, deformed
        ink = self.images[:, 0] > 0.1
        self.first = torch.stack([first_of(ink.any(dim=axis)) for axis in (1, 2)], dim=1)
        last = torch.stack([first_of(ink.any(dim=axis).flip(1)) for axis in (1, 2)], dim=1)
        self.last = SIDE - last  # [N, 2]: right, down
        self.mass = self.images.sum(dim=(1, 2, 3))
        place = torch.arange(SIDE) + 0.5
        centre = [(self.images[:, 0].sum(dim=axis) * place).sum(dim=1) for axis in (1, 2)]
        self.centre = torch.stack(centre, dim=1) / self.mass[:, None]

    def batch(self, step: int, count: int, kind: int | None = None) -> PairBatch:
        """Images `[B, 1, 28, 28]`; where there is one digit, it stands for both of a pair."""
        generator = torch.Generator().manual_seed(mix_seed("digit pairs", self.seed, step))
        classes, each = self.by_class.shape
        kinds = torch.randint(3, (count,), generator=generator)
        kinds = kinds if kind is None else torch.full_like(kinds, kind)
        labels = torch.randint(classes, (count, 2), generator=generator)
        labels[:, 1] = (labels[:, 0] + 1 + labels[:, 1] % (classes - 1)) % classes
        digit = self.by_class[labels, torch.randint(each, (count, 2), generator=generator)]
        one = kinds == 0
        labels[one, 1], digit[one, 1] = labels[one, 0], digit[one, 0]
        forward, target = self._placed(digit, kinds, generator)
        fitted = (kinds == 2) | ((kinds == 1) & (torch.rand(count, generator=generator) < 0.5))
        box = BOX + (torch.rand(count, generator=generator) * 14 - 7).clamp(min=0)
        forward[fitted], target[fitted] = self._fitted(
            digit[fitted], forward[fitted], target[fitted], box[fitted]
        )
        fine, plain = (self._drawn(digit, forward, target, finer) for finer in (2, 1))
        drawn = torch.where(fitted.view(-1, 1, 1, 1, 1), fine, plain)
        drawn[one, 1] = drawn[one, 0]
        peak = drawn.amax(dim=(1, 2, 3, 4), keepdim=True)
        drawn = (drawn / peak).clamp(max=1)
        return PairBatch(drawn.amax(dim=1), drawn, labels)

    def _placed(
        self, digit: Tensor, kinds: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """How each digit is transformed `[B, 2, 2, 2]`, and where its middle is `[B, 2, 2]`."""

        def uniform(*shape: int, most: float) -> Tensor:
            return most * (2 * torch.rand(*shape, generator=generator) - 1)

        count = len(digit)
        some = (torch.rand(count, 2, 1, generator=generator) < 0.5) & self.deformed
        turn, lean, wide, high = torch.where(some, uniform(count, 2, 4, most=1), 0).unbind(-1)
        turn = turn * math.radians(12)
        turned = matrices(turn.cos(), -turn.sin(), turn.sin(), turn.cos())
        forward = turned @ matrices(1 + 0.1 * wide, 0.15 * lean, 0 * lean, 1 + 0.1 * high)
        most = torch.where(kinds == 1, 4, 2)[:, None, None]
        shift = (uniform(count, 2, 2, most=0.5) + 0.5) * (2 * most + 1)
        middle = (self.first[digit] + self.last[digit]) / 2
        target = middle + shift.floor() - most
        beside = kinds == 2
        size = 1 + uniform(count, 2, 1, 1, most=0.15)
        narrow = 0.85 + uniform(count, 1, 1, most=0.2)
        scale = torch.cat([size * narrow[..., None], size], dim=2)
        forward[beside] = (scale * forward)[beside]
        half = forward.abs() @ (self.last[digit] - self.first[digit])[..., None] / 2
        gap = 2 + uniform(count, most=3)
        target[beside, 0] = 0
        target[beside, 1, 0] = (half[:, :, 0, 0].sum(dim=1) + gap)[beside]
        target[beside, 1, 1] = uniform(count, most=4)[beside]
        return forward, target

    def _fitted(
        self, digit: Tensor, forward: Tensor, target: Tensor, box: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same, scaled to a box of so many pixels, and the centre of mass in the middle."""
        half = forward.abs() @ (self.last[digit] - self.first[digit])[..., None] / 2
        half = half[..., 0]
        extent = (target + half).amax(dim=1) - (target - half).amin(dim=1)
        scale = (box / extent.amax(dim=1))[:, None, None]
        middle = (self.first[digit] + self.last[digit]) / 2
        own = (forward @ (self.centre[digit] - middle)[..., None])[..., 0]  # from its middle
        weight = self.mass[digit] * torch.linalg.det(forward).abs()
        centre = ((target + own) * weight[..., None]).sum(dim=1) / weight.sum(dim=1)[:, None]
        moved = SIDE / 2 + (target - centre[:, None]) * scale
        low = (moved - half * scale).amin(dim=1, keepdim=True)
        high = (moved + half * scale).amax(dim=1, keepdim=True)
        moved = moved - low.clamp(max=0) - (high - SIDE).clamp(min=0)  # all of it is in sight
        return forward * scale[..., None], moved

    def _drawn(self, digit: Tensor, forward: Tensor, target: Tensor, finer: int) -> Tensor:
        """`[B, 2, 1, 28, 28]`, each pixel the mean of so many by so many (bilinear)."""
        back = torch.linalg.inv(forward).flatten(0, 1)
        middle = ((self.first[digit] + self.last[digit]) / 2).flatten(0, 1)
        # `grid_sample` counts places from −1 to 1 over the image.
        from_, to = (2 * place / SIDE - 1 for place in (middle, target.flatten(0, 1)))
        theta = torch.cat([back, from_[..., None] - back @ to[..., None]], dim=2)
        shape = [len(theta), 1, finer * SIDE, finer * SIDE]
        grid = F.affine_grid(theta, shape, align_corners=False)
        images = F.grid_sample(self.images[digit.flatten()], grid, align_corners=False)
        return F.avg_pool2d(images, finer).view(len(digit), 2, 1, SIDE, SIDE)


def first_of(found: Tensor) -> Tensor:
    """Where the first True of each row is."""
    return found.int().argmax(dim=1).float()


def matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """[[a, b], [c, d]] for each entry."""
    return torch.stack([torch.stack([a, b], dim=-1), torch.stack([c, d], dim=-1)], dim=-2)


class Found(NamedTuple):
    """Of so many images: where what is there is longest, and where it, and no other, is long."""

    images: int
    longest: int
    exact: int

    def __str__(self) -> str:
        low, high = wilson_interval(self.exact, self.images)
        return (
            f"{self.exact / self.images:.1%} exactly (95 % interval {low:.1%} to {high:.1%}), the "
            f"longest in {self.longest / self.images:.1%} of {self.images:,}"
        )


@torch.no_grad()
def count_found(model: CapsNet, pairs: DigitPairs, kind: int, count: int) -> Found:
    """Let a network answer so many images of a kind."""
    longest = exact = 0
    for step in range(count // 250):
        batch = pairs.batch(step, 250, kind)
        activation = model(batch.images).activation
        there = batch.targets(model.num_classes).bool()
        there_least = activation.masked_fill(~there, math.inf).amin(dim=1)
        others_most = activation.masked_fill(there, -math.inf).amax(dim=1)
        longest += int((there_least > others_most).sum())
        exact += int(((there_least >= LONG) & (others_most < LONG)).sum())
    return Found(count, longest, exact)


def report(model: CapsNet) -> dict[str, Found]:
    """What a network answers on held-out images of each kind."""
    pairs = DigitPairs(load_data("mnist5k").test, HELD_OUT_SEED, deformed=False)
    return {name: count_found(model, pairs, kind, HELD_OUT) for kind, name in enumerate(KINDS)}


def main() -> None:
    """Measure every network of the package that reads digits."""
    for name in torchcaps.list_pretrained():
        model = torchcaps.load_pretrained(name)
        assert isinstance(model, CapsNet)
        for kind, found in report(model).items():
            print(f"{name}, {kind}: {found}")


if __name__ == "__main__":
    main()
