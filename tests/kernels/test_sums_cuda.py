"""The CUDA kernel of sums against the reference: on a GPU, or in Triton's interpreter without one.

What the compiler makes of it is looked at too, and for that no GPU is needed.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton")

from tests.kernels.routed_sums import (  # noqa: E402
    NAMES,
    Made,
    activations,
    assert_as_exact_as_eager,
    built,
    linear,
    matrices,
    rms,
    routed,
    windows,
)
from tests.kernels.triton_compiled import (  # noqa: E402
    assert_no_spills,
    compile_launches,
    recorded,
)
from torchcaps import LinearVotes, create_routing  # noqa: E402
from torchcaps.benchmark.measure import captured  # noqa: E402
from torchcaps.kernels import dispatch  # noqa: E402
from torchcaps.kernels.form import SHARED, SOFTMAX, Form  # noqa: E402
from torchcaps.kernels.sweeps_cuda import loops, op  # noqa: E402
from torchcaps.routing import base, sweep  # noqa: E402
from torchcaps.votes import Windows  # noqa: E402

ON_GPU = torch.cuda.is_available()  # else conftest.py has asked for the interpreter
OVERLAPPING = Windows((4, 3), (3, 3), (2, 1), (1, 0))  # a place is in up to four windows
# One and odd numbers of everything; rows and columns that are no powers of two; several blocks of
# samples, and of components of an input pose.
SHAPES = {
    "ones": lambda: linear(1, 1, 1, 2, 1),
    "one parent": lambda: linear(3, 5, 1, 4, 3),
    "odd": lambda: linear(3, 6, 3, 5, 7),
    "many": lambda: linear(37, 3, 4, 8, 8),
    "deep": lambda: linear(2, 2, 2, 3, 19),
    "matrices": lambda: matrices(2, 7, 3, 3, 3, 3),
    "flat matrices": lambda: matrices(17, 5, 2, 2, 5, 3),
    "windows": lambda: windows(OVERLAPPING, 2, 2, 3, 2),
}
EVERY = [
    *(("em", shape) for shape in SHAPES),
    *(("attention", shape) for shape in ("ones", "odd", "many", "windows")),
    *(("self_attention", shape) for shape in ("odd", "windows")),
    ("self_routing", "odd"),
    ("self_routing", "flat matrices"),
    ("variational", "matrices"),
]


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of everything, and no more than the interpreter has time for; on a CPU as well."""
    if not ON_GPU:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr(op, "PROGRAMS", 8)
        monkeypatch.setattr(dispatch, "_against_device", lambda *_: [])


def on_device(made: Made) -> Made:
    """The same, where the kernel runs."""
    votes_of, factors, outputs = made
    return votes_of, [x.cuda() if ON_GPU else x for x in factors], outputs


def compared(name: str, made: Made, **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    """What the kernel and the reference find in float64, with activations and a mask."""
    made = on_device(made)
    routing, activation = built(name, made, **options).to(made[1][0].device), activations(made)
    activation = activation.to(made[1][0].device)
    mask = torch.rand_like(activation) < 0.7
    found = routed(routing, made, "cuda", torch.float64, activation, mask)
    return found, routed(routing, made, "reference", torch.float64, activation, mask)


def assert_the_same(found: list[Tensor], exact: list[Tensor]) -> None:
    assert len(found) >= 5
    for ours, true in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-9 * (1 + rms(true)))


@pytest.mark.parametrize(("name", "shape"), EVERY)
@pytest.mark.usefixtures("poisoned")
def test_it_is_the_reference_in_float64(name: str, shape: str) -> None:
    assert_the_same(*compared(name, SHAPES[shape]()))


@pytest.mark.parametrize("options", [{"detach": True}, {"iterations": 1}], ids=str)
@pytest.mark.parametrize("shape", ["odd", "windows"])
@pytest.mark.usefixtures("poisoned")
def test_options(shape: str, options: dict[str, Any]) -> None:
    assert_the_same(*compared("em", SHAPES[shape](), **options))


