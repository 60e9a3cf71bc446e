"""How unlike an image is what a network draws back, and how unlike held-out images ever are.

A shape that is none of the classes may still make class capsules long: an X is a little like an 8
and like a 4. What the network then draws back says more, for it is no X.
"""

import torch
from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.models.capsule_classifier import CapsuleClassifier

__all__ = ["misfit", "misfit_limit"]

LONG = 0.5  # as in page/views/output_capsules.js: half-way between the margins of training
SHARE = 0.99  # of the held-out images, which stay below the limit
FEWEST, MOST = 100, 1000  # images that a limit is measured on


def misfit_limit(model: CapsuleClassifier, held_out: ImageData | None) -> float | None:
    """The misfit that 99 % of at most 1,000 held-out images stay below.

    Returns:
        The limit, above 0; None without a decoder, or of fewer than 100 images.
    """
    if model.decoder is None or held_out is None or len(held_out) < FEWEST:
        return None
    chosen = torch.arange(len(held_out))[:: -(-len(held_out) // MOST)]
    lengths = model.classes.routing.class_loss == "margin"
    batches = [held_out.batch(some)[0] for some in torch.split(chosen, 64)]
    found = [misfit(model, images, lengths=lengths) for images in batches]
    return round(float(torch.cat(found).quantile(SHARE)), 4)


@torch.no_grad()
def misfit(model: CapsuleClassifier, images: Tensor, *, lengths: bool = True) -> Tensor:
    """Σ (drawn − image)² / Σ image² of each image, in which every long class capsule has drawn.

    Where several are long, each is drawn alone, and of each pixel the brightest is kept (where the
    ground, the uppermost row, is light: the darkest).

    Args:
        model: with a decoder, in evaluation mode.
        images: `[N, C, H, W]` in [0, 1].
        lengths: whether activations are lengths, which training brings above ½ for what is there;
            else the most active class alone has drawn.

    Returns:
        `[N]`, 0 for an image that is drawn back as it is.
    """
    pose, activation, _ = model(images)
    assert model.decoder is not None
    present = (activation >= LONG) & lengths
    present[torch.arange(len(images)), activation.argmax(dim=1)] = True
    light = images[:, :, 0].flatten(1).mean(dim=1) > 0.5
    sign = torch.where(light, -1.0, 1.0).view(-1, 1, 1, 1)
    drawn = torch.full_like(images, -torch.inf)
    for k in range(activation.shape[1]):
        some = present[:, k].nonzero().flatten()
        if len(some):
            one = model.decoder(pose[some], torch.full_like(some, k))
            drawn[some] = torch.maximum(drawn[some], sign[some] * one)
    unlike = (sign * drawn - images).square().flatten(1).sum(dim=1)
    return unlike / images.square().flatten(1).sum(dim=1).clamp(min=1e-6)
