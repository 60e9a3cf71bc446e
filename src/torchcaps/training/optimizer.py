"""The optimizer that networks are trained with."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["adam", "make_capturable", "set_learning_rate"]

FUSED_ON = ("cpu", "cuda")
RATE_FACTOR = "rate_factor"  # of a group of parameters: times the learning rate of the run


def adam(model: nn.Module, learning_rate: float, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """Adam with PyTorch's own constants, as in the paper (§4).

    Parameters that a module names in its `learning_rates` (as `DenseCaps` does) learn at their own
    factor of the rate. Weight decay is that of AdamW (Loshchilov and Hutter, 2019): a step takes
    rate · decay of each matrix or kernel, and leaves biases and normalisation alone.

    One pass over memory for all of an update where PyTorch has that: on two CPU cores 5 times
    faster than an operation at a time, which took a tenth of a step of `capsnet_small`.
    """
    device = next(model.parameters()).device.type
    return torch.optim.AdamW(
        parameter_groups(model, weight_decay),
        lr=learning_rate,
        weight_decay=0.0,
        fused=device in FUSED_ON or None,
    )


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters, those that learn and decay alike together, in the order of the model."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        rates = getattr(module, "learning_rates", {})
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            decay = weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((rates.get(name, 1.0), decay), []).append(parameter)
    return [
        {"params": parameters, RATE_FACTOR: factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Before its steps on a GPU are captured: when one is replayed only numbers in tensors change,
    the learning rate too."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
        group["capturable"] = True
    # The first steps are not captured, of which torch would warn.
    optimizer._warned_capturable_if_run_uncaptured = True


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group its share of the run's learning rate."""
    for group in optimizer.param_groups:
        rate = learning_rate * group.get(RATE_FACTOR, 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
