"""Drawings of poses that are changed along a direction, and what that does to their measures."""

import torch
from torch import Tensor

from torchcaps.models import CapsNet

__all__ = ["TWEAKS", "effects_of", "random_directions", "tweaked"]

TWEAKS = 0.05 * torch.arange(-5, 6)


@torch.no_grad()
def tweaked(
    model: CapsNet, pose: Tensor, labels: Tensor, directions: Tensor | None = None
) -> Tensor:
    """Drawings of poses that are changed along one direction.

    Args:
        model: with a decoder.
        pose: `[N, J, D]`.
        labels: `[N]`, the classes to draw.
        directions: `[D, D]`, unit vectors; default: the dimensions themselves.

    Returns:
        `[N, D, 11, C, H, W]`: the direction, then the change.
    """
    assert model.decoder is not None
    dim, steps = pose.shape[-1], len(TWEAKS)
    drawings = []
    if directions is None:
        directions = torch.eye(dim)
    for one, label in zip(pose, labels):
        changes = directions[:, None] * TWEAKS[:, None]  # [D, 11, D]
        poses = one.expand(dim, steps, *one.shape).clone()
        poses[:, :, label] += changes.to(poses.device)
        classes = label.expand(dim * steps).to(poses.device)
        drawn = model.decoder(poses.flatten(0, 1), classes)
        drawings.append(drawn.view(dim, steps, *drawn.shape[1:]))
    return torch.stack(drawings).float().cpu()


def random_directions(dim: int, seed: int) -> Tensor:
    """Unit vectors that stand on each other, `[D, D]`, uniform over all such.

    Example:
        >>> directions = random_directions(16, seed=0)
        >>> torch.allclose(directions @ directions.T, torch.eye(16), atol=1e-5)
        True
    """
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
    directions: Tensor = q * r.diagonal().sign()
    return directions


def effects_of(measures: Tensor) -> tuple[Tensor, Tensor]:
    """(effect, correlation) `[D, M]` from measures `[N, D, 11, M]` of the images of a class."""
    middle = len(TWEAKS) // 2
    spread = measures[:, 0, middle].std(dim=0).clamp(min=1e-9)
    effect = (measures[:, :, -1] - measures[:, :, 0]) / spread
    centred = measures - measures.mean(dim=2, keepdim=True)
    covariance = torch.einsum("t,ndtm->ndm", TWEAKS.double(), centred)
    norm = centred.square().sum(dim=2).sqrt() * TWEAKS.double().norm()
    return effect.mean(dim=0), (covariance / norm.clamp(min=1e-12)).mean(dim=0)
