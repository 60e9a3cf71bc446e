"""Running sums of an epoch, kept on the device so that no step has to wait for them."""

import torch
from torch import Tensor

from torchcaps.models import Losses

__all__ = ["EpochSums"]


class EpochSums:
    """Sums over the images of an epoch so far, in float64, and the first step that went wrong.

    Args:
        device: where the losses are.
        values: the sums that `values` gave before (a resumed epoch).
    """

    NAMES = ("images", "loss", "classification_loss", "reconstruction_loss", "correct")

    def __init__(self, device: torch.device, values: list[float] | None = None) -> None:
        start = [0.0] * len(self.NAMES) if values is None else values
        self._sums = torch.tensor(start, dtype=torch.float64, device=device)
        self._first_bad = torch.full((), -1, device=device)

    @torch.no_grad()
    def add(self, losses: Losses, right: Tensor, step: int) -> None:
        """Take in a step: its mean losses, and which of its images were answered rightly, `[B]`."""
        images = len(right)
        correct = right.sum()
        self._sums += torch.stack(
            [torch.full_like(correct, images), *(images * loss for loss in losses), correct]
        )
        bad = ~torch.isfinite(losses.total) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, step, self._first_bad)

    @property
    def first_bad_step(self) -> Tensor:
        """The first step with a loss that is not finite, or −1."""
        return self._first_bad

    @property
    def tensor(self) -> Tensor:
        """The sums, in the order of `NAMES`."""
        return self._sums

    @property
    def values(self) -> list[float]:
        """The sums as numbers, for a checkpoint."""
        numbers: list[float] = self._sums.tolist()
        return numbers

    @property
    def images(self) -> int:
        """Images taken in."""
        return int(self.values[0])

    def means(self) -> dict[str, float]:
        """The mean losses of an image and the accuracy."""
        values = dict(zip(self.NAMES, self.values))
        images = values.pop("images")
        correct = values.pop("correct")
        return {k: v / images for k, v in values.items()} | {"train_accuracy": correct / images}
