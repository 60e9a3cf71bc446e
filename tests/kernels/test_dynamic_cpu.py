"""The CPU kernel against the float64 reference: output and every gradient, in poisoned memory."""

import itertools
import math
import os
import statistics
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.saved_for_backward import bytes_kept_for_backward
from torchcaps import DynamicRouting, LinearVotes, dynamic_routing
from torchcaps.kernels import dispatch, loops_on_threads
from torchcaps.kernels.autograd import is_watched
from torchcaps.kernels.dynamic_cpu.blocks import Blocks
from torchcaps.kernels.dynamic_cpu.op import routing_cpu, routing_cpu_backward
from torchcaps.votes import FormedVotes, Votes

DOUBLE = torch.float64
# B, I, J, D, P: ones, odd ones, one more or less than a chunk of 64 input capsules, and batches
# that fill a block of samples, or leave places empty: as many as fill two registers. Of up to 16
# samples the vectors hold input capsules, which are fewer or more than fill a few of them.
SHAPES = [
    (1, 1, 1, 1, 1),
    (1, 64, 10, 16, 8),
    (3, 65, 3, 5, 7),
    (2, 63, 2, 1, 4),
    (5, 7, 1, 3, 2),
    (2, 130, 4, 6, 3),
    (4, 1, 6, 2, 5),
    (1, 200, 11, 3, 9),
    (2, 33, 40, 30, 2),
    (7, 20, 5, 4, 1),
    (2, 100, 3, 17, 12),
    (3, 12, 2, 8, 16),
    (33, 5, 3, 4, 8),
    (70, 33, 2, 7, 3),
    (2, 5, 300, 9, 4),
    (16, 300, 3, 4, 8),
    (17, 70, 3, 5, 8),
    (1, 17, 2, 3, 24),
    (5, 16, 4, 2, 9),
]
CASES = list(itertools.product(SHAPES, [1, 2, 3, 4, 5]))


def factors(shape: tuple[int, ...], size: float = 1.0) -> tuple[Tensor, Tensor]:
    B, I, J, D, P = shape
    return size * torch.randn(B, I, P), torch.randn(I, J, D, P) / P**0.5


def routed(
    pose: Tensor,
    weight: Tensor,
    upstream: Tensor,
    iterations: int,
    mask: Tensor | None = None,
    **options: Any,
) -> list[Tensor]:
    """Output, and the gradients of pose and weight, in float64."""
    leaves = [pose.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()]
    out = dynamic_routing(LinearVotes(*leaves), iterations, mask=mask, **options).pose
    gradients = torch.autograd.grad(out, leaves, upstream.to(out.dtype))
    return [tensor.double() for tensor in (out, *gradients)]


def assert_as_exact_as_eager(
    shape: tuple[int, ...],
    iterations: int,
    mask: Tensor | None = None,
    shared: bool = False,
    **options: Any,
) -> None:
    """The kernel's error is at most twice that of eager float32, each result by itself.

    Root mean squares, and the median over draws: near a total input of zero the direction of a pose
    is undefined, and there the ratio of two errors is a matter of luck; of a few numbers always.
    """
    ratios: dict[str, list[float]] = {"pose": [], "du": [], "dW": []}
    for draw in range(7 if math.prod(shape[:4]) > 100 else 41):
        torch.manual_seed(draw)
        pose, weight = factors(shape)
        weight = weight[:1] if shared else weight
        upstream = torch.randn(shape[0], shape[2], shape[3])
        arguments = (upstream, iterations, mask)
        exact = routed(pose.double(), weight.double(), *arguments, **options)
        eager = routed(pose, weight, *arguments, backend="reference", **options)
        ours = routed(pose, weight, *arguments, backend="cpu", **options)
        for name, true, theirs, found in zip(ratios, exact, eager, ours):
            # Where eager is exact by luck, half a rounding of a typical entry counts as its error.
            rounding = torch.finfo(torch.float32).eps / 2 * rms(true)
            ratios[name].append(rms(found - true) / max(rms(theirs - true), rounding, 1e-45))
            torch.testing.assert_close(found, true, rtol=1e-3, atol=1e-3 * rms(true) + 1e-12)
    for name, values in ratios.items():
        assert statistics.median(values) <= 2, (name, values)


