"""The update of a step on a GPU, captured once as a CUDA graph and replayed from then on.

A small network keeps a GPU busy for less time than Python takes to launch its kernels one by one. A
graph launches all of them at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import recursively_apply
from torch import Tensor, nn

from torchcaps.training.task import StepResult

__all__ = ["CapturedUpdate", "does_the_same_at_every_step", "to_pinned_memory"]

OURS = ("torchcaps", "torch")  # packages of modules whose Python code does not change with the step
EAGER_STEPS = 3  # before the graph is made: in them kernels are compiled, and chosen


class CapturedUpdate:
    """Does what `update` does, from the fourth batch on by replaying a graph of it.

    A graph reads and writes fixed places: each batch is copied to where the first captured one lay,
    and what the update answers is overwritten by the next. A batch of other shapes, and any where
    the update cannot be captured because it waits for a number from the GPU, is done kernel by
    kernel as before.

    Args:
        update: takes a batch of tensors on the GPU; forward, backward and the optimiser's step, the
            same operations at each call.
        device: the GPU.
    """

    places: list[Tensor]  # that the graph reads a batch from
    result: StepResult  # that it writes

    def __init__(self, update: Callable[[Any], StepResult], device: torch.device) -> None:
        self.update = update
        self.device = device
        self.steps = 0
        self.stream = torch.cuda.Stream(device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.refused: str | None = None  # why there is none

    def __call__(self, batch: Any) -> StepResult:
        """The update with a batch, whose tensors are on the GPU or in pinned memory."""
        if self.steps == EAGER_STEPS:
            self._capture(batch)
        self.steps += 1
        tensors = tensors_in(batch)
        if self.graph is None or list(map(form, tensors)) != list(map(form, self.places)):
            with self._side_stream():
                return self.update(self._on_device(batch))
        for place, tensor in zip(self.places, tensors):
            place.copy_(tensor, non_blocking=True)
        self.graph.replay()
        return self.result

    def _capture(self, batch: Any) -> None:
        """Capture the update: nothing is computed yet."""
        # Copies: a task may own the tensors of its batch.
        held = recursively_apply(torch.clone, self._on_device(batch))
        graph = torch.cuda.CUDAGraph()
        try:
            # By this thread alone: another one may be pinning memory meanwhile.
            with (
                self._side_stream(),
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                self.result = self.update(held)
        except RuntimeError as error:
            self.refused = str(error).splitlines()[0]
            return
        self.graph, self.places = graph, tensors_in(held)

    def _on_device(self, batch: Any) -> Any:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(self.device, non_blocking=True)

        return recursively_apply(move, batch)

    @contextmanager
    def _side_stream(self) -> Iterator[None]:
        """What is captured must not have begun on the default stream, the gradients among it."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream(self.device).wait_stream(self.stream)


def tensors_in(batch: Any) -> list[Tensor]:
    """The tensors of a batch, however they are nested, in a fixed order."""
    found: list[Tensor] = []
    recursively_apply(found.append, batch)
    return found


def form(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    """What the tensors of all batches must have in common."""
    return tensor.shape, tensor.dtype


def to_pinned_memory(batch: Any) -> Any:
    """A batch from which the GPU can copy while Python goes on; tensors on a GPU stay there."""

    def pin(tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if tensor.device.type == "cpu" else tensor

    return recursively_apply(pin, batch)


def does_the_same_at_every_step(model: nn.Module) -> bool:
    """Whether a model's Python code may be left out of all steps but the first.

    Not where a part of it was written elsewhere, or has a hook: either may count, draw or choose.
    """
    return all(
        type(module).__module__.partition(".")[0] in OURS
        and not (module._forward_hooks or module._forward_pre_hooks)
        for module in model.modules()
    )
