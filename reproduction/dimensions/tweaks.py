"""Drawings with one dimension of the pose changed, and what the change does to their measures."""

import torch
from torch import Tensor

from torchcaps.models import CapsNet

__all__ = ["TWEAKS", "effects_of", "tweaked"]

TWEAKS = 0.05 * torch.arange(-5, 6)


@torch.no_grad()
def tweaked(model: CapsNet, pose: Tensor, labels: Tensor) -> Tensor:
    """Drawings of poses with one dimension changed.

    Args:
        model: with a decoder.
        pose: `[N, J, D]`.
        labels: `[N]`, the classes to draw.

    Returns:
        `[N, D, 11, C, H, W]`: the dimension, then the change.
    """
    assert model.decoder is not None
    dim, steps = pose.shape[-1], len(TWEAKS)
    drawings = []
    for one, label in zip(pose, labels):
        changes = torch.eye(dim)[:, None] * TWEAKS[:, None]  # [D, 11, D]
        poses = one.expand(dim, steps, *one.shape).clone()
        poses[:, :, label] += changes.to(poses.device)
        classes = label.expand(dim * steps).to(poses.device)
        drawn = model.decoder(poses.flatten(0, 1), classes)
        drawings.append(drawn.view(dim, steps, *drawn.shape[1:]))
    return torch.stack(drawings).float().cpu()


def effects_of(measures: Tensor) -> tuple[Tensor, Tensor]:
    """(effect, correlation) `[D, M]` from measures `[N, D, 11, M]` of the images of a class."""
    middle = len(TWEAKS) // 2
    spread = measures[:, 0, middle].std(dim=0).clamp(min=1e-9)
    effect = (measures[:, :, -1] - measures[:, :, 0]) / spread
    centred = measures - measures.mean(dim=2, keepdim=True)
    covariance = torch.einsum("t,ndtm->ndm", TWEAKS.double(), centred)
    norm = centred.square().sum(dim=2).sqrt() * TWEAKS.double().norm()
    return effect.mean(dim=0), (covariance / norm.clamp(min=1e-12)).mean(dim=0)