def rms(x: Tensor) -> float:
    return x.detach().square().mean().sqrt().item()


@pytest.mark.parametrize(("shape", "iterations"), CASES, ids=str)
@pytest.mark.usefixtures("poisoned")
def test_it_is_as_exact_as_eager_float32(shape: tuple[int, ...], iterations: int) -> None:
    assert_as_exact_as_eager(shape, iterations)


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_every_option(iterations: int, leaky: bool, detach: bool, masked: bool) -> None:
    mask = torch.rand(3, 70) < 0.6 if masked else None
    assert_as_exact_as_eager((3, 70, 4, 5, 6), iterations, mask, leaky=leaky, detach=detach)


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("shape", [(3, 65, 4, 5, 6), (40, 7, 3, 6, 4)], ids=str)
@pytest.mark.usefixtures("poisoned")
def test_float64_is_float64(shape: tuple[int, ...], leaky: bool, detach: bool) -> None:
    pose, weight = (factor.double() for factor in factors(shape))
    upstream = torch.randn(shape[0], *shape[2:4], dtype=DOUBLE)
    options: dict[str, Any] = {"leaky": leaky, "detach": detach}
    ours = routed(pose, weight, upstream, 3, backend="cpu", **options)
    exact = routed(pose, weight, upstream, 3, backend="reference", **options)
    for found, true in zip(ours, exact):
        torch.testing.assert_close(found, true, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
@pytest.mark.parametrize("option", [None, "leaky", "detach"])
@pytest.mark.parametrize(
    "shape",
    [
        (3, 7, 4, 5, 6),
        (5, 2, 1, 1, 1),
        (17, 150, 4, 5, 6),
        (40, 1, 4, 5, 6),
        (16, 7, 3, 3, 8),
        (33, 65, 3, 7, 9),
        (70, 20, 1, 6, 20),
        (33, 4, 5, 8, 12),
        (2, 5, 40, 3, 150),
        (1, 1000, 3, 4, 2),
    ],
    ids=str,
)
@pytest.mark.usefixtures("poisoned")
def test_weights_that_the_inputs_share(
    shape: tuple[int, ...], option: str | None, iterations: int
) -> None:
    pose, weight = (factor.double() for factor in factors(shape))
    arguments: Any = (weight[:1], torch.randn(shape[0], *shape[2:4]), iterations)
    options: dict[str, Any] = {} if option is None else {option: True}
    exact = routed(pose, *arguments, backend="reference", **options)
    for ours, true in zip(routed(pose, *arguments, backend="cpu", **options), exact):
        torch.testing.assert_close(ours, true, rtol=1e-11, atol=1e-13)
    assert_as_exact_as_eager(shape, iterations, shared=True, **options)


def test_expanded_weights_are_not_copied_and_have_a_gradient_each() -> None:
    pose, weight = factors((40, 70, 4, 5, 6))
    expanded = weight[:1].expand(70, -1, -1, -1)
    assert Blocks(pose, expanded).w.data_ptr() == weight.data_ptr()
    gradients = []
    for votes_of in (expanded, expanded.contiguous()):
        leaf = pose.clone().requires_grad_()
        votes_of = votes_of.detach().requires_grad_()
        out = dynamic_routing(LinearVotes(leaf, votes_of), backend="cpu").pose
        gradients.append(torch.autograd.grad(out.square().sum(), (leaf, votes_of)))
    for ours, expected in zip(*gradients):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("shared", [False, True])
def test_a_bias_and_its_gradient(shared: bool) -> None:
    pose, weight = factors((2, 70, 3, 5, 6))
    weight = weight[:1] if shared else weight
    mask = torch.rand(2, 70) < 0.6
    for shape in [(3, 5), (70, 3, 5)]:
        found = []
        for backend, dtype in [("cpu", torch.float32), ("reference", DOUBLE)]:
            torch.manual_seed(1)
            leaves = [pose.to(dtype), weight.to(dtype), torch.randn(shape).to(dtype)]
            leaves = [leaf.requires_grad_() for leaf in leaves]
            out = dynamic_routing(LinearVotes(*leaves), mask=mask, backend=backend).pose
            gradients = torch.autograd.grad(out.square().sum(), leaves)
            found.append([tensor.double() for tensor in (out, *gradients)])
        for ours, exact in zip(*found):
            torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), 1e30])
