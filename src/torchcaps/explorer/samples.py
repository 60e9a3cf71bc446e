"""The strip of images on the page: some right, some that the network gets wrong, some of two."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from torchcaps.data import ImageData, apply_shift, shift_offsets
from torchcaps.models import Classifier

__all__ = ["Samples", "choose_samples", "no_samples"]

MOST_LOOKED_AT = 1000  # images, where nobody has asked the network before
RIGHT, WRONG, OVERLAPS = 20, 8, 6
OVERLAP_SHIFT = 4  # pixels, as in the paper's MultiMNIST (on 36×36; here the image stays as it is)
SEED = 0


@dataclass(frozen=True)
class Samples:
    """Images uint8 [N, C, H, W], their one or two classes, and what kind each is."""

    images: Tensor
    labels: Sequence[int]
    labels2: Sequence[int | None]
    kinds: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """As the page has them."""
        _, channels, height, width = self.images.shape
        return {
            "height": height,
            "width": width,
            "channels": channels,
            "images": base64.b64encode(self.images.contiguous().numpy().tobytes()).decode(),
            "labels": self.labels,
            "labels2": self.labels2,
            "kinds": self.kinds,
        }

    def as_read_by(self, model: Classifier) -> "Samples":
        """The same images; which of them are right and which wrong, another model says."""
        if not self.kinds:
            return self
        said = model.predict(self.images.float() / 255).tolist()
        kinds = [
            kind if kind == "overlap" else "right" if answer == label else "wrong"
            for kind, answer, label in zip(self.kinds, said, self.labels)
        ]
        return replace(self, kinds=kinds)


def no_samples(model: Classifier) -> Samples:
    """An empty strip, where no images can be had."""
    return Samples(torch.empty(0, model.channels, *model.image_size, dtype=torch.uint8), [], [], [])


def choose_samples(
    model: Classifier, held_out: ImageData, predictions: Tensor | None = None
) -> Samples:
    """Choose from held-out images; the same from the same.

    Args:
        model: with the weights that the page has: it decides what is right and what wrong.
        held_out: images that it was not trained on.
        predictions: [N], what it, or the same model before its weights were rounded, said of all of
            them; default: it is asked about at most 1,000.
    """
    looked_at = torch.arange(len(held_out))
    if predictions is None:
        step = -(-len(held_out) // MOST_LOOKED_AT)
        looked_at = looked_at[::step]
        predictions = predict(model, held_out, looked_at)
    wrong = predictions != held_out.labels[looked_at]
    chosen = torch.cat(
        [spread_over_classes(held_out.labels, looked_at[~wrong]), looked_at[wrong][:WRONG]]
    )
    labels = held_out.labels[chosen].tolist()
    images = as_bytes(held_out.batch(chosen)[0])
    said = predict(model, ImageData(images, held_out.labels[chosen], held_out.class_names, ""))
    kinds = ["right" if k == label else "wrong" for k, label in zip(said.tolist(), labels)]
    overlaps, first, second = overlap(held_out)
    return Samples(
        torch.cat([images, overlaps]),
        labels + first,
        [*[None] * len(labels), *second],
        kinds + ["overlap"] * len(overlaps),
    )


def predict(model: Classifier, data: ImageData, which: Tensor | None = None) -> Tensor:
    """The class of each image, a few at a time."""
    which = torch.arange(len(data)) if which is None else which
    return torch.cat([model.predict(data.batch(some)[0]) for some in torch.split(which, 64)])


def spread_over_classes(labels: Tensor, positions: Tensor) -> Tensor:
    """At most 20 of `positions`: the first of every class, then the second of every class."""
    rounds: list[tuple[int, int, int]] = []
    seen: dict[int, int] = {}
    for position in positions.tolist():
        label = int(labels[position])
        rounds.append((seen.get(label, 0), label, position))
        seen[label] = seen.get(label, 0) + 1
    chosen = sorted(rounds)[:RIGHT]
    return torch.tensor(sorted(p for _, _, p in chosen), dtype=torch.int64)


def overlap(held_out: ImageData) -> tuple[Tensor, list[int], list[int]]:
    """Pairs of grey images of different classes, shifted and overlaid, as in MultiMNIST.

    On a dark ground the brighter pixel is seen, on a light one the darker.
    """
    none = torch.empty(0, held_out.channels, *held_out.image_size, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(len(held_out), generator=generator)
    pairs = [(a, b) for a, b in order[: len(order) // 2 * 2].view(-1, 2).tolist()
             if held_out.labels[a] != held_out.labels[b]][:OVERLAPS]  # fmt: skip
    if held_out.channels != 1 or not pairs:
        return none, [], []
    layers = []
    for side, members in enumerate(zip(*pairs)):
        images = as_bytes(held_out.batch(torch.tensor(members))[0])
        most = min(OVERLAP_SHIFT, min(held_out.image_size) // 7)
        layers.append((images, shift_offsets(len(images), most, SEED, side)))
    light = bool(layers[0][0][:, :, 0].float().mean() > 127)  # the uppermost row is ground
    drawn = [apply_shift(255 - x if light else x, offsets) for x, offsets in layers]
    both = torch.maximum(*drawn)
    first, second = ([int(held_out.labels[k]) for k in side] for side in zip(*pairs))
    return (255 - both if light else both), first, second


def as_bytes(images: Tensor) -> Tensor:
    """uint8, from uint8 or from float in [0, 1]."""
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
