"""Launching a Triton kernel that was compiled before.

At every launch Triton binds the arguments to their names and looks at each of them anew; on the
layers of small networks that takes longer than the kernel runs. Here a kernel is found by what
Triton would tell its variants apart by.
"""

from collections.abc import Mapping
from typing import Any

import triton
from torch import Tensor

__all__ = ["launch"]

DIVISOR = 16  # Triton compiles for pointers and integers that are multiples of it
# Kernel, device, constants and kinds of arguments → what was compiled, and the constants in order.
_compiled: dict[tuple[object, ...], tuple[Any, tuple[object, ...]]] = {}


def launch(
    kernel: Any,
    programs: int,
    device: int,
    arguments: tuple[Any, ...],
    constants: Mapping[str, Any],
) -> None:
    """Launch so many programs of a kernel, whose arguments come before its constants.

    Args:
        device: index of the GPU, which is the current one.
        constants: those of the kernel, and options of the compiler such as `num_warps`.
    """
    if not isinstance(kernel, triton.JITFunction):  # the interpreter runs it
        kernel[(programs,)](*arguments, **constants)
        return
    key = (kernel, device, *constants.items(), *map(kind, arguments))
    if key not in _compiled:
        compiled = kernel.warmup(*arguments, grid=(programs,), **constants)
        names = kernel.arg_names[len(arguments) :]
        _compiled[key] = compiled, tuple(constants[name] for name in names)
    compiled, values = _compiled[key]
    compiled[(programs, 1, 1)](*arguments, *values)


def kind(argument: object) -> object:
    """What the compiler knows of an argument."""
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % DIVISOR == 0
    if isinstance(argument, int):
        return argument == 1, argument % DIVISOR == 0, argument.bit_length() > 31
    return type(argument)