def test_masked_capsules_have_no_effect(padding: float) -> None:
    pose, weight = factors((2, 70, 3, 5, 6))
    mask = torch.arange(70).expand(2, 70) < 40
    upstream = torch.randn(2, 3, 5)
    poisoned = pose.masked_fill(~mask.unsqueeze(-1), padding)
    short = routed(pose[:, :40], weight[:40], upstream, 3, backend="cpu")
    long = routed(poisoned, weight, upstream, 3, backend="cpu", mask=mask)
    torch.testing.assert_close(long[0], short[0])
    for found, expected, axis in zip(long[1:], short[1:], (1, 0)):
        kept, beyond = found.split([40, 30], dim=axis)
        torch.testing.assert_close(kept, expected)
        assert torch.equal(beyond, torch.zeros_like(beyond))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e8, 1e30])
def test_it_is_finite_at_any_size(size: float, shared: bool) -> None:
    pose, weight = factors((2, 70, 3, 5, 6), size)
    weight = weight[:1] if shared else weight
    for tensor in routed(pose, weight, torch.ones(2, 3, 5), 3, backend="cpu"):
        assert torch.isfinite(tensor).all()


def test_a_nan_comes_out_as_a_nan() -> None:
    pose, weight = factors((2, 70, 3, 5, 6))
    pose[0, 3, 2] = torch.nan
    out = dynamic_routing(LinearVotes(pose, weight), backend="cpu").pose
    assert out[0].isnan().all()
    assert out[1].isfinite().all()


