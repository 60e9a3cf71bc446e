"""The Python API on tensors of any shape, type and value: right, or one clear sentence.

`CALLS` holds what is called; hypothesis draws the arguments and shrinks what fails.
"""

import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor

from torchcaps import create_model, create_routing, list_routings
from torchcaps.functional import agreement, half_squash, soft_squash, squash
from torchcaps.layers import ConvCaps, DenseCaps, InterestCaps, PrimaryCaps
from torchcaps.losses import dice_loss, margin_loss, reconstruction_loss, spread_loss
from torchcaps.routing import dynamic_routing
from torchcaps.types import Capsules

__all__ = ["CALLS", "check", "tried"]

FLOATS = (torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn)
ODD = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, 3e38, float("nan"), float("inf"), float("-inf"))
SIZES = st.sampled_from((0, 1, 1, 2, 2, 3, 3, 4, 33))
NUMBERS = st.sampled_from((0, 1, 2, 3, -1, 0.5, 2.0, 1e9, float("nan"), None, "a", True, [1], "em"))


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> Any:
    """A tensor, of a shape that is likely to be taken; seldom something else."""
    if draw(st.integers(0, 40)) == 0:
        return draw(NUMBERS)
    if shape is None or draw(st.integers(0, 3)) == 0:
        shape = tuple(draw(st.lists(SIZES, max_size=4)))
    kind = draw(st.sampled_from(FLOATS if draw(st.integers(0, 3)) else OTHERS))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    value = torch.rand(shape, generator=generator)
    if value.numel() and draw(st.booleans()):
        odd = draw(st.sampled_from(ODD))
        value = torch.full_like(value, odd) if draw(st.booleans()) else value
        value.view(-1)[draw(st.integers(0, value.numel() - 1))] = odd
    if not kind.is_floating_point and not kind.is_complex:
        value = (4 * value.nan_to_num(0, 3, -3).clamp(-3, 3)).long()
    found = value.to(kind)
    return found.transpose(0, -1) if found.dim() > 1 and draw(st.integers(0, 9)) == 0 else found


@st.composite
def labels(draw: st.DrawFn, batch: int) -> Any:
    """Class indices, or targets."""
    if draw(st.booleans()):
        return torch.tensor(draw(st.lists(st.integers(-1, 4), min_size=batch, max_size=batch)))
    return draw(tensors((batch, 3)))


def one_of_routings(draw: st.DrawFn) -> Any:
    options = {"iterations": draw(NUMBERS)} if draw(st.integers(0, 4)) == 0 else {}
    return {"name": draw(st.sampled_from(list_routings())), **options}


def call_routing(draw: st.DrawFn) -> Any:
    routing = create_routing(one_of_routings(draw))
    routing.build(3, 4, 2, 4)
    votes = draw(tensors((2, 3, 2, 4)))
    activation = draw(st.one_of(st.none(), tensors((2, 3))))
    mask = draw(st.one_of(st.none(), st.just(torch.ones(2, 3, dtype=torch.bool)), tensors((2, 3))))
    return (votes, likely(activation)), lambda: routing(votes, activation, mask)


def likely(activation: Any) -> Any:
    """Activations, or for those beyond [0, 1], which ask for nothing, what is not ordinary."""
    if not isinstance(activation, Tensor) or activation.dtype not in FLOATS:
        return activation
    inside = bool(((activation >= 0) & (activation <= 1)).all())
    return activation if inside else torch.tensor(torch.inf)


def call_layer(draw: st.DrawFn) -> Any:
    kind = draw(st.integers(0, 3))
    if kind == 0:
        layer: Any = DenseCaps(3, 4, 2, 4, one_of_routings(draw))
        x = draw(tensors((2, 3, 4)))
    elif kind == 1:
        layer = PrimaryCaps(2, types=2, dim=3, kernel_size=2, stride=1)
        x = draw(tensors((2, 2, 4, 4)))
    elif kind == 2:
        layer = ConvCaps(2, 4, 2, 4, kernel_size=2, routing=one_of_routings(draw))
        x = Capsules(draw(tensors((1, 2, 3, 3, 4))), draw(tensors((1, 2, 3, 3))))
    else:
        layer = InterestCaps(4, 2)
        x = draw(tensors((2, 3, 4)))
    given = (x.pose, likely(x.activation)) if isinstance(x, Capsules) else (x,)
    return given, lambda: layer(x)


