"""The CPU kernel of sums against the reference, all votes held: every routing that it serves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.kernels.routed_sums import (
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
from tests.saved_for_backward import bytes_kept_for_backward
from torchcaps import LinearVotes, create_routing
from torchcaps.kernels.dispatch import choose_backend
from torchcaps.kernels.sweeps_cpu import op
from torchcaps.routing import Routing, base, packed
from torchcaps.votes import MatrixVotes, Votes, Windows, WindowVotes

WINDOWS = Windows((7, 6), (3, 3), (2, 1), (1, 0))
# One and odd numbers of everything; fewer and more samples than lie side by side, and inputs than
# are added up in a row.
SHAPES: dict[str, Callable[[], Made]] = {
    "ones": lambda: linear(1, 1, 1, 2, 1),
    "one parent": lambda: linear(3, 5, 1, 4, 3),
    "odd": lambda: linear(3, 130, 3, 5, 7),
    "many": lambda: linear(37, 7, 4, 8, 8),
    "matrices": lambda: matrices(2, 70, 3, 3, 3, 3),
    "flat matrices": lambda: matrices(17, 5, 2, 2, 5, 3),
    "windows": lambda: windows(WINDOWS, 2, 3, 5, 2),
    "one type": lambda: windows(WINDOWS, 1, 1, 1, 4),
}
EVERY = [
    (name, shape)
    for name in NAMES
    for shape in SHAPES
    if name != "self_routing" or shape not in ("windows", "one type")
]


@pytest.mark.parametrize(("name", "shape"), EVERY)
@pytest.mark.usefixtures("poisoned")
def test_it_is_the_reference_in_float64(name: str, shape: str) -> None:
    torch.manual_seed(0)
    made = SHAPES[shape]()
    every: list[dict[str, Any]] = [{}, {"detach": True}, {"iterations": 1}]
    for options in every[:1] if name.startswith("self") else every:
        routing, activation = built(name, made, **options), activations(made)
        mask = torch.rand_like(activation) < 0.7
        for counted in (None, mask):
            exact = routed(routing, made, "reference", torch.float64, activation, counted)
            found = routed(routing, made, "cpu", torch.float64, activation, counted)
            for ours, true in zip(found, exact, strict=True):
                torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-9 * (1 + rms(true)))


@pytest.mark.parametrize(
    ("name", "shape"), [case for case in EVERY if case[1] in ("odd", "matrices", "windows")]
)
def test_it_is_as_exact_as_eager_float32(name: str, shape: str) -> None:
    assert_as_exact_as_eager(name, SHAPES[shape], "cpu", 5, activations)


@pytest.mark.parametrize("shape", [(4, 5), (70, 4, 5)], ids=str)
def test_a_bias_of_the_votes_and_a_mask(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    _, factors, outputs = linear(3, 70, 4, 5, 6)
    made: Made = (LinearVotes, [*factors, torch.randn(shape)], outputs)
    mask = torch.rand(3, 70) < 0.6
    for name in NAMES:
        routing = create_routing(name).build(70, 6, *outputs).eval()
        exact = routed(routing, made, "reference", torch.float64, None, mask)
        found = routed(routing, made, "cpu", torch.float64, None, mask)
        for ours, true in zip(found, exact, strict=True):
            torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e8, 1e30])
def test_it_is_finite_at_any_size(name: str, size: float) -> None:
    torch.manual_seed(0)
    votes_of, (pose, weight), outputs = linear(2, 30, 3, 5, 6)
    made: Made = (votes_of, [size * pose, weight], outputs)
    routing = built(name, made)
    tiles = routed(routing, made, "tiles", torch.float32)
    for ours, expected in zip(routed(routing, made, "cpu", torch.float32), tiles, strict=True):
        assert ours.isfinite().all()
        if size > 1:  # votes whose squares might overflow go by tiles
            assert torch.equal(ours, expected)


@pytest.mark.parametrize(("name", "options"), [("self_routing", {}), ("em", {"mass_floor": 0.0})])
@pytest.mark.parametrize("size", [2e-38, 4e-37, 2e-35, 1e-33])
@pytest.mark.parametrize("others", [False, True])
def test_activities_hardly_above_zero_count_beside_each_other(
    name: str, options: dict[str, Any], size: float, others: bool
) -> None:
    """Of a sample whose active children all are, alone or beside samples of ordinary activities:
    its sums are divided by sums as small, and what the processor takes for zero would be lost."""
    torch.manual_seed(0)
    made = linear(5, 70, 3, 5, 7)
    routing, activation = built(name, made, **options), activations(made).clamp(min=0.6)
    activation[2 if others else slice(None)] *= size
    exact = routed(routing, made, "reference", torch.float64, activation)
    eager = routed(routing, made, "reference", torch.float32, activation)
    found = routed(routing, made, "cpu", torch.float32, activation)
    for place, (ours, theirs, true) in enumerate(zip(found, eager, exact, strict=True)):
        if place < 2 or size > 1e-36:  # below, slopes overflow: such a sample is constant
            theirs = true
        torch.testing.assert_close(ours / rms(true), theirs / rms(true), rtol=1e-4, atol=1e-4)


def test_what_hardly_comes_to_a_parent_is_averaged_all_the_same() -> None:
    """Of couplings of 1e-36 and less, the products with votes count beside each other."""
    torch.manual_seed(0)
    made = linear(5, 70, 3, 5, 7)
    routing, activation = built("self_routing", made), activations(made)
    with torch.no_grad():
        routing.get_parameter("bias")[:, 1] -= 82
    exact = routed(routing, made, "reference", torch.float64, activation)[0]
    found = routed(routing, made, "cpu", torch.float32, activation)[0]
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_stays_with_its_sample(name: str) -> None:
    torch.manual_seed(0)
    votes_of, (pose, weight), outputs = linear(3, 30, 3, 5, 6)
    pose[1, 3, 2] = torch.nan
    routing = built(name, (votes_of, [pose, weight], outputs))
    routing.backend = "cpu"
    out = routing(LinearVotes(pose, weight)).pose
    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_leading_axes_strides_and_half_precision(name: str) -> None:
    torch.manual_seed(0)
    made = linear(6, 30, 4, 5, 6)
    _, (pose, weight), _ = made
    routing = built(name, made)
    routing.backend = "cpu"
    flat = routing(LinearVotes(pose, weight)).pose
    nested = routing(LinearVotes(pose.unflatten(0, (2, 3)), weight)).pose
    assert torch.equal(nested.flatten(0, 1), flat)
    one = routing(LinearVotes(pose[0], weight)).pose
    torch.testing.assert_close(one, flat[0], rtol=1e-4, atol=1e-5)
    strided = LinearVotes(pose.mT.contiguous().mT, weight.mT.contiguous().mT)
    assert torch.equal(routing(strided).pose, flat)
    half = routing(LinearVotes(pose.bfloat16(), weight.bfloat16())).pose
    wide = routing(LinearVotes(pose.bfloat16().float(), weight.bfloat16().float())).pose
    assert torch.equal(half, wide.bfloat16())


def test_a_weight_whose_sign_is_still_to_come() -> None:
    _, (pose, weight), _ = made = linear(3, 6, 3, 5, 6)
    routing = built("em", made, backend="cpu")
    expected = routing(LinearVotes(pose, weight)).pose
    assert torch.equal(routing(LinearVotes(pose, torch._neg_view(-weight))).pose, expected)


def test_the_same_bits_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchcaps.kernels.loops_on_threads.WORTH_A_THREAD", 1)
    made = windows(WINDOWS, 20, 9, 3, 2)
    routing, activation = built("em", made), activations(made)
    alone = routed(routing, made, "cpu", torch.float32, activation)
    torch.set_num_threads(3)
    try:
        shared = routed(routing, made, "cpu", torch.float32, activation)
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone[:3], shared[:3]):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_no_votes_are_kept_for_backward(name: str) -> None:
    made = linear(32, 256, 10, 16, 8)
    leaves = [factor.requires_grad_() for factor in made[1]]
    routing = built(name, made)
    routing.backend = "cpu"
    kept = bytes_kept_for_backward(lambda: routing(LinearVotes(*leaves)).pose)
    copies = 3 * sum(leaf.nbytes for leaf in leaves)  # packed, and of the weights another kind
    assert kept - copies < 32 * 256 * 10 * 16 * 4 / 5


def test_a_second_derivative_is_refused_in_words() -> None:
    made = linear(2, 5, 3, 4, 2)
    pose, weight = (factor.requires_grad_() for factor in made[1])
    routing = built("em", made)
    routing.backend = "cpu"
    out = routing(LinearVotes(pose, weight)).pose
    with pytest.raises(RuntimeError, match="pass backend='reference'"):
        torch.autograd.grad(out.sum(), pose, create_graph=True)


def test_auto_takes_it_where_it_can_and_says_why_where_it_cannot() -> None:
    _, (pose, weight), outputs = linear(40, 200, 10, 16, 4)  # 5 MB of votes
    made: Made = (LinearVotes, [pose, weight], outputs)
    routing = built("em", made)
    assert choose_backend("auto", routing.call(LinearVotes(pose, weight))) == "cpu"
    few = LinearVotes(pose[:2], weight)
    assert choose_backend("auto", routing.call(few)) == "reference"
    matrix = MatrixVotes(pose, torch.randn(200, 10, 2, 2), torch.randn(10, 4))
    refused: dict[str, tuple[Routing[Any, Any], Votes]] = {
        "weights of each input capsule's own": (routing, LinearVotes(pose, weight[:1])),
        "LinearVotes and MatrixVotes, and these are formed": (routing, WindowVotes.of(
            torch.randn(1, 2, 2, 9, 10, 16), Windows((4, 4), (3, 3), (1, 1), (0, 0))
        )),
        "MatrixVotes without a bias": (routing, matrix),
        "there are no votes": (routing, LinearVotes(pose[:0], weight)),
        "the votes are on meta": (routing, LinearVotes(pose.to("meta"), weight.to("meta"))),
        "it computes covariance='diagonal' alone": (
            built("variational", made, covariance="full"), LinearVotes(pose, weight)
        ),
        "it computes evidence_floor=0 alone": (
            built("variational", made, evidence_floor=1e-11), LinearVotes(pose, weight)
        ),
    }  # fmt: skip
    for reason, (asked, votes) in refused.items():
        with pytest.raises(ValueError, match=reason):
            choose_backend("cpu", asked.call(votes))


def test_the_samples_that_fill_a_block_up_reach_nothing() -> None:
    x = torch.arange(6.0).view(3, 2).requires_grad_()
    blocks = packed.pack_samples(x, 16)
    assert blocks.shape == (1, 2, 16)
    assert torch.equal(blocks[0, :, :3], x.T)
    assert torch.equal(blocks[0, :, 3:], x[-1:].T.expand(2, 13))


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_samples_that_do_not_fit_into_the_cache_at_once(
    name: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 37 there are three blocks of sixteen, or five of eight in float64."""
    made = SHAPES["many"]()
    routing, activation = built(name, made), activations(made)
    exact = routed(routing, made, "reference", torch.float64, activation)
    J, D = made[2]
    monkeypatch.setattr(op, "CACHE", blocks * J * D * 64)
    found = routed(routing, made, "cpu", torch.float64, activation)
    for ours, true in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-9 * rms(true))


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("padding", [float("nan"), 1e30])
def test_what_masked_children_hold_is_not_looked_at(
    padding: float, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for how large the votes are, whether or not that may be waited for."""
    made = linear(5, 12, 3, 4, 6)
    routing, mask = built("em", made), torch.rand(5, 12) < 0.7
    exact = routed(routing, made, "reference", torch.float64, None, mask)
    made[1][0].masked_fill_(~mask.unsqueeze(-1), padding)
    monkeypatch.setattr(base, "may_wait", lambda votes: waits)
    monkeypatch.delattr(base, "route_by_tiles")  # which a size of no ordinary votes would lead to
    found = routed(routing, made, "cpu", torch.float64, None, mask)
    for ours, true in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-9 * rms(true) + 1e-12)
