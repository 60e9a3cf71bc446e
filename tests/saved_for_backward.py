"""How much a forward pass keeps for its backward."""

from collections.abc import Callable

import torch
from torch import Tensor


def bytes_kept_for_backward(forward: Callable[[], Tensor]) -> int:
    """Bytes of all storages that it saves, each counted once."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    assert result.requires_grad
    return sum(kept.values())
