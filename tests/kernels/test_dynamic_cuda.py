"""The CUDA kernel against the float64 reference: on a GPU, or in Triton's interpreter without one.

What the compiler makes of the kernels is looked at too, and for that no GPU is needed.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton")

from tests.kernels.triton_compiled import (  # noqa: E402
    assert_no_spills,
    compile_launches,
    recorded,
)
from torchcaps import DynamicRouting, LinearVotes, dynamic_routing, squash  # noqa: E402
from torchcaps.kernels import cuda_launch as launch_module  # noqa: E402
from torchcaps.kernels import dispatch  # noqa: E402
from torchcaps.kernels.dynamic_cuda import op as cuda  # noqa: E402
from torchcaps.kernels.dynamic_cuda.op import routing_cuda, routing_cuda_backward  # noqa: E402

ON_GPU = torch.cuda.is_available()  # else conftest.py has asked for the interpreter
DEVICE = "cuda" if ON_GPU else "cpu"
DOUBLE = torch.float64
# B, I, J, D, P; whether all inputs share the weights; whether a tile holds only some outputs; and
# iterations. Ones, odd ones, several blocks of samples and of input components, several chunks.
CASES = [
    ((1, 1, 1, 1, 1), False, False, 2),
    ((3, 5, 3, 5, 7), False, False, 1),
    ((3, 5, 3, 5, 7), False, False, 2),
    ((3, 5, 3, 5, 7), False, False, 3),
    ((3, 5, 3, 5, 7), True, False, 4),
    ((3, 5, 3, 5, 7), False, True, 1),
    ((3, 4, 3, 5, 7), False, True, 3),
    ((2, 6, 10, 16, 8), False, False, 3),
    ((2, 2, 3, 16, 8), False, True, 3),
    ((35, 3, 5, 4, 3), False, False, 3),
    ((35, 2, 5, 4, 3), True, True, 2),
    ((2, 3, 4, 8, 37), True, False, 3),
    ((2, 3, 4, 8, 37), False, True, 2),
    ((5, 1, 6, 2, 5), False, False, 3),
    ((2, 12, 1, 3, 2), False, False, 2),
    ((4, 7, 2, 17, 5), True, False, 3),
    ((1, 4, 3, 33, 1), False, False, 2),
    ((3, 12, 3, 1, 4), True, False, 3),
    ((2, 2, 40, 16, 4), False, False, 2),
]


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of everything, and no more than the interpreter has time for."""
    if not ON_GPU:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr(cuda, "PROGRAMS", 4)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that hold some of the outputs, as if J·D were large."""
    for name in ("WIDEST", "WIDEST_SWEEP", "NARROW"):
        monkeypatch.setattr(cuda, name, 15)


def factors(
    shape: tuple[int, ...], shared: bool = False, size: float = 1.0
) -> tuple[Tensor, Tensor]:
    B, I, J, D, P = shape
    pose = size * torch.randn(B, I, P)
    return pose.to(DEVICE), (torch.randn(1 if shared else I, J, D, P) / P**0.5).to(DEVICE)


def fused(
    pose: Tensor, weight: Tensor, iterations: int = 3, leaky: bool = False, detach: bool = False
) -> Tensor:
    v: Tensor = routing_cuda(pose, weight, iterations, leaky, detach)[0]
    return v


def reference(pose: Tensor, weight: Tensor, iterations: int = 3, **options: Any) -> Tensor:
    return dynamic_routing(
        LinearVotes(pose, weight), iterations, backend="reference", **options
    ).pose


def routed(
    function: Any, pose: Tensor, weight: Tensor, upstream: Tensor, *arguments: int, **options: bool
) -> list[Tensor]:
    """Output, and the gradients of pose and weight, in float64."""
    leaves = [pose.detach().requires_grad_(), weight.detach().requires_grad_()]
    out = function(*leaves, *arguments, **options)
    gradients = torch.autograd.grad(out, leaves, upstream.to(out.dtype))
    return [tensor.double() for tensor in (out, *gradients)]


def rms(x: Tensor) -> float:
    return x.detach().square().mean().sqrt().item()


def assert_as_exact_as_eager(
    shape: tuple[int, ...],
    shared: bool,
    iterations: int,
    mask: Tensor | None = None,
    draws: int | None = None,
    **options: bool,
) -> None:
    """The kernel's error is at most twice that of eager float32, each result by itself.

    Root mean squares, and the median over draws: near a total input of zero the direction of a pose
    is undefined, and there the ratio of two errors is a matter of luck. Of few numbers it is luck
    anyway, so that many draws are needed.
    """
    B, _, J, D, _ = shape
    draws = draws or (3 if B * J * D >= 150 else 31 if ON_GPU else 5)
    ratios: dict[str, list[float]] = {"pose": [], "du": [], "dW": []}
    for draw in range(draws):
        torch.manual_seed(draw)
        pose, weight = factors(shape, shared)
        if mask is not None:
            pose = pose.masked_fill(~mask.unsqueeze(-1), 0)
        upstream = torch.randn(shape[0], shape[2], shape[3]).to(DEVICE)
        exact = routed(reference, pose.double(), weight.double(), upstream, iterations, **options)
        eager = routed(reference, pose, weight, upstream, iterations, **options)
        ours = routed(fused, pose, weight, upstream, iterations, **options)
        for name, true, theirs, found in zip(ratios, exact, eager, ours):
            # Where eager is exact by luck, half a rounding of a typical entry counts as its error.
            rounding = torch.finfo(torch.float32).eps / 2 * rms(true)
            ratios[name].append(rms(found - true) / max(rms(theirs - true), rounding, 1e-45))
            torch.testing.assert_close(found, true, rtol=1e-3, atol=1e-3 * rms(true) + 1e-12)
    for name, values in ratios.items():
        assert statistics.median(values) <= 2, (name, values)


@pytest.mark.parametrize(
    ("shape", "shared", "narrow_tiles", "iterations"),
    CASES,
    ids=str,
)
@pytest.mark.usefixtures("poisoned")
def test_it_is_as_exact_as_eager_float32(
    shape: tuple[int, ...],
    shared: bool,
    narrow_tiles: bool,
    iterations: int,
    request: pytest.FixtureRequest,
) -> None:
    if narrow_tiles:
        request.getfixturevalue("narrow")
    assert_as_exact_as_eager(shape, shared, iterations)


@pytest.mark.parametrize(
    ("iterations", "leaky", "detach", "narrow_tiles"),
    [
        (1, True, True, False),
        (2, True, False, False),
        (3, True, False, True),
        (2, False, True, True),
        (3, False, True, False),
        (3, True, True, True),
    ],
)
@pytest.mark.usefixtures("poisoned")
def test_every_option(
    iterations: int, leaky: bool, detach: bool, narrow_tiles: bool, request: pytest.FixtureRequest
) -> None:
    if narrow_tiles:
        request.getfixturevalue("narrow")
    mask = (torch.rand(3, 4) < 0.6).to(DEVICE)
    shape = (3, 4, 5, 4, 6)
    assert_as_exact_as_eager(shape, False, iterations, mask, leaky=leaky, detach=detach)


@pytest.mark.parametrize(
    ("constant", "value", "shared", "inputs"),
    [
        ("PROGRAMS", 1000, False, 3),
        ("PROGRAMS", 1000, True, 3),
        ("LONGEST_SUM", 1, False, 3),
        ("PARTS", 1, True, 3),
        ("MOST_PARTS", 1, False, 9),
    ],
)
def test_the_parts_of_sums(
    constant: str, value: int, shared: bool, inputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dW in parts of the samples or added up in memory, an addend of s for each input, and all in
    a single one."""
    monkeypatch.setattr(cuda, constant, value)
    assert_as_exact_as_eager((35, inputs, 5, 4, 3), shared, 2)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e8, 1e30])
