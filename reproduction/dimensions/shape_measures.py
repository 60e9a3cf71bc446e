"""How thick, slanted and large a drawn figure is, and where it lies."""

import torch
from torch import Tensor

__all__ = ["MEASURES", "measure_shapes"]

MEASURES = ("stroke width", "slant", "size", "right", "down")


def measure_shapes(images: Tensor) -> Tensor:
    """Measures of bright figures on a dark ground.

    With the ink as weights: *right* and *down* are the coordinates of the centre; *size* is the
    root of the mean squared distance from it; *slant* is how far a figure leans to the right for a
    pixel of height, −μ₁₁/μ₀₂; *stroke width* is twice the ink over the length of its outline, the
    total variation: a long line of width w has the ink w for each pixel and two sides.

    Args:
        images: `[N, C, H, W]` in [0, 1], none of them black; the mean of the channels counts.

    Returns:
        `[N, 5]` float64, in the order of `MEASURES`; pixels, and pixels for a pixel (slant).

    Example:
        >>> bar = torch.zeros(1, 1, 20, 20)
        >>> bar[..., 2:18, 9:12] = 1  # 3 wide, upright
        >>> [round(value, 2) + 0.0 for value in measure_shapes(bar)[0].tolist()]
        [2.53, 0.0, 4.68, 10.0, 9.5]
    """
    x = images.double().mean(dim=1)  # [N, H, W]
    _, height, width = x.shape
    rows = torch.arange(height, dtype=torch.float64)[:, None]
    columns = torch.arange(width, dtype=torch.float64)
    ink = x.sum(dim=(1, 2))

    def mean(values: Tensor) -> Tensor:
        return (x * values).sum(dim=(1, 2)) / ink

    right, down = mean(columns), mean(rows)
    across, below = columns - right[:, None, None], rows - down[:, None, None]
    variance = mean(below.square())
    slant = mean(-across * below) / variance.clamp(min=1e-9)
    size = (mean(across.square()) + variance).sqrt()
    framed = torch.nn.functional.pad(x, (1, 1, 1, 1))
    outline = framed.diff(dim=1).abs().sum(dim=(1, 2)) + framed.diff(dim=2).abs().sum(dim=(1, 2))
    return torch.stack([2 * ink / outline, slant, size, right, down], dim=1)
