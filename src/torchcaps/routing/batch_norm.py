"""Batch normalisation whose running statistics begin with the first batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` without affine parameters, but for how its running statistics begin.

    Those of torch begin with a mean of 0 and a variance of 1 and move by a tenth a batch. Poses
    have variances down to 1e-5, which that reaches after a hundred batches; before, a network that
    has learned answers one class for all images in evaluation. Here the n-th batch moves them by
    1/n, at least by `momentum`: first they are those of the first batch, then a mean of all, then
    what torch's are (with a `momentum` of None a mean of all for ever). The numbers that training
    itself computes are torch's.

    Shape:
        `[B, C]` or `[B, C, D]` → the same.

    Example:
        >>> norm = BatchNorm(3)
        >>> batch = torch.randn(1000, 3) / 1000
        >>> torch.allclose(norm(batch), norm.eval()(batch), atol=1e-2)
        True
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; in training by the batch, which the running statistics learn from."""
        if input.numel() == 0:  # no sample, nothing to learn
            return input
        if not self.training:
            return super().forward(input)
        if input.numel() == input.shape[1]:
            raise ValueError(
                "in training, batch normalisation needs more than 1 value per channel, and this "
                "batch has one: take more samples, or call eval()"
            )
        normalised = functional.batch_norm(input, None, None, training=True, eps=self.eps)
        self.learn(input.detach())
        return normalised

    @torch.no_grad()
    def learn(self, batch: Tensor) -> None:
        """Move the running statistics, where there are any, to those of a batch, without waiting
        for a GPU."""
        number, mean, variance = self.num_batches_tracked, self.running_mean, self.running_var
        if number is None or mean is None or variance is None:
            return
        number += 1
        least = 0.0 if self.momentum is None else self.momentum  # None: the mean of all batches
        step = (1 / number).clamp(min=least).to(mean.dtype)
        axes = [axis for axis in range(batch.dim()) if axis != 1]
        found = torch.var_mean(batch, axes)
        variance.lerp_(found[0].to(variance.dtype), step)
        mean.lerp_(found[1].to(mean.dtype), step)
