"""The update of a step on a GPU, captured once as a CUDA graph and replayed from then on.

A small network keeps a GPU busy for less time than Python takes to launch its kernels one by one. A
graph launches all of them at once.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only

from torchcaps.training.task import StepResult

__all__ = [
    "CapturedUpdate",
    "does_the_same_at_every_step",
    "has_no_other_code",
    "to_pinned_memory",
]

logger = logging.getLogger("torchcaps")
OURS = ("torchcaps", "torch")  # packages of modules whose Python code does not change with the step
EAGER_STEPS = 3  # before the graph is made: in them kernels are compiled, and chosen
WAITS = "called a synchronizing CUDA operation"  # torch's words
PROTOTYPE = "Synchronization debug mode is a prototype"  # what it says of its looking for that
HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip
GLOBAL_HOOKS = (
    "_global_forward_hooks", "_global_forward_pre_hooks",
    "_global_backward_hooks", "_global_backward_pre_hooks",
)  # fmt: skip
WEIGHT_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class CapturedUpdate:
    """Does what `update` does, from the fourth batch on by replaying a graph of it.

    A graph reads and writes fixed places: each batch is copied to where the first captured one lay,
    and what the update answers is overwritten by the next. A batch of another form is updated with
    kernel by kernel as before (then the gradients of the parameters are no longer the places that
    the graph writes). So are all where an update waits for a number from the GPU: it cannot be
    captured.

    Args:
        update: takes a batch; forward, backward and the optimiser's step, the same operations at
            each call. It moves to the GPU what is not there.
        device: the GPU.
    """

    form: "Form"  # of the batches that the graph takes
    places: list[Tensor]  # that it reads a batch from
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
        self.steps += 1
        if self.steps < EAGER_STEPS:
            return self._step_by_step(batch)
        if self.steps == EAGER_STEPS:
            return self._watched(batch)
        if self.steps == EAGER_STEPS + 1 and self.refused is None:
            self._capture(batch)
        tensors, form = form_of(batch)
        if self.graph is None or form != self.form:
            return self._step_by_step(batch)
        for place, tensor in zip(self.places, tensors):
            place.copy_(tensor, non_blocking=True)
        self.graph.replay()
        return self.result

    def _step_by_step(self, batch: Any) -> StepResult:
        with self._side_stream():
            return self.update(batch)

    def _watched(self, batch: Any) -> StepResult:
        """A step in which torch says whether it waits for the GPU.

        A capture that fails on that leaves torch's random numbers and memory in disorder.
        """
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = self._step_by_step(batch)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        for one in said:
            if WAITS in str(one.message):
                self._refuse("it waits for a number from the GPU")
            elif PROTOTYPE not in str(one.message):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return result

    def _capture(self, batch: Any) -> None:
        """Capture the update: nothing is computed yet."""
        # Copies: a task may own the tensors of its batch.
        held = tree_map_only(
            Tensor, torch.clone, send_to_device(batch, self.device, non_blocking=True)
        )
        graph, drawn = torch.cuda.CUDAGraph(), torch.get_rng_state()
        try:
            # By this thread alone: another one may be pinning memory meanwhile.
            with (
                self._side_stream(),
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                self.result = self.update(held)
        except RuntimeError as error:
            torch.set_rng_state(drawn)
            cause = error.__context__ or error  # that the capture cannot be ended says nothing
            self._refuse(str(cause).splitlines()[0])
            return
        self.graph = graph
        self.places, _ = form_of(held)
        self.form = form_of(batch)[1]

    def _refuse(self, why: str) -> None:
        if self.refused is None:
            logger.warning(
                "a training step cannot be captured as a CUDA graph (%s): its kernels are "
                "launched one by one, which takes longer",
                why,
            )
        self.refused = self.refused or why

    @contextmanager
    def _side_stream(self) -> Iterator[None]:
        """What is captured must not have begun on the default stream, the gradients among it."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream(self.device).wait_stream(self.stream)


# How tensors are nested, their shapes and dtypes, and what there is besides tensors.
Form = tuple[TreeSpec, list[object]]


def form_of(batch: Any) -> tuple[list[Tensor], Form]:
    """The tensors of a batch, and what batches that one graph takes have in common."""
    leaves, nested = tree_flatten(batch)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    told = [(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return tensors, (nested, told)


def to_pinned_memory(batch: Any) -> Any:
    """A batch from which the GPU can copy while Python goes on; tensors on a GPU stay there."""

    def pin(tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if tensor.device.type == "cpu" else tensor

    return tree_map_only(Tensor, pin, batch)


def does_the_same_at_every_step(model: nn.Module) -> bool:
    """Whether a model's Python code may be left out of all steps but the first ones.

    Not where a part of it was written elsewhere, or has a hook: either may count, draw or choose.
    """
    if any(getattr(torch_modules, name, None) for name in GLOBAL_HOOKS):
        return False
    for weight in model.parameters():
        if any(getattr(weight, name, None) for name in WEIGHT_HOOKS):
            return False
    return all(
        has_no_other_code(module) and not any(getattr(module, name, None) for name in HOOKS)
        for module in model.modules()
    )


def has_no_other_code(part: object) -> bool:
    """Whether an object is of a class of torchcaps or torch, and none of its methods replaced."""
    kind = type(part)
    replaced = [name for name, own in vars(part).items() if callable(own) and hasattr(kind, name)]
    return kind.__module__.partition(".")[0] in OURS and not replaced