def call_constructor(draw: st.DrawFn) -> Any:
    kind, a, b, c = draw(st.integers(0, 4)), draw(NUMBERS), draw(NUMBERS), draw(NUMBERS)
    calls: tuple[Callable[[], object], ...] = (
        lambda: DenseCaps(a, b, 2, c),  # type: ignore[arg-type]
        lambda: PrimaryCaps(a, types=b, dim=c),  # type: ignore[arg-type]
        lambda: ConvCaps(2, 4, a, 4, b, c),  # type: ignore[arg-type]
        lambda: create_model("capsnet", image_size=a, num_classes=b, channels=c, conv_channels=2),
        lambda: create_routing(draw(st.sampled_from(list_routings())), iterations=a),
    )
    return (), calls[kind]


def call_model(draw: st.DrawFn) -> Any:
    model = create_model("capsnet", image_size=17, conv_channels=2, primary_types=2).eval()
    x = draw(tensors((2, 1, 17, 17)))
    kinds: tuple[Callable[[], object], ...] = (lambda: model(x), lambda: model.predict(x))
    return (x,), draw(st.sampled_from(kinds))


def with_tensors(function: Callable[..., object], *shapes: tuple[int, ...]) -> Any:
    """A call with a tensor of about each of these shapes."""

    def draw_call(draw: st.DrawFn) -> Any:
        given = [draw(tensors(shape)) for shape in shapes]
        return given, lambda: function(*given)

    return draw_call


def with_labels(function: Callable[..., object]) -> Any:
    def draw_call(draw: st.DrawFn) -> Any:
        given = draw(tensors((2, 3))), draw(labels(2))
        return given, lambda: function(*given)

    return draw_call


CALLS: dict[str, Any] = {
    "squash": with_tensors(squash, (2, 3)),
    "half_squash": with_tensors(half_squash, (2, 33)),
    "soft_squash": with_tensors(soft_squash, (2, 3)),
    "agreement": with_tensors(agreement, (2, 3, 2, 4), (2, 2, 4)),
    "margin_loss": with_labels(margin_loss),
    "spread_loss": with_labels(spread_loss),
    "reconstruction_loss": with_tensors(reconstruction_loss, (2, 1, 3, 3), (2, 1, 3, 3)),
    "dice_loss": with_tensors(dice_loss, (2, 1, 3, 3), (2, 1, 3, 3)),
    "dynamic_routing": with_tensors(dynamic_routing, (2, 3, 2, 4)),
    "routings": call_routing,
    "layers": call_layer,
    "constructors": call_constructor,
    "models": call_model,
}


def check(draw: st.DrawFn, make: Any, counts: Counter[str]) -> None:
    """Draw a call and make it.

    Raises:
        AssertionError: what came out is not finite, or no clear sentence.
    """
    try:
        given, call = make(draw)
        result = call()
    except (ValueError, TypeError, NotImplementedError) as error:
        if "\n" in str(error).strip() or not str(error):
            raise AssertionError(f"no single line: {error}") from error
        counts["refused"] += 1
        return
    counts["accepted"] += 1
    if all(ordinary(value) for value in given):
        for value in flattened(result):
            assert bool(torch.isfinite(value).all()), f"not finite: {value}"


def ordinary(value: object) -> bool:
    """Whether an argument asks for nothing beyond what numbers can hold."""
    if not isinstance(value, Tensor):
        return True
    if value.dtype.is_complex or (value.dtype.is_floating_point and value.dtype.itemsize == 1):
        return False
    return bool(value.isfinite().all()) and bool((value.double().abs() < 1e3).all())


def flattened(result: object) -> list[Tensor]:
    """Every tensor of floating-point numbers in an answer."""
    if isinstance(result, Tensor):
        return [result.detach()] if result.dtype.is_floating_point else []
    return [t for part in result for t in flattened(part)] if isinstance(result, tuple) else []


def tried(
    number: int, faults: Counter[str], examples: int = 8, only: str | None = None
) -> Counter[tuple[str, str]]:
    """So many examples of each call, from a seed; faults are counted by their sentence."""
    total: Counter[tuple[str, str]] = Counter()
    for name, make in CALLS.items() if only is None else [(only, CALLS[only])]:
        counts: Counter[str] = Counter()
        test = property_of(make, counts)
        quiet = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            seed(number)(quiet(test))()
        except Exception as error:
            kind = "wrong" if isinstance(error, AssertionError) else "traceback"
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(str(error).split())[:160]
            fault = f"Python API: {name}: {type(error).__name__} in {place.name}: {said}"
            if not faults[fault]:
                print(fault, flush=True)
            faults[fault] += 1
            total["Python API", kind] += 1
        for what, count in counts.items():
            total["Python API", what] += count
    return total


def property_of(make: Any, counts: Counter[str]) -> Callable[[], None]:
    """What hypothesis calls."""

    @given(st.data())
    def test(data: st.DataObject) -> None:
        check(cast(Any, data.draw), make, counts)

    return test
