"""How much a forward pass keeps for its backward."""

import torch
from torch import Tensor

from torchcaps import LinearVotes, dynamic_routing


def bytes_kept_for_backward(votes: LinearVotes, backend: str) -> int:
    """Bytes of all storages that routing saves, each counted once."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pose = dynamic_routing(votes, backend=backend).pose
    assert pose.requires_grad
    return sum(kept.values())
