"""Tensors as NumPy arrays, for loops that Numba compiles."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["array_of_users"]


class Memory:
    """Where the numbers of a tensor lie; it keeps the tensor."""

    def __init__(self, tensor: Tensor) -> None:
        size = tensor.element_size()
        self.tensor = tensor
        self.__array_interface__ = {
            "data": (tensor.data_ptr(), False),
            "shape": tuple(tensor.shape),
            "strides": tuple(size * step for step in tensor.stride()),
            "typestr": np.dtype(f"f{size}").str,
            "version": 3,
        }


def array_of_users(tensor: Tensor) -> npt.NDArray[Any]:
    """A floating-point tensor of the user's, or a view of it, as an array of the same memory.

    `tensor.numpy()` would forbid for ever to resize that memory, which FSDP does with weights.

    Example:
        >>> import torch
        >>> weight = torch.ones(3)
        >>> array_of_users(weight).sum()
        np.float32(3.0)
        >>> weight.untyped_storage().resize_(0).size()
        0
    """
    return np.asarray(Memory(tensor))
