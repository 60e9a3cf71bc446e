"""What a routing runs within: with or without gradients, half precision, running statistics."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

__all__ = ["gradients_only_if", "no_autocast", "unchanged_statistics"]


def gradients_only_if(wanted: bool) -> AbstractContextManager[object]:
    """A context in which no gradients are recorded, unless they are wanted."""
    return nullcontext() if wanted else torch.no_grad()


@contextmanager
def unchanged_statistics(module: nn.Module) -> Iterator[None]:
    """A context after which running statistics are what they were: to look is not to train."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()] if module.training else []
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which sums are not taken in half precision."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    if not torch.is_autocast_enabled(device.type):  # one context less in exported programs
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