@pytest.mark.usefixtures("narrow")
def test_it_is_finite_at_any_size(size: float) -> None:
    pose, weight = factors((2, 3, 3, 5, 6), size=size)
    for tensor in routed(fused, pose, weight, torch.ones(2, 3, 5).to(DEVICE)):
        assert torch.isfinite(tensor).all()


def test_squash_and_its_derivative_at_any_size() -> None:
    """What ends an iteration, on total inputs of 0 and from 1e-30 to 1e30."""
    sizes = torch.tensor([0, 1e-30, 1e-10, 1e-3, 0.5, 1, 2, 1e3, 1e10, 1e30]).to(DEVICE)
    s, dv = torch.randn(2, 10, 1, 5).to(DEVICE)
    s = s / s.norm(dim=-1, keepdim=True) * sizes[:, None, None]
    call = cuda.Call(torch.empty(10, 1, 1).to(DEVICE), torch.empty(1, 1, 5, 1).to(DEVICE), False)
    total, v, dv_again, ds = torch.empty(4, 10, 1, 5).to(DEVICE)
    call.finish(cuda.loops.finish, s[None], total, total, v, ALONE=True)
    call.finish(cuda.loops.finish_backward, dv[None], dv_again, s, ds, LAST=True)
    assert torch.equal(total, s)
    assert torch.equal(dv_again, dv)
    exact = s.double().requires_grad_()
    (true,) = torch.autograd.grad(squash(exact), exact, dv.double())
    assert torch.equal(ds[0], torch.zeros_like(ds[0]))
    for found, expected in ((v, squash(exact.detach())), (ds, true)):
        for row, whole in zip(found[1:].double(), expected[1:]):
            scale = whole.abs().max()
            assert (row - whole).abs().max() <= 1e-6 * scale + 1e-37, (scale, row, whole)


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("narrow_tiles", [False, True])
def test_a_nan_comes_out_as_a_nan_of_its_sample(
    narrow_tiles: bool, request: pytest.FixtureRequest
) -> None:
    if narrow_tiles:
        request.getfixturevalue("narrow")
    pose, weight = factors((2, 3, 5, 4, 6))
    pose[0, 1, 2] = torch.nan
    out, du, dW = routed(fused, pose, weight, torch.ones(2, 5, 4).to(DEVICE))
    assert out[0].isnan().all()
    assert out[1].isfinite().all()
    assert du[0].isnan().all()
    assert du[1].isfinite().all()
    assert dW.isnan().all()


