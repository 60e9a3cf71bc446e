"""Whether a run can train and save a model at all, found out before it has a folder."""

from itertools import chain

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchcaps.errors import InputError

__all__ = ["check_trainable"]


def check_trainable(model: nn.Module) -> None:
    """Raise for a model of which the first step, or the first checkpoint, would fail.

    Raises:
        InputError: no parameter is to be trained, one is complex, a tensor has no values or no
            shape, or the model's state holds something besides tensors.
    """
    kind = type(model).__name__
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(
                f"{name} of the {kind} has no shape yet: send a batch through it before training"
            )
        if tensor.is_meta:
            raise InputError(
                f"{name} of the {kind} is on the meta device, where it has no values: give it some "
                "(Module.to_empty, then load_state_dict)"
            )
    for name, parameter in model.named_parameters():
        if parameter.is_complex():
            raise InputError(
                f"the parameter {name} of the {kind} is {parameter.dtype}, and training takes real "
                "numbers: make it real, with an axis of two (torch.view_as_complex gives the other)"
            )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(
            f"no parameter of the {kind} is to be trained: let some require gradients "
            "(requires_grad_)"
        )
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"the state of the {kind} has {name}, a {type(value).__name__}, and a checkpoint "
                "holds tensors alone: keep it in a buffer, or let get_extra_state give a tensor"
            )
