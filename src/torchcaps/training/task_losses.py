"""What a task does with a batch, as a module that several processes can share."""

from typing import Any

import torch
from torch import Tensor, nn

from torchcaps.training.precision import Precision
from torchcaps.training.task import StepResult, Task

__all__ = ["TaskLosses"]


class TaskLosses(nn.Module):
    """A task's losses of a model as one module.

    Several processes exchange the gradients of what a module computes in its forward pass: within
    this one a task may call what it likes of the model.
    """

    def __init__(self, task: Task[Any, Any], model: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.task, self.model, self.precision = task, model, precision
        # It never has a gradient. Without it torch would warn, where all others have one, that it
        # looks for unused parameters in vain.
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Any) -> StepResult:
        """The batch of a step → loss and measures."""
        loss, measures = self.task.losses(self.model, batch, self.precision)
        for name, value in {"a loss": loss, **measures}.items():
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"the task's losses gave {name} as a {type(value).__name__}; expected a tensor"
                )
        # Gradients come through the loss alone: a parameter that only a measure depends on has none
        # to wait for.
        return StepResult(loss, {name: measure.detach() for name, measure in measures.items()})