def test_leading_axes_and_strides() -> None:
    pose, weight = factors((6, 70, 3, 5, 6))
    flat = dynamic_routing(LinearVotes(pose, weight), backend="cpu").pose
    nested = LinearVotes(pose.unflatten(0, (2, 3)), weight)
    assert torch.equal(dynamic_routing(nested, backend="cpu").pose.flatten(0, 1), flat)
    one = dynamic_routing(LinearVotes(pose[0], weight), backend="cpu").pose
    torch.testing.assert_close(one, flat[0])
    strided = LinearVotes(pose.mT.contiguous().mT, weight.mT.contiguous().mT)
    assert not strided.weight.is_contiguous()
    assert torch.equal(dynamic_routing(strided, backend="cpu").pose, flat)
    # What `model.to(memory_format=torch.channels_last)` does to the weights of a capsule layer.
    reordered = LinearVotes(pose, weight.contiguous(memory_format=torch.channels_last))
    assert not reordered.weight.is_contiguous()
    assert torch.equal(dynamic_routing(reordered, backend="cpu").pose, flat)
    expanded = LinearVotes(pose[:1].expand(6, -1, -1), weight)
    torch.testing.assert_close(dynamic_routing(expanded, backend="cpu").pose[5], flat[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_float32(dtype: torch.dtype) -> None:
    pose, weight = (factor.to(dtype) for factor in factors((2, 130, 4, 6, 3)))
    out = dynamic_routing(LinearVotes(pose, weight), backend="cpu").pose
    exact = dynamic_routing(LinearVotes(pose.double(), weight.double())).pose
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-4)


def test_the_same_bits_on_repeat_and_from_many_threads_at_once() -> None:
    pose, weight = factors((9, 200, 4, 6, 3))
    upstream = torch.randn(9, 4, 6)

    def run() -> list[Tensor]:
        return routed(pose, weight, upstream, 3, backend="cpu")

    torch.set_num_threads(3)
    try:
        alone = run()
        found: list[list[Tensor]] = []
        callers = [threading.Thread(target=lambda: found.append(run())) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        torch.set_num_threads(1)
    assert len(found) == 4
    for results in found:
        for ours, expected in zip(results, alone):
            assert torch.equal(ours, expected)


@pytest.mark.parametrize("samples", [2, 40])
@pytest.mark.parametrize("shared", [False, True])
def test_the_ops_keep_the_rules_of_torch(samples: int, shared: bool) -> None:
    pose, weight = factors((samples, 20, 3, 5, 6))
    pose, weight = pose.requires_grad_(), (weight[:1] if shared else weight).requires_grad_()
    torch.library.opcheck(routing_cpu, (pose, weight, 3, False, False))
    total, history = routing_cpu(pose.detach(), weight.detach(), 3, True, False)
    arguments = (torch.randn_like(total), pose.detach(), weight.detach(), history, True, False)
    torch.library.opcheck(routing_cpu_backward, arguments)


def test_the_op_is_seen_by_those_who_look_for_it_and_saved_where_nobody_does() -> None:
    pose, weight = factors((3, 20, 4, 5, 6))
    votes = LinearVotes(pose, weight)
    with torch.profiler.profile() as seen:
        watched = dynamic_routing(votes, backend="cpu")
    with torch.profiler.profile() as learning:
        dynamic_routing(LinearVotes(pose, weight.requires_grad_()), backend="cpu")
    for profile in (seen, learning):
        assert "torchcaps::routing_cpu" in {event.name for event in profile.events()}
    with ModesThatSee() as mode:
        dynamic_routing(votes, backend="cpu")
    assert "torchcaps.routing_cpu.default" in mode.ops
    assert not is_watched(pose, weight.detach())
    torch.testing.assert_close(
        dynamic_routing(LinearVotes(pose, weight.detach()), backend="cpu"), watched, rtol=0, atol=0
    )


class ModesThatSee(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("samples", [1, 4, 40])
def test_backward_may_be_asked_for_twice_and_by_parts(samples: int) -> None:
    """With very few samples, the votes of forward serve backward too, which overwrites them."""
    pose, weight = factors((samples, 70, 3, 5, 8))
    exact = routed(pose.double(), weight.double(), torch.ones(samples, 3, 5).double(), 3)
    pose.requires_grad_()
    weight.requires_grad_()
    out = dynamic_routing(LinearVotes(pose, weight), backend="cpu").pose.sum()
    for leaves in ((pose, weight), (weight,), (pose,), (pose, weight)):
        gradients = torch.autograd.grad(out, leaves, retain_graph=True)
        for leaf, gradient in zip(leaves, gradients):
            expected = exact[1 if leaf is pose else 2].float()
            torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        weight += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_backward_alone_is_seen_by_those_who_look_for_it() -> None:
    pose, weight = factors((3, 20, 4, 5, 6))
    out = dynamic_routing(LinearVotes(pose.requires_grad_(), weight), backend="cpu").pose.sum()
    with torch.profiler.profile() as profile:
        out.backward(retain_graph=True)
    assert "torchcaps::routing_cpu_backward" in {event.name for event in profile.events()}
    with FlopCounterMode(display=False) as counter:
        out.backward()
    assert counter.get_total_flops() > 0


@pytest.mark.parametrize("samples", [2, 40])
@pytest.mark.parametrize("shared", [False, True])
def test_many_gradients_at_once_are_those_one_by_one(samples: int, shared: bool) -> None:
    pose, weight = factors((samples, 20, 2, 3, 8))
    weight = weight[:1] if shared else weight

    def route(pose: Tensor) -> Tensor:
        return dynamic_routing(LinearVotes(pose, weight), backend="cpu").pose.sum(dim=0)

    jacobian = torch.autograd.functional.jacobian
    at_once, one_by_one = (jacobian(route, pose, vectorize=way) for way in (True, False))
    torch.testing.assert_close(at_once, one_by_one)


@pytest.mark.parametrize("samples", [1, 2, 9, 40])
@pytest.mark.parametrize("kind", ["own", "expanded", "shared"])
def test_backward_takes_what_hooks_have_saved(samples: int, kind: str) -> None:
    """A copy, of other strides, and not what has become of the tensors since."""
    pose, weight = factors((samples, 70, 3, 5, 8))
    if kind != "own":
        weight = weight[:1]
    used = weight.expand(70, -1, -1, -1) if kind == "expanded" else weight
    exact = routed(pose.double(), used.double(), torch.ones(samples, 3, 5).double(), 3)
    pose.requires_grad_()
    used.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x.clone(), lambda x: x):
        out = dynamic_routing(LinearVotes(pose, used), backend="cpu").pose.sum()
    with torch.no_grad():
        weight += 1
    for found, true in zip(torch.autograd.grad(out, (pose, used)), exact[1:]):
        torch.testing.assert_close(found.double(), true, rtol=1e-4, atol=1e-5)


def test_parts_of_conjugates_are_what_they_mean() -> None:
    pose, weight = factors((3, 20, 4, 5, 6))
    negative = torch.complex(pose, -pose).conj().imag
    assert negative.is_neg()
    leaves = [negative.detach().requires_grad_(), weight.requires_grad_()]
    upstream = torch._neg_view(torch.ones(3, 4, 5))
    for backend in ("cpu", "reference"):
        out = dynamic_routing(LinearVotes(*leaves), backend=backend).pose
        gradients = [out, *torch.autograd.grad(out, leaves, upstream)]
        if backend == "cpu":
            ours = gradients
    for found, expected in zip(ours, gradients):
        torch.testing.assert_close(found, expected)


def test_shared_weights_of_many_samples_on_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """More blocks than parts of the gradient of W, strided poses, and the same bits."""
    pose, weight = factors((1100, 3, 2, 3, 4))
    upstream = torch.randn(1100, 2, 3)
    exact = routed(pose.double(), weight[:1].double(), upstream, 3, backend="reference")
    strided = pose.mT.contiguous().mT
    expanded = pose[:, :1].expand(-1, 3, -1)
    alone = routed(pose, weight[:1], upstream, 3, backend="cpu")
    monkeypatch.setattr(loops_on_threads, "WORTH_A_THREAD", 1)
    torch.set_num_threads(3)
    try:
        for given in (pose, strided):
            for found, same, true in zip(
                routed(given, weight[:1], upstream, 3, backend="cpu"), alone, exact
            ):
                assert torch.equal(found, same)
                torch.testing.assert_close(found, true, rtol=1e-3, atol=1e-5)
        of_one = dynamic_routing(LinearVotes(expanded, weight[:1]), backend="cpu").pose
    finally:
        torch.set_num_threads(1)
    copied = LinearVotes(expanded.contiguous(), weight[:1])
    assert torch.equal(of_one, dynamic_routing(copied, backend="cpu").pose)


def test_it_compiles_as_one_graph_with_its_backward() -> None:
    pose, weight = factors((2, 70, 3, 5, 6))
    mask = torch.rand(2, 70) < 0.6

    def route(pose: Tensor, weight: Tensor) -> Tensor:
        return dynamic_routing(LinearVotes(pose, weight), mask=mask).pose

    compiled = torch.compile(route, fullgraph=True, backend="aot_eager")
    results = []
    for function in (route, compiled):
        leaves = [pose.clone().requires_grad_(), weight.clone().requires_grad_()]
        out = function(*leaves)
        results.append([out, *torch.autograd.grad(out.sum(), leaves)])
    for ours, expected in zip(*results):
        torch.testing.assert_close(ours, expected)


def test_an_exported_program_holds_the_reference() -> None:
    class Layer(torch.nn.Module):
        def forward(self, pose: Tensor, weight: Tensor) -> Tensor:
            return dynamic_routing(LinearVotes(pose, weight)).pose

    pose, weight = factors((2, 70, 3, 5, 6))
    exported = torch.export.export(Layer(), (pose, weight))
    assert "routing_cpu" not in str(exported.graph)
    torch.testing.assert_close(exported.module()(pose, weight), Layer()(pose, weight))


def test_a_second_derivative_is_refused_in_words() -> None:
    pose, weight = (factor.requires_grad_() for factor in factors((1, 5, 2, 3, 2)))
    out = dynamic_routing(LinearVotes(pose, weight), backend="cpu").pose
    (first,) = torch.autograd.grad(out.sum(), pose, create_graph=True)
    with pytest.raises(RuntimeError, match="pass backend='reference'"):
        first.sum().backward()


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
def test_transforms_and_forward_mode_take_the_reference() -> None:
    pose, weight = factors((1, 70, 4, 5, 6))
    tangent = torch.randn_like(pose)

    def route(x: Tensor, backend: str = "auto") -> Tensor:
        return dynamic_routing(LinearVotes(x, weight), backend=backend).pose

    found = torch.func.jvp(route, (pose,), (tangent,))[1]
    expected = torch.func.jvp(lambda x: route(x, "reference"), (pose,), (tangent,))[1]
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected)
    gradient = torch.func.grad(lambda x: route(x).sum())(pose)
    torch.testing.assert_close(
        gradient, routed(pose, weight, torch.ones(1, 4, 5), 3)[1].float(), rtol=1e-4, atol=1e-6
    )
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(pose, tangent)
        out = torch.autograd.forward_ad.unpack_dual(route(dual)).tangent
    torch.testing.assert_close(out, expected)


def test_no_votes_are_kept_for_backward() -> None:
    pose, weight = (factor.requires_grad_() for factor in factors((32, 256, 10, 16, 8)))
    votes = LinearVotes(pose, weight)
    kept = bytes_kept_for_backward(lambda: dynamic_routing(votes, backend="cpu").pose)
    bytes_of_votes = 32 * 256 * 10 * 16 * 4
    factors_themselves = pose.nbytes + weight.nbytes
    assert kept - factors_themselves < bytes_of_votes / 10


def test_it_works_on_shapes_alone() -> None:
    pose, weight = (factor.to("meta") for factor in factors((2, 70, 3, 5, 6)))
    assert dynamic_routing(LinearVotes(pose, weight)).pose.shape == (2, 3, 5)


def call(votes: Votes) -> dispatch.Call:
    return DynamicRouting(3).call(votes)


def test_auto_takes_it_where_it_can_and_says_why_where_it_cannot() -> None:
    pose, weight = factors((2, 70, 3, 5, 6))
    assert dispatch.choose_backend("auto", call(LinearVotes(pose, weight))) == "cpu"
    assert dispatch.choose_backend("reference", call(LinearVotes(pose, weight))) == "reference"
    refused = {
        "it takes LinearVotes": FormedVotes(torch.randn(2, 3, 4, 5)),
        "there are no votes": LinearVotes(pose[:0], weight),
        "the votes are on meta": LinearVotes(pose.to("meta"), weight.to("meta")),
    }
    for reason, votes in refused.items():
        assert dispatch.choose_backend("auto", call(votes)) == "reference"
        with pytest.raises(ValueError, match=reason):
            dispatch.choose_backend("cpu", call(votes))
    both = LinearVotes(pose[:0].to("meta"), weight.to("meta"))
    with pytest.raises(ValueError, match="the votes are on meta; there are no votes"):
        dynamic_routing(both, backend="cpu")


def test_the_compiled_code_is_kept_between_processes_and_a_read_only_folder_is_no_error(
    tmp_path,
) -> None:
    code = (
        "import torch, torchcaps\n"
        "u, W = torch.randn(40, 5, 2), torch.randn(5, 2, 3, 2)\n"
        "torchcaps.dynamic_routing(torchcaps.LinearVotes(u, W), backend='cpu')\n"
        "from torchcaps.kernels.dynamic_cpu import loops\n"
        "from torchcaps.kernels.openmp_team import team_loop\n"
        "print(sum(team_loop(loops.iterate).stats.cache_hits.values()))"
    )

    def hits(cache: str) -> int:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert hits(str(tmp_path)) == 0
    assert hits(str(tmp_path)) == 1
    (tmp_path / "file").touch()
    hits(str(tmp_path / "file" / "below"))


@pytest.mark.parametrize("detach", [False, True])
def test_the_operations_of_shared_weights_are_counted(detach: bool) -> None:
    """No vote is formed: sums of poses, and W for sums of them."""
    B, I, J, D, P = 6, 50, 4, 8, 16
    pose = torch.randn(B, I, P, requires_grad=True)
    weight = torch.randn(1, J, D, P, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        out = dynamic_routing(LinearVotes(pose, weight), 2, detach=detach, backend="cpu").pose
        forward = counter.get_total_flops()
        out.sum().backward()
    assert forward == 2 * B * P * (I + 2 * I * J + 3 * J * D)
    sums, products = (4 * I * J, 2 + 4) if detach else (6 * I * J + 2 * I, 1 + 3 + 4)
    assert counter.get_total_flops() - forward == 2 * B * P * (sums + products * J * D)