@pytest.mark.parametrize(
    ("name", "shape"), [("em", "odd"), ("attention", "windows"), ("self_routing", "odd")]
)
@pytest.mark.usefixtures("poisoned")
def test_tiles_that_hold_some_of_the_outputs(
    name: str, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if J·D were large; and a sum of few inputs at a time."""
    monkeypatch.setattr(op, "TILE", 32)
    monkeypatch.setattr(op, "LONGEST_SUM", 2)
    assert_the_same(*compared(name, SHAPES[shape]()))


@pytest.mark.parametrize("name", ["em", "attention"])
def test_it_is_as_exact_as_eager_float32(name: str) -> None:
    # Of few numbers the ratio of two errors is luck, so that many draws are needed.
    assert_as_exact_as_eager(name, lambda: on_device(linear(3, 4, 3, 4, 3)), "cuda", draws=15)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4, 1e30])
def test_it_is_finite_at_any_size(size: float) -> None:
    """Beside an inactive child far from all; the largest votes go by tiles."""
    votes_of, (pose, weight), outputs = on_device(linear(2, 6, 3, 5, 6))
    pose[:, 0] *= 3
    made: Made = (votes_of, [size * pose, weight], outputs)
    activation = torch.rand(2, 6, device=pose.device)
    activation[:, 0] = 0
    for name in ("em", "attention"):
        routing = built(name, made).to(pose.device)
        assert dispatch.choose_backend("cuda", routing.call(LinearVotes(*made[1]))) == "cuda"
        found = routed(routing, made, "cuda", torch.float32, activation)
        assert all(x.isfinite().all() for x in found)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # of NumPy, which interprets
@pytest.mark.parametrize("name", ["em", "variational", "self_routing"])
def test_a_nan_stays_with_its_sample(name: str) -> None:
    """Of an activation: with one in a pose routing goes by tiles."""
    _, (pose, weight), _ = made = on_device(linear(3, 6, 3, 5, 6))
    activation = torch.rand(3, 6, device=pose.device)
    activation[1, 3] = torch.nan
    routing = built(name, made, backend="cuda").to(pose.device)
    out = routing(LinearVotes(pose, weight), activation).pose
    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()


@pytest.mark.parametrize("name", ["em", "attention", "self_routing"])
def test_factors_whose_sign_is_still_to_come(name: str) -> None:
    _, (pose, weight), _ = made = on_device(linear(3, 6, 3, 5, 6))
    activation = torch.rand(3, 6, device=pose.device)
    routing = built(name, made, backend="cuda").to(pose.device)
    expected = routing(LinearVotes(pose, weight), activation).pose
    pending = [torch._neg_view(-x) for x in (pose, weight, activation)]
    assert all(x.is_neg() for x in pending)
    assert torch.equal(routing(LinearVotes(*pending[:2]), pending[2]).pose, expected)


def test_leading_axes_and_strides() -> None:
    _, (pose, weight), _ = made = on_device(linear(6, 5, 4, 5, 6))
    routing = built("em", made, backend="cuda").to(pose.device)
    flat = routing(LinearVotes(pose, weight)).pose
    nested = routing(LinearVotes(pose.unflatten(0, (2, 3)), weight)).pose
    assert torch.equal(nested.flatten(0, 1), flat)
    strided = LinearVotes(pose.mT.contiguous().mT, weight.mT.contiguous().mT)
    assert torch.equal(routing(strided).pose, flat)


def test_a_second_derivative_is_refused_in_words() -> None:
    _, (pose, weight), _ = made = on_device(linear(2, 5, 3, 4, 2))
    routing = built("em", made, backend="cuda").to(pose.device)
    out = routing(LinearVotes(pose.requires_grad_(), weight)).pose
    with pytest.raises(RuntimeError, match="the CUDA routing kernel has first derivatives only"):
        torch.autograd.grad(out.sum(), pose, create_graph=True)


def test_it_is_taken_by_name_alone() -> None:
    """Until its results with matrix votes were tested on a GPU."""
    _, (pose, weight), outputs = on_device(linear(40, 200, 10, 16, 4))
    routing = create_routing("em").build(200, 4, *outputs)
    call = routing.call(LinearVotes(pose, weight))
    assert dispatch.choose_backend("cuda", call) == "cuda"
    assert "its results were not tested on a GPU yet: ask for it by name" in (
        dispatch.reasons_against("cuda", call, worth=True)
    )
    assert dispatch.choose_backend("auto", call) != "cuda"


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("gradient", [False, True])
def test_blocks_of_every_shape_can_be_launched(itemsize: int, gradient: bool) -> None:
    """No more than eight warps, which may have 255 registers a thread; sums of enough numbers."""
    shapes = [
        (B, J, rows, columns, depth)
        for B in (1, 2, 3, 9, 128)
        for J in (1, 2, 5, 33, 100, 1000)
        for rows in (1, 2, 4, 5, 17, 65, 128)
        for columns in (1, 2, 3, 4, 16, 100, 128)
        for depth in (1, 4, 16, 19, 64)
        if rows * columns <= dispatch.LARGEST_D_OF_SUMS
    ]
    for shape in shapes:
        BB, JB, RP, NP, warps = op.blocks_of(*shape, itemsize, gradient=gradient)
        assert all(n >= 1 and n & (n - 1) == 0 for n in (BB, JB, RP, NP, warps)), shape
        assert shape[2] <= RP
        assert shape[3] <= NP
        assert warps <= 8, shape
        assert BB * JB > 1
        if gradient:
            assert min(BB * RP, JB * NP) >= 16, shape


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # of NumPy, which interprets
@pytest.mark.parametrize("size", [1.0, 1e7, float("nan")])
def test_where_no_number_may_be_waited_for(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a step that is captured: it cannot go by tiles, and is NaN rather than wrong."""
    _, (pose, weight), _ = made = on_device(linear(3, 5, 3, 4, 4))
    routing = built("em", made, backend="cuda").to(pose.device)
    expected = routing(LinearVotes(pose, weight)).pose
    monkeypatch.setattr(base, "may_wait", lambda votes: False)
    pose = pose.clone()
    pose[1, 2, 3] *= size
    found = routing(LinearVotes(pose.requires_grad_(), weight.requires_grad_()))
    if size == 1:
        assert torch.equal(found.pose, expected)
    else:
        gradients = torch.autograd.grad(found.pose.sum(), (pose, weight))
        assert all(x.isnan().all() for x in (*found, *gradients))


@pytest.mark.parametrize("capturing", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_when_a_number_may_be_waited_for(
    mode: int, capturing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (pose, weight), _ = linear(2, 3, 2, 4, 2)
    votes = LinearVotes(pose, weight)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: mode)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    assert sweep.may_wait(votes)  # on a CPU always
    monkeypatch.setattr(sweep, "on_gpu", lambda votes: True)
    assert sweep.may_wait(votes) is (mode == 0 and not capturing)


def test_what_it_cannot_run_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    _, (pose, weight), outputs = linear(2, 3, 2, 129, 4)
    routing = create_routing("em", backend="cuda").build(3, 4, *outputs)
    with pytest.raises(ValueError, match=r"the votes are on cpu; it takes .* up to 128 components"):
        routing(LinearVotes(pose, weight))


# What the compiler makes of it: B, I, J, rows, N, M; whether Gaussians; F, K, Q and most.
COMPILED: dict[str, tuple[tuple[int, ...], bool, tuple[int, ...]]] = {
    "em_conv": ((16, 288, 32, 4, 4, 4), True, (36, 9, 169, 4)),
    "em_classes": ((128, 512, 10, 4, 4, 4), True, (1, 1, 1, 1)),
    "attention": ((128, 1152, 10, 4, 4, 4), False, (1, 1, 1, 1)),
    "self_attention": ((128, 1152, 10, 1, 16, 8), False, (1, 1, 1, 1)),
    "classes1000": ((128, 8192, 1000, 1, 16, 16), True, (1, 1, 1, 1)),
    "longest": ((64, 50, 4, 1, 64, 64), True, (1, 1, 1, 1)),
    "few samples": ((1, 40, 100, 1, 16, 8), True, (1, 1, 1, 1)),
    "tall": ((64, 20, 4, 64, 2, 2), True, (1, 1, 1, 1)),
    "one sample": ((1, 1152, 10, 1, 16, 8), True, (1, 1, 1, 1)),
    "in float64": ((3, 6, 3, 1, 5, 7), True, (1, 1, 1, 1)),
    "one child": ((4, 1, 3, 1, 4, 4), True, (1, 1, 1, 1)),
    "one sample and parent": ((1, 5, 1, 4, 4, 4), True, (1, 1, 1, 1)),
}
CASES = {
    80: ("em_conv", "classes1000", "tall", "one child", "in float64"),
    90: (
        "em_classes",
        "attention",
        "self_attention",
        "longest",
        "few samples",
        "one sample",
        "one sample and parent",
    ),
}


def launches_of(
    sizes: tuple[int, ...],
    gaussian: bool,
    windows: tuple[int, ...],
    numbers: torch.dtype = torch.float32,
) -> Any:
    """What forward and backward launch, in the first iteration and in a later one, and for
    couplings that are given."""
    (B, I, J, rows, N, M), (F, K, Q, most) = sizes, windows

    def new(*shape: int, dtype: torch.dtype = numbers) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    places, counts, positions = (
        new(*shape, dtype=torch.int64) for shape in ((Q, most), (Q,), (F * K,))
    )
    form = Form("cuda", rows, J, K, places, counts, positions)
    p, k, a = new(B, F, J * rows * N, 1), new(B, F, J, 1), new(B, F, I, 1)
    state = (p, a, k, p) if gaussian else (p, None, None, None)
    with recorded(loops) as launches:
        for coupling, through in ((SOFTMAX, True), (SHARED, False)):
            call = op.CudaCall(form, coupling, new(B, F, I, rows * M, 1), new(I, J * N, M), *state)
            call.forward()
            call.backward((k, p, p) if gaussian else (p,), through)
        if not gaussian:
            given = new(B, F, I, J, 1)
            factors = new(B, F, I, rows * M, 1), new(I, J * N, M)
            call = op.CudaCall(form, 1.0, *factors, p, given, None, None)
            call.forward()
            call.backward((p,), through=False)
    return launches


@pytest.mark.parametrize("arch", CASES)
def test_what_is_launched_compiles_without_spills(arch: int, tmp_path: Path) -> None:
    assert_no_spills(__file__, arch, tmp_path, least=30)


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
class TestOnGPU:
    @pytest.mark.parametrize("name", NAMES)
    def test_large_layers(self, name: str) -> None:
        made = linear(70, 600, 10, 16, 8)
        if name == "variational":
            made = windows(Windows((14, 14), (3, 3), (2, 2), (0, 0)), 4, 8, 32, 4)
        assert_the_same(*compared(name, made))

    def test_a_captured_call_is_the_call(self) -> None:
        votes_of, factors, _ = made = on_device(windows(OVERLAPPING, 16, 4, 8, 4))
        routing = built("em", made, backend="cuda").cuda()
        expected = routing(votes_of(*factors)).pose
        found = []
        replay = captured(lambda: found.append(routing(votes_of(*factors)).pose))
        replay()
        assert torch.equal(found[-1], expected)

    @pytest.mark.parametrize("shape", ["matrices", "windows"])
    @pytest.mark.parametrize("name", ["em", "attention"])
    def test_products_in_parts_are_as_exact_as_eager_float32(self, name: str, shape: str) -> None:
        """The interpreter has them whole."""
        made_of = {
            "matrices": lambda: matrices(70, 300, 10, 4, 4, 4),
            "windows": lambda: windows(OVERLAPPING, 16, 4, 8, 4),
        }[shape]
        assert_as_exact_as_eager(name, lambda: on_device(made_of()), "cuda", draws=5)


if __name__ == "__main__":
    arch = int(sys.argv[1])
    dtypes = {
        case: torch.float64 if case == "in float64" else torch.float32 for case in CASES[arch]
    }
    launches = {case: launches_of(*COMPILED[case], dtypes[case]) for case in CASES[arch]}
    compile_launches(arch, launches)
