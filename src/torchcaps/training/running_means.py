"""Running means of an epoch, kept on the device so that no step has to wait for them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchcaps.training.task import StepResult

__all__ = ["RunningMeans"]


class RunningMeans:
    """Means over the examples of an epoch so far, and the first step that went wrong.

    They are held as sums, in float64.

    Args:
        measures: what is averaged besides the loss, in this order.
        device: where the losses are.
        values: the sums that `values` gave before (a resumed epoch).
        first_step: how many steps of the run came before.

    Raises:
        ValueError: `values` are sums of other measures.
    """

    def __init__(
        self,
        measures: Sequence[str],
        device: torch.device,
        values: Sequence[float] | None = None,
        first_step: int = 0,
    ) -> None:
        self._measures = tuple(measures)
        self._sums = torch.zeros(2 + len(measures), dtype=torch.float64, device=device)
        if values is not None:
            if len(values) != len(self._sums):
                raise ValueError(f"{len(values)} sums, expected {len(self._sums)}")
            self._sums += torch.tensor(values, dtype=torch.float64, device=device)
        self._steps = torch.full((), first_step, device=device)  # taken in since the run began
        self._first_bad = torch.full((), -1, device=device)

    @torch.no_grad()
    def add(self, result: StepResult, examples: int) -> None:
        """Take in a step of so many examples; only tensors change, each in its place."""
        if set(result.measures) != set(self._measures):
            raise ValueError(
                f"the task names the measures {', '.join(self._measures) or 'none'}, "
                f"and its losses gave {', '.join(result.measures) or 'none'}"
            )
        if result.loss.dim():
            raise ValueError(
                f"the task's losses gave a loss of shape {list(result.loss.shape)}; expected a "
                "scalar: take the mean over the batch"
            )
        for name, measure in result.measures.items():
            if measure.shape not in ((), (examples,)):
                raise ValueError(
                    f"the task's losses gave {name} of shape {list(measure.shape)}; expected a "
                    f"scalar, the mean over the batch, or one number for each of its {examples} "
                    "examples"
                )
        values = [result.loss, *(result.measures[name] for name in self._measures)]
        sums = [value.sum() if value.dim() else examples * value for value in values]
        count = torch.full_like(self._sums[0], examples)
        self._sums += torch.stack([count, *(total.double() for total in sums)])
        bad = ~torch.isfinite(result.loss) & (self._first_bad < 0)
        self._first_bad.copy_(torch.where(bad, self._steps, self._first_bad))
        self._steps += 1

    def reset(self) -> None:
        """Begin another epoch."""
        self._sums.zero_()

    @property
    def first_bad_step(self) -> Tensor:
        """The first step with a loss that is not finite, or −1."""
        return self._first_bad

    @property
    def tensor(self) -> Tensor:
        """The sums: examples, loss, and the measures."""
        return self._sums

    @property
    def values(self) -> list[float]:
        """The sums as numbers, for a checkpoint."""
        numbers: list[float] = self._sums.tolist()
        return numbers

    @property
    def examples(self) -> int:
        """Examples taken in."""
        return int(self.values[0])

    def means(self) -> dict[str, float]:
        """The mean loss of an example, and the mean of each measure."""
        examples, *sums = self.values
        return {name: s / examples for name, s in zip(("loss", *self._measures), sums)}
