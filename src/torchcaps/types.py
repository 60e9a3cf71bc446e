"""What flows between layers, and the checks of arguments that everything uses."""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torchcaps.plain_numbers import MOST_ITERATIONS, is_number, is_whole

__all__ = ["Capsules", "Paper"]

MOST = 2**31 - 1  # of a count: torch takes no number beyond 64 bits, and has no memory for these

NamedTupleType = TypeVar("NamedTupleType", bound=type)


def exportable(kind: NamedTupleType) -> NamedTupleType:
    """Give a named tuple a name in saved programs; decorates the class.

    torch.export takes any named tuple apart and puts it together again, but saves, and loads as an
    example of what a program takes, only those that are known.
    """
    torch.serialization.add_safe_globals([kind])
    pytree._register_namedtuple(kind, serialized_type_name=f"torchcaps.{kind.__name__}")
    return kind


@exportable
class Capsules(NamedTuple):
    """A layer of capsules: what each has seen (pose) and how sure it is (activation).

    Attributes:
        pose: `[B, I, P]`, one vector a capsule.
        activation: `[B, I]`, in [0, 1]. After dynamic routing it is the length of the pose.

    Example:
        >>> import torch
        >>> capsules = Capsules(torch.zeros(2, 10, 16), torch.zeros(2, 10))
        >>> capsules.pose.shape
        torch.Size([2, 10, 16])
    """

    pose: Tensor
    activation: Tensor


class Paper(NamedTuple):
    """Where an algorithm or an architecture was published.

    Example:
        >>> print(Paper("Wilson", 1927, "Probable Inference", "JASA 22"))
        Wilson (1927), Probable Inference, JASA 22
    """

    authors: str
    year: int
    title: str
    where: str

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}), {self.title}, {self.where}"


def check_counts(*, most: int = MOST, **counts: Any) -> tuple[int, ...]:
    """The values as plain ints, NumPy's among them too.

    Raises, naming the argument, unless every value is a whole number from 1 to `most`.
    """
    plain = []
    for name, value in counts.items():
        if not is_whole(value):
            raise TypeError(f"{name} must be an int, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
        if value > most:
            raise ValueError(f"{name} must be at most {most}, got {value}")
        plain.append(int(value))
    return tuple(plain)


def check_several(name: str, values: Any, many: int | None = None) -> list[int]:
    """So many values as a list of plain ints; raise, naming the argument, unless all are ≥ 1.

    None takes any number of them.
    """
    listed: list[Any] = list(values) if isinstance(values, Iterable) else [None]
    wrong = many is not None and len(listed) != many
    if wrong or not all(is_whole(value) and 1 <= value <= MOST for value in listed):
        number = {None: "", 2: "two ", 3: "three ", 4: "four "}[many]
        raise ValueError(f"{name} must be {number}positive whole numbers, got {values!r}")
    return [int(value) for value in listed]


def check_iterations(iterations: int) -> int:
    """Routing iterations as a plain int; raise unless from 1 to `MOST_ITERATIONS`."""
    (plain,) = check_counts(most=MOST_ITERATIONS, iterations=iterations)
    return plain


def check_number(name: str, value: Any, *, least: float, most: float = float("inf")) -> None:
    """Raise, naming the argument, unless the value is a finite number from `least` to `most`."""
    if not is_number(value):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (least <= value <= most and abs(value) < float("inf")):  # also false for NaN
        upto = "" if most == float("inf") else f", at most {most:g}"
        raise ValueError(f"{name} must be at least {least:g}{upto}, got {value!r}")


def check_switch(name: str, value: object) -> None:
    """Raise, naming the argument, unless the value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise, naming the argument and the choices, unless the value is one of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_float_tensor(name: str, value: object) -> None:
    """Raise `TypeError`, naming the argument, unless `value` is a floating-point tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not value.dtype.is_floating_point:
        raise TypeError(f"{name} must be a floating-point tensor, got {value.dtype}")
    if value.dtype.itemsize == 1:  # float8 can be stored, and not computed with
        raise TypeError(f"{name} must be float16 or wider, got {value.dtype}: convert it")
    check_dense(name, value)


def check_dense(name: str, value: Tensor) -> None:
    """Raise `TypeError`, naming the argument, for a tensor that is nested or sparse."""
    if value.is_nested:
        raise TypeError(f"{name} must be a dense tensor, got a nested one: pad it, and pass a mask")
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {value.layout}: take its to_dense()")


def check_real_tensor(name: str, value: object) -> None:
    """Raise `TypeError`, naming the argument, unless `value` is a tensor of numbers or bools."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.dtype.is_floating_point:
        check_float_tensor(name, value)
    if value.dtype.is_complex:
        raise TypeError(f"{name} must be a tensor of real numbers or bools, got {value.dtype}")
    check_dense(name, value)


def check_same_dtype(name: str, value: Tensor, weight: Tensor) -> None:
    """Raise `TypeError` unless a tensor can be computed with weights; autocast converts both."""
    if value.dtype != weight.dtype and not torch.is_autocast_enabled(value.device.type):
        raise TypeError(
            f"{name} is {value.dtype} and the weights {weight.dtype}: convert one of them, as in "
            f"{name}.to({weight.dtype})"
        )


def is_exporting() -> bool:
    """Whether a program is recorded that runs elsewhere: by torch.export, or torch.jit.trace."""
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return traced or torch.compiler.is_exporting()


def values_at_hand(tensor: Tensor) -> bool:
    """Whether Python may look at the numbers in a tensor: not where calls are only recorded.

    Example:
        >>> values_at_hand(torch.zeros(2)), values_at_hand(torch.zeros(2, device="meta"))
        (True, False)
    """
    if torch.compiler.is_compiling() or is_exporting():
        return False
    # Of subclasses, those of torch.export among them, nothing is known.
    plain = type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta
    return plain and not torch._C._are_functorch_transforms_active()


def check_bool_tensor(name: str, value: object) -> None:
    """Raise `TypeError`, naming the argument, unless `value` is a tensor of True and False."""
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name} must be a bool tensor (True = counts), got {got}")
    check_dense(name, value)


def check_first_axes(name: str, axes: tuple[int, ...], batch: tuple[int, ...]) -> None:
    """Raise `ValueError`, naming the argument, unless its first axes are those of the votes, or 1
    or missing where it is the same for all.

    Example:
        >>> check_first_axes("present", (1, 5), (3, 4, 5))
        >>> check_first_axes("present", (2,), (1,))
        Traceback (most recent call last):
        ValueError: present must begin with the axes of the votes, (1,), or 1 for each, got (2,)
    """
    fits = len(axes) <= len(batch)
    for own, wanted in zip(reversed(axes), reversed(batch)):
        fits = fits and (own == 1 or own == wanted)
    if not fits:
        raise ValueError(
            f"{name} must begin with the axes of the votes, {tuple(batch)}, or 1 for each, "
            f"got {tuple(axes)}"
        )


def check_last_axes(name: str, value: Tensor, letters: str, axes: tuple[int, ...]) -> None:
    """Raise `ValueError`, naming the argument, unless the last axes have these lengths."""
    if value.shape[-len(axes) :] != axes:
        wanted = ", ".join(map(str, axes))
        raise ValueError(
            f"{name} must be [..., {letters}] = [..., {wanted}], as the votes have it, got shape "
            f"{tuple(value.shape)}"
        )