def test_strides() -> None:
    pose, weight = factors((6, 3, 3, 5, 6))
    upstream = torch.randn(6, 3, 5).to(DEVICE)
    expected = routed(fused, pose, weight, upstream)
    transposed = pose.mT.contiguous().mT, weight.mT.contiguous().mT
    permuted = (
        pose.transpose(0, 1).contiguous().transpose(0, 1),
        weight.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
    )
    within = torch.cat([pose, pose], -1)[..., 6:], torch.cat([weight, weight], 1)[:, 3:]
    for strided in (transposed, permuted, within):
        assert not any(factor.is_contiguous() for factor in strided)
        for found, true in zip(routed(fused, *strided, upstream), expected):
            assert torch.equal(found, true)
    broadcast = torch.ones((), device=DEVICE).expand(6, 3, 5)
    for found, true in zip(
        routed(fused, pose, weight, broadcast), routed(fused, pose, weight, broadcast.clone())
    ):
        assert torch.equal(found, true)


@pytest.mark.parametrize("narrow_tiles", [False, True])
def test_expanded_factors(narrow_tiles: bool, request: pytest.FixtureRequest) -> None:
    if narrow_tiles:
        request.getfixturevalue("narrow")
    pose, weight = factors((6, 3, 5, 4, 6), shared=True)
    upstream = torch.randn(6, 5, 4).to(DEVICE)
    wide = pose[:1].expand(6, -1, -1), weight.expand(3, -1, -1, -1)
    expected = routed(fused, wide[0].contiguous(), wide[1].contiguous(), upstream)
    for found, true in zip(routed(fused, *wide, upstream), expected):
        assert torch.equal(found, true)
    shared = routed(fused, wide[0], weight, upstream)
    torch.testing.assert_close(shared[0], expected[0])
    summed = expected[2].sum(0, keepdim=True)
    torch.testing.assert_close(shared[2], summed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shared", [False, True])
def test_half_precision_accumulates_in_float32(dtype: torch.dtype, shared: bool) -> None:
    pose, weight = (factor.to(dtype) for factor in factors((18, 5, 4, 6, 3), shared))
    total, history = routing_cuda(pose, weight, 3, False, False)
    assert total.dtype == history.dtype == torch.float32
    upstream = torch.randn(18, 4, 6).to(DEVICE)
    found = routed(fused, pose, weight, upstream)
    gradients = routing_cuda_backward(upstream, pose, weight, history, False, False)
    assert {gradient.dtype for gradient in gradients} == {dtype}
    exact = routed(reference, pose.double(), weight.double(), upstream)
    torch.testing.assert_close(found[0], exact[0], rtol=1e-4, atol=1e-5)
    for ours, true in zip(found[1:], exact[1:]):  # half a rounding, and what tf32 loses
        eps = torch.finfo(dtype).eps
        atol = (2e-3 * eps + 1e-3 * ON_GPU) * rms(true)
        torch.testing.assert_close(ours, true, rtol=0.55 * eps, atol=atol)


def test_the_same_bits_on_repeat() -> None:
    pose, weight = factors((33, 3, 4, 6, 3), shared=True)
    upstream = torch.randn(33, 4, 6).to(DEVICE)
    first, *others = (routed(fused, pose, weight, upstream) for _ in range(2 + 8 * ON_GPU))
    for again in others:
        assert all(map(torch.equal, first, again))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
def test_the_ops_keep_the_rules_of_torch() -> None:
    pose, weight = (factor.requires_grad_() for factor in factors((2, 2, 3, 5, 6)))
    torch.library.opcheck(routing_cuda, (pose, weight, 2, False, False))
    total, history = routing_cuda(pose.detach(), weight.detach(), 3, True, False)
    arguments = (torch.randn_like(total), pose.detach(), weight.detach(), history, True, False)
    torch.library.opcheck(routing_cuda_backward, arguments)


def test_a_second_derivative_is_refused_in_words() -> None:
    pose, weight = (factor.requires_grad_() for factor in factors((1, 5, 2, 3, 2)))
    (first,) = torch.autograd.grad(fused(pose, weight).sum(), pose, create_graph=True)
    with pytest.raises(RuntimeError, match="pass backend='reference'"):
        first.sum().backward()


def test_what_backward_keeps() -> None:
    """A of every iteration but the first, s of all: (2 r − 1) B J D numbers."""
    pose, weight = factors((2, 5, 3, 5, 6))
    assert routing_cuda(pose, weight, 4, False, False)[1].shape == (7, 2, 3, 5)


def test_what_it_cannot_run_is_declared() -> None:
    votes = LinearVotes(*factors((1, 2, 3, 513, 1)))
    doubles = LinearVotes(votes.pose.double(), votes.weight.double())
    reasons = dispatch.reasons_against("cuda", DynamicRouting(3).call(doubles))
    expected = ["up to 512 components", "it computes in float32, and the votes are float64"]
    if not ON_GPU:
        expected.insert(0, "the votes are on cpu")
    assert len(reasons) == len(expected)
    for reason, words in zip(reasons, expected):
        assert words in reason
    with pytest.raises(ValueError, match="backend 'cuda' cannot route these votes"):
        dynamic_routing(doubles, backend="cuda")


@pytest.mark.parametrize("bias", [False, True])
def test_by_name_it_routes_what_the_reference_routes(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through `dynamic_routing`: leading axes, mask and bias; as if it could run here."""
    monkeypatch.setattr(dispatch, "reasons_against", lambda *_, **__: [])
    pose, weight = factors((6, 4, 3, 5, 6))
    votes = LinearVotes(
        pose.unflatten(0, (2, 3)), weight, torch.randn(3, 5).to(DEVICE) if bias else None
    )
    mask = (torch.rand(2, 3, 4) < 0.7).to(DEVICE)
    found = dynamic_routing(votes, mask=mask, backend="cuda")
    exact = dynamic_routing(votes.to(DOUBLE), mask=mask, backend="reference")
    for ours, true in zip(found, exact):
        torch.testing.assert_close(ours.double(), true, rtol=1e-4, atol=1e-6)


def test_gradients_of_calls_that_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go by another way than the op's."""
    monkeypatch.setattr(dispatch, "reasons_against", lambda *_, **__: [])
    pose, weight = (factor.requires_grad_() for factor in factors((5, 4, 3, 5, 6)))
    upstream = torch.randn(5, 3, 5).to(DEVICE)

    def gradients(backend: str) -> tuple[Tensor, ...]:
        double = backend == "reference"
        votes = LinearVotes(*(f.double() if double else f for f in (pose, weight)))
        found = dynamic_routing(votes, backend=backend).pose
        return torch.autograd.grad(found, (pose, weight), upstream.to(found.dtype))

    for flipped in (
        torch._neg_view,
        torch.clone,
    ):  # torch has gradients whose sign is still to come
        upstream = flipped(upstream)
        for ours, true in zip(gradients("cuda"), gradients("reference")):
            torch.testing.assert_close(ours, true, rtol=1e-4, atol=1e-6)
    leaves = LinearVotes(pose, weight)
    unused = dynamic_routing(leaves, backend="cuda").pose.detach()
    assert torch.equal(unused, dynamic_routing(leaves, backend="cuda").pose)
    first = torch.autograd.grad(
        dynamic_routing(leaves, backend="cuda").pose.sum(), pose, create_graph=True
    )[0]
    with pytest.raises(RuntimeError, match="pass backend='reference'"):
        first.sum().backward()


class Compiled:
    """Stands in for a kernel of Triton: notes what is compiled, and what is launched."""

    arg_names = ("x", "n", "scale", "FLAG", "SIDE")

    def __init__(self) -> None:
        self.compiled: list[tuple[object, ...]] = []
        self.launched: list[tuple[object, ...]] = []

    def warmup(self, *arguments: object, grid: object, **constants: object) -> "Compiled":
        self.compiled.append((arguments, constants))
        return self

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments: self.launched.append((grid, *arguments))


def test_what_was_compiled_is_launched_for_arguments_of_its_kind_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton compiles anew for another dtype, alignment, integer that is 1 or a multiple of 16."""
    monkeypatch.setattr(launch_module.triton, "JITFunction", Compiled)
    monkeypatch.setattr(launch_module, "_compiled", {})
    kernel, x = Compiled(), torch.zeros(64)

    def launch(x: Tensor, n: int, device: int = 0, **constants: Any) -> None:
        constants = {"num_warps": 4, "SIDE": 8, "FLAG": True} | constants
        launch_module.launch(kernel, 5, device, (x, n, 0.5), constants)

    launch(x, 32)
    launch(torch.ones(64), 48)
    assert len(kernel.compiled) == 1
    assert [(grid, n, scale, flag, side) for grid, _, n, scale, flag, side in kernel.launched] == [
        ((5, 1, 1), n, 0.5, True, 8) for n in (32, 48)
    ]
    for count, other in enumerate(
        [
            lambda: launch(x[1:], 32),
            lambda: launch(x.half(), 32),
            lambda: launch(x, 33),
            lambda: launch(x, 1),
            lambda: launch(x, 2**32),
            lambda: launch(x, 32, device=1),
            lambda: launch(x, 32, FLAG=False),
            lambda: launch(x, 32, num_warps=8),
        ],
        start=2,
    ):
        other()
        other()
        assert len(kernel.compiled) == count


# What the compiler makes of it.
SHAPES = {
    "mnist": ((128, 1152, 10, 16, 8), False),
    "multimnist": ((128, 1152, 10, 16, 16), False),
    "conv-window": ((4608, 288, 32, 16, 16), False),
    "interests": ((1024, 50, 4, 64, 64), True),
    "classes1000": ((128, 8192, 1000, 16, 16), False),
}
COMPILED = {
    80: [("mnist", "float32"), ("classes1000", "float32"), ("conv-window", "bfloat16")],
    90: [("mnist", "float32"), ("classes1000", "float32"), ("interests", "float32")],
}


def launches_of(shape: tuple[int, ...], shared: bool, dtype: torch.dtype) -> Any:
    """What forward and backward launch: on meta tensors, for which there is memory."""
    B, I, J, D, P = shape
    pose = torch.empty(B, I, P, dtype=dtype, device="meta")
    weight = torch.empty(1 if shared else I, J, D, P, dtype=dtype, device="meta")
    with recorded(cuda.loops) as launches:
        total, history = routing_cuda._init_fn(pose, weight, 3, False, False)
        routing_cuda_backward._init_fn(total, pose, weight, history, False, False)
    return launches


@pytest.mark.parametrize("arch", COMPILED)
def test_what_is_launched_compiles_without_spills(arch: int, tmp_path: Path) -> None:
    assert_no_spills(__file__, arch, tmp_path, least=21)


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
class TestOnGPU:
    @pytest.mark.parametrize(
        ("shape", "shared"),
        [
            ((128, 1152, 10, 16, 8), False),
            ((256, 288, 32, 16, 16), False),
            ((256, 50, 4, 64, 64), True),
            ((16, 300, 100, 16, 16), False),
        ],
    )
    def test_it_is_as_exact_as_eager_float32(self, shape: tuple[int, ...], shared: bool) -> None:
        assert_as_exact_as_eager(shape, shared, 3, draws=3)

    def test_a_thousand_classes_take_little_memory(self) -> None:
        """Forward and backward in less than 0.5 GB beyond the inputs and their gradients."""
        B, I, J, D, P = SHAPES["classes1000"][0]
        pose = torch.randn(B, I, P, device=DEVICE, requires_grad=True)
        weight = torch.randn(I, J, D, P, device=DEVICE).div_(P**0.5).requires_grad_()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        torch.autograd.grad(fused(pose, weight).square().sum(), [pose, weight])
        extra = torch.cuda.max_memory_allocated() - before - pose.nbytes - weight.nbytes
        assert extra < 0.5e9

    def test_offsets_beyond_32_bits(self) -> None:
        pose, weight = torch.zeros(2, 8800, 16, device=DEVICE), factors((2, 1, 1000, 16, 16))[1]
        pose[:, -1] = torch.randn(2, 16)
        many = torch.zeros(8800, 1000, 16, 16, device=DEVICE)
        many[-1] = weight[0]
        assert many.numel() > 2**31
        upstream = torch.randn(2, 1000, 16).to(DEVICE)
        found: list[Tensor] = []
        true: list[Tensor] = []
        for results, u, w in ((found, pose, many), (true, pose[:, -1:], weight)):
            total, history = routing_cuda(u, w, 3, False, False)
            du, dW = routing_cuda_backward(upstream, u, w, history, False, False)
            results += [total, du[:, -1], dW[-1]]
        for ours, alone in zip(found, true):  # capsules whose votes are zero add nothing
            torch.testing.assert_close(ours, alone)


if __name__ == "__main__":
    arch = int(sys.argv[1])
    launched = {
        f"{case} {dtype}": launches_of(*SHAPES[case], getattr(torch, dtype))
        for case, dtype in COMPILED[arch]
    }
    compile_launches(arch, launched)
