"""How many floating-point operations the fused kernels of dynamic routing do.

For `torch.utils.flop_counter.FlopCounterMode`, which counts products of matrices, two operations a
multiplication, and cannot look into an op of our own. What is counted is what is done: votes are
formed anew in every sweep over the input capsules.
"""

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

__all__ = ["count_flops"]

COUNTER = "torch.utils.flop_counter"


def count_flops(op: str) -> None:
    """Have the counters of torch count a routing op and its derivatives, if there are counters.

    Not registered once and for all: that would load `torch.utils.flop_counter`, and with it Triton,
    for everybody. A counter that is running has a copy of what was registered before it.

    Args:
        op: its name under torchcaps::; that of its derivatives ends in _backward.
    """
    if torch.compiler.is_compiling() or COUNTER not in sys.modules:
        return
    module = sys.modules[COUNTER]
    forward = cpu_forward_flops if op == "routing_cpu" else forward_flops
    formulas = {op: forward, f"{op}_backward": backward_flops}
    packets = {getattr(torch.ops.torchcaps, name): count for name, count in formulas.items()}
    for packet, count in packets.items():
        if packet not in module.flop_registry:
            module.register_flop_formula(packet)(count)
    for mode in _get_current_dispatch_mode_stack():
        registry = getattr(getattr(mode, "counter", None), "flop_registry", {})
        registry |= {packet: module.flop_registry[packet] for packet in packets}


def forward_flops(
    pose_shape: Any, weight_shape: Any, iterations: int, *args: Any, **kwargs: Any
) -> int:
    """Every iteration forms the votes; from the second on it scores them and adds them up too.

    Example:
        >>> forward_flops((1, 1152, 8), (1152, 10, 16, 8), 1)  # as one product: 2·I·J·D·P
        2949120
    """
    votes, dim = sizes(pose_shape, weight_shape)
    return 2 * votes * (iterations * dim + 2 * (iterations - 1))


def cpu_forward_flops(
    pose_shape: Any, weight_shape: Any, iterations: int, *args: Any, **kwargs: Any
) -> int:
    """The same on the CPU, where input capsules that share W need no votes: two sums over poses an
    iteration (in the first one for all parents), and two products with W.

    Example:
        >>> cpu_forward_flops((1, 50, 64), (1, 4, 64, 64), 3)
        272640
    """
    if weight_shape[0] == pose_shape[1]:
        return forward_flops(pose_shape, weight_shape, iterations)
    (B, I, P), (J, D) = pose_shape, weight_shape[1:3]
    later = iterations - 1
    return int(2 * B * P * (I + J * (2 * later * I + (1 + 2 * later) * D)))


def backward_flops(
    upstream_shape: Any,
    pose_shape: Any,
    weight_shape: Any,
    history_shape: Any,
    leaky: bool,
    detach: bool,
    **kwargs: Any,
) -> int:
    """A sweep for every iteration but the first, which forms the votes and takes three sums over
    them; then one that forms them once, takes four sums an iteration, and two products with what
    it found."""
    votes, dim = sizes(pose_shape, weight_shape)
    by_cpu = len(history_shape) == 5  # [2, r, …]; on a GPU [2r − 1, B, J, D]
    iterations = history_shape[1] if by_cpu else (history_shape[0] + 1) // 2
    if by_cpu and weight_shape[0] < pose_shape[1]:
        return shared_backward_flops(pose_shape, weight_shape, iterations, detach)
    sweeps = 0 if detach else (iterations - 1) * (dim + 3)
    return 2 * votes * (sweeps + 3 * dim + 4 * (1 if detach else iterations))


def shared_backward_flops(pose_shape: Any, weight_shape: Any, iterations: int, detach: bool) -> int:
    """The same on the CPU: six sums over poses an iteration (detached, four; in the first two for
    all parents), and the products with W and for its gradient."""
    (B, I, P), (J, D) = pose_shape, weight_shape[1:3]
    later = min(1, iterations - 1) if detach else iterations - 1
    first = 0 if detach and later else 1
    sums = J * I * later * (4 if detach else 6) + 2 * I * first
    products = J * D * (first + later * (2 if detach else 3) + 2 * iterations)
    return int(2 * B * P * (sums + products))


def sizes(pose_shape: Any, weight_shape: Any) -> tuple[int, int]:
    """B·I·J·D and P."""
    batch, inputs, dim = pose_shape
    return batch * inputs * weight_shape[1] * weight_shape[2], dim
