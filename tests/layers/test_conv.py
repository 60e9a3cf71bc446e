"""ConvCaps: windows with shared weights, whatever routes them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.routing.test_contract import ROWS, draw_what_it_learns
from torchcaps import Capsules, ConvCaps, DenseCaps
from torchcaps.routing import ROUTINGS as ROUTINGS_BY_NAME
from torchcaps.routing import Law, sweep

DOUBLE = torch.float64
ROUTINGS: list[dict[str, Any]] = [
    *({"name": row} for row in ROWS if not ROUTINGS_BY_NAME[row].makes_votes),
    {"name": "em", "final_lambda": 0.5, "variance_floor": 1e-3},
    {"name": "variational", "evidence_floor": 1e-3},
]
COMPETITIONS = ["all", "window"]
T, C, P = 3, 2, 4


@pytest.fixture(params=ROUTINGS, ids=str)
def routing(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(params=COMPETITIONS)
def competition(request: pytest.FixtureRequest) -> str:
    return request.param


def make(routing: dict[str, Any] | str = "em", **options: Any) -> ConvCaps:
    """A layer in float64, what it learns drawn at random."""
    options = {"kernel_size": 3, "routing": routing, **options}
    layer = ConvCaps(T, P, C, P, **options).double().eval()
    draw_what_it_learns(layer, 0.5)
    return layer


def a_map(height: int, width: int, batch: int = 2) -> Capsules:
    pose = torch.randn(batch, T, height, width, P, dtype=DOUBLE)
    return Capsules(pose, torch.rand(batch, T, height, width, dtype=DOUBLE))


def gradients(layer: ConvCaps, capsules: Capsules, mask: Tensor | None = None) -> list[Tensor]:
    """Pose, activation, and the gradients of the map and of all that is learned."""
    leaves = [part.clone().requires_grad_() for part in capsules]
    found = layer(Capsules(*leaves), mask)
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(x.shape, generator=generator).to(x.dtype) for x in found]
    wanted = [*leaves, *layer.parameters()]
    grads = torch.autograd.grad(
        list(found), wanted, upstream, allow_unused=True, materialize_grads=True
    )
    return [*found, *grads]


def test_a_kernel_as_large_as_the_map_is_dense(routing: dict[str, Any], competition: str) -> None:
    for matrix_poses in (True, False):
        options: dict[str, Any] = {"matrix_poses": matrix_poses, "bias": True}
        layer = make(routing, kernel_size=(3, 2), competition=competition, **options)
        dense = DenseCaps(T * 6, P, C, P, routing, **options).double().eval()
        dense.load_state_dict(layer.state_dict())
        capsules = a_map(3, 2)
        found = layer(capsules)
        pose, activation = dense(Capsules(capsules.pose.flatten(1, 3), capsules[1].flatten(1)))
        torch.testing.assert_close(found.pose.flatten(1, 3), pose)
        torch.testing.assert_close(found.activation.flatten(1), activation)


def test_shifts_by_the_stride_shift_the_output(routing: dict[str, Any], competition: str) -> None:
    """Where the border, at which fewer windows compete, is out of reach."""
    for stride in (1, 2, 3):
        layer = make(routing, stride=stride, competition=competition)
        capsules = a_map(9 + stride, 9)
        moved = Capsules(*(part[:, :, stride:] for part in capsules))
        windows_between = (3 - 1) // stride if competition == "all" else 0
        reach = layer.routing.sweeps * windows_between
        for one, other in zip(layer(capsules), layer(moved)):
            assert one.shape[2] == other.shape[2] + 1
            torch.testing.assert_close(one[:, :, 1 + reach :], other[:, :, reach:])
            if reach and routing["name"] == "em":
                assert not torch.allclose(one[:, :, 1], other[:, :, 0], rtol=1e-6)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, (1, 0))])
def test_tiles_are_as_all_at_once(
    routing: dict[str, Any],
    competition: str,
    stride: int,
    padding: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep, "TILE_BYTES", 1)
    options = {"stride": stride, "padding": padding, "competition": competition}
    layer = make(routing, **options)
    if not layer.routing.by_tiles:
        return
    capsules, mask = a_map(5, 6), torch.rand(2, T, 5, 6) < 0.8
    found = []
    for backend in ("tiles", "reference"):
        layer.routing.backend = backend
        found.append(gradients(layer, capsules, mask))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_capsules_beyond_the_border_do_not_exist(routing: dict[str, Any], competition: str) -> None:
    """Padding is a larger map in which they are masked, whatever they hold."""
    for matrix_poses in (True, False):
        options = {"competition": competition, "bias": True, "matrix_poses": matrix_poses}
        padded = make(routing, padding=(1, 2), stride=2, **options)
        plain = make(routing, stride=2, **options)
        plain.load_state_dict(padded.state_dict())
        capsules = a_map(5, 4)
        borders = (2, 2, 1, 1)
        inside = torch.nn.functional.pad(torch.ones(2, T, 5, 4), borders) > 0
        larger = Capsules(
            torch.nn.functional.pad(capsules.pose, (0, 0, *borders), value=7.0),
            torch.nn.functional.pad(capsules.activation, borders, value=1.0),
        )
        for one, other in zip(padded(capsules), plain(larger, inside)):
            torch.testing.assert_close(one, other)


def test_samples_are_independent_and_batches_may_have_more_axes(
    routing: dict[str, Any], competition: str
) -> None:
    layer = make(routing, stride=2, padding=1, competition=competition)
    capsules = a_map(5, 5, batch=4)
    together = layer(capsules)
    nested = layer(Capsules(*(part.unflatten(0, (2, 2)) for part in capsules)))
    for one, other in zip(nested, together):
        torch.testing.assert_close(one.flatten(0, 1), other)
    for n in range(4):
        alone = layer(Capsules(*(part[n] for part in capsules)))
        torch.testing.assert_close(alone.pose, together.pose[n])
    empty = layer(Capsules(*(part[:0] for part in capsules)))
    assert empty.pose.shape == (0, *together.pose.shape[1:])


def test_a_masked_capsule_is_none_whatever_it_holds(
    routing: dict[str, Any], competition: str
) -> None:
    layer = make(routing, competition=competition)
    capsules, mask = a_map(4, 4), torch.rand(2, T, 4, 4) < 0.7
    expected = gradients(layer, capsules, mask)
    poisoned = Capsules(
        capsules.pose.masked_fill(~mask.unsqueeze(-1), torch.nan),
        capsules.activation.masked_fill(~mask, torch.nan),
    )
    for one, other in zip(gradients(layer, poisoned, mask), expected):
        torch.testing.assert_close(one, other)


def test_a_capsule_that_is_not_active_changes_nothing_in_em(competition: str) -> None:
    layer = make(ROUTINGS[-2], stride=2, padding=1, competition=competition)
    capsules, off = a_map(5, 5), torch.rand(2, T, 5, 5) < 0.3
    activation = capsules.activation.masked_fill(off, 0)
    found = layer(Capsules(capsules.pose, activation))
    for one, other in zip(found, layer(Capsules(capsules.pose, activation), ~off)):
        torch.testing.assert_close(one, other)


def coupling_of(layer: ConvCaps, capsules: Capsules) -> Tensor:
    """R of the last iteration, as parts of the children: `[B, T, H, W]`, what each hands out."""
    votes = layer.votes(capsules)
    windows = layer.windows(*capsules.pose.shape[-3:-1])
    activation = windows.gather(capsules.activation.unsqueeze(-1)).squeeze(-1)
    coupling = layer.routing.trace(votes, activation).coupling[-1].sum(dim=-1)
    columns = coupling.flatten(1, 2).mT
    return torch.nn.functional.fold(
        columns, windows.size, windows.kernel_size, 1, windows.padding, windows.stride
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_what_a_child_hands_out_in_all(routing: dict[str, Any], stride: int) -> None:
    """1, or 1 to each position that sees it; the corner is seen by one."""
    capsules = a_map(5, 5)
    for competition in COMPETITIONS:
        layer = make(routing, stride=stride, competition=competition)
        if Law.COUPLING_SHARES_ONE_UNIT not in layer.routing.laws:
            continue
        handed_out = coupling_of(layer, capsules)
        assert handed_out.shape == (2, T, 5, 5)
        if competition == "all":
            expected = torch.ones_like(handed_out)
        else:
            ones = torch.ones(1, 9 * T, layer.windows(5, 5).grid[0] ** 2, dtype=DOUBLE)
            seen = torch.nn.functional.fold(ones, (5, 5), (3, 3), stride=stride)
            assert seen.max() == (9 if stride == 1 else 4)
            expected = seen.expand_as(handed_out)
        torch.testing.assert_close(handed_out, expected, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_finite_differences(competition: str) -> None:
    layer = make({"name": "em", "iterations": 2}, stride=2, padding=1, competition=competition)
    names = [name for name, _ in layer.named_parameters()]

    def run(pose: Tensor, activation: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        capsules = Capsules(pose, activation)
        return tuple(torch.func.functional_call(layer, dict(zip(names, values)), (capsules,)))

    leaves = [part.clone().requires_grad_() for part in a_map(3, 3, batch=1)]
    assert torch.autograd.gradcheck(run, (*leaves, *layer.parameters()))


def test_it_compiles_and_exports(competition: str) -> None:
    layer = make({"name": "em", "iterations": 2}, stride=2, padding=1, competition=competition)
    capsules = a_map(5, 5)
    expected = layer(capsules)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    exported = torch.export.export(layer, (capsules,)).module()
    for found in (compiled(capsules), exported(capsules)):
        torch.testing.assert_close(found.pose, expected.pose)


def test_refuses() -> None:
    layer = make()
    with pytest.raises(ValueError, match="one square number such as 16, got 4 and 8"):
        ConvCaps(T, 4, C, 8, 3)
    with pytest.raises(ValueError, match="competition must be one of all, window, got 'positions'"):
        ConvCaps(T, P, C, P, 3, competition="positions")
    with pytest.raises(TypeError, match="bias must be True or False, got 'no'"):
        ConvCaps(T, P, C, P, 3, bias="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kernel_size must be at least 1, got 0"):
        ConvCaps(T, P, C, P, 0)
    with pytest.raises(ValueError, match="map of 2×5 capsules, padded by 0 and 0, is smaller"):
        layer(a_map(2, 5))
    with pytest.raises(ValueError, match="a map with positions, got one of 0×5 capsules"):
        make(padding=2)(a_map(0, 5))
    with pytest.raises(ValueError, match=r"expected poses \[\.\.\., 3, H, W, 4\]"):
        layer(torch.randn(2, P, 5, 5, T))
    with pytest.raises(ValueError, match=r"activation must be \[\.\.\., T, H, W\]"):
        layer(Capsules(a_map(5, 5).pose, torch.rand(2, 75)))
    with pytest.raises(TypeError, match="pose must be a tensor, got list"):
        layer([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="activation must be a tensor, got int"):
        layer(Capsules(a_map(5, 5).pose, 0))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"activation must be a floating-point tensor, got torch\.i"
    ):
        layer(Capsules(a_map(5, 5).pose, torch.ones(2, T, 5, 5).int()))
    with pytest.raises(TypeError, match=r"mask must be a bool tensor .*, got list"):
        layer(a_map(5, 5), [True])  # type: ignore[arg-type]


def test_it_says_what_it_is() -> None:
    text = repr(ConvCaps(T, P, C, P, 3, 2, (1, 0), bias=True))
    assert "3×4 → 2×4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 0)" in text
    assert "competition='all', matrix_poses=True, bias=True" in text
