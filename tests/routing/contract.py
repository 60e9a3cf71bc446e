"""What every routing algorithm promises, and the laws that one may declare: each a function.

A check takes `make`, which gives a routing ready for I × P → J × D capsules, what it learns drawn
at random, and fails by an AssertionError. `UNIVERSAL` holds for all; `DECLARED` has a check for
every `Law`. Everything is in float64 unless it is about number formats.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.saved_for_backward import bytes_kept_for_backward
from torchcaps import Capsules, LinearVotes, Routing
from torchcaps.routing import Law, create_routing, routing_config

DOUBLE = torch.float64
I, J, D, P = 7, 4, 5, 6
AnyRouting = Routing[Any, Any]
Make = Callable[..., AnyRouting]  # of in_caps, out_caps, out_dim, in_dim; default I, J, D, P


def factors(
    inputs: int = I, outputs: int = J, dim: int = D, in_dim: int = P, batch: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """u, W and a."""
    u = torch.randn(batch, inputs, in_dim, dtype=DOUBLE)
    W = torch.randn(inputs, outputs, dim, in_dim, dtype=DOUBLE)
    return u, W, torch.rand(batch, inputs, dtype=DOUBLE)


def results(
    routing: AnyRouting, leaves: list[Tensor], a: Tensor | None, mask: Tensor | None = None
) -> list[Tensor]:
    """Pose, activation, and the gradients of the factors, of a and of what is learned."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    a = None if a is None else a.clone().requires_grad_()
    pose, activation = routing(LinearVotes(*leaves), a, mask)
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(x.shape, generator=generator).to(x.dtype) for x in (pose, activation)]
    wanted = [*leaves, *([] if a is None else [a]), *routing.parameters()]
    found = torch.autograd.grad(
        [pose, activation], wanted, upstream, allow_unused=True, materialize_grads=True
    )
    return [pose, activation, *found]


def assert_all_close(found: list[Tensor], expected: list[Tensor], **tolerance: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def without_children(routing: AnyRouting, make: Make) -> AnyRouting:
    """The same routing built for the first I children: it has what is learned for them."""
    short = make(in_caps=I)
    with torch.no_grad():
        of_all = routing.state_dict()
        for name, mine in short.state_dict().items():
            mine.copy_(of_all[name][tuple(slice(0, size) for size in mine.shape)])
    return short


# --- universal


def samples_are_independent(make: Make) -> None:
    u, W, a = factors()
    routing = make()
    together = routing(LinearVotes(u, W), a)
    for n in range(len(u)):
        alone = routing(LinearVotes(u[n : n + 1], W), a[n : n + 1])
        torch.testing.assert_close(alone.pose[0], together.pose[n])
        torch.testing.assert_close(alone.activation[0], together.activation[n])


def a_masked_child_is_no_child(make: Make) -> None:
    """Whatever it holds, with a bias and without: no output, no gradient."""
    u, W, a = factors(inputs=I + 2)
    mask = torch.tensor([True] * I + [False] * 2).expand(3, I + 2)
    routing = make(in_caps=I + 2)
    short = without_children(routing, make)
    for bias in ([], [torch.randn(J, D, dtype=DOUBLE)]):
        expected = results(short, [u[:, :I], W[:I], *bias], a[:, :I])
        for padding in (0.0, 1e3, float("nan"), float("inf")):
            padded, sure = u.clone(), a.clone()
            padded[:, I:], sure[:, I:] = padding, padding
            found = results(routing, [padded, W, *bias], sure, mask)
            for one, other in zip(found, expected, strict=True):
                if one.shape != other.shape:
                    inside = tuple(slice(0, size) for size in other.shape)
                    beyond = one.clone()
                    beyond[inside] = 0
                    assert torch.equal(beyond, torch.zeros_like(beyond))
                    one = one[inside]
                torch.testing.assert_close(one, other)


def formed_votes_give_the_same(make: Make) -> None:
    u, W, a = factors()
    routing = make()
    if routing.needs_pose:
        return
    votes = LinearVotes(u, W)
    mask = torch.rand(3, I) < 0.7
    poisoned = votes.materialize().masked_fill(~mask[..., None, None], torch.nan)
    expected = routing(votes, a, mask)
    routing.backend = "auto"
    assert_all_close(list(routing(poisoned, a, mask)), list(expected))


def all_masked_is_finite(make: Make) -> None:
    u, W, a = factors(batch=2)
    mask = torch.tensor([[False] * I, [True] * I])
    routing = make()
    found = results(routing, [u, W], a, mask)
    assert all(bool(part.isfinite().all()) for part in found)
    assert torch.equal(found[2][0], torch.zeros_like(u[0]))
    alone = routing(LinearVotes(u[1:], W), a[1:])
    torch.testing.assert_close(found[0][1], alone.pose[0])


def everything_is_finite_at_any_size(make: Make) -> None:
    for inputs, dim in ((I, D), (1, D), (I, 1)):
        for dtype in (torch.float32, DOUBLE):
            for size in (0.0, 1e-30, 1e-8, 1e8, 1e30):
                for activity in (0.0, 1e-30, 1.0):
                    u, W, a = (x.to(dtype) for x in factors(inputs, dim=dim))
                    routing = make(in_caps=inputs, out_dim=dim).to(dtype)
                    for part in results(routing, [size * u, W], activity * a):
                        assert bool(part.isfinite().all()), (inputs, dim, dtype, size, activity)


def equal_votes_and_single_capsules_are_finite(make: Make) -> None:
    u, W, a = factors()
    same = [u[:, :1].expand_as(u), W[:1].expand_as(W)]
    assert all(bool(part.isfinite().all()) for part in results(make(), same, a))
    for inputs, outputs, dim, in_dim in ((1, 1, 1, 1), (9, 3, 2, 4), (1, 3, 2, 4), (9, 1, 2, 4)):
        for batch in (1, 4):
            u, W, a = factors(inputs, outputs, dim, in_dim, batch)
            routing = make(inputs, outputs, dim, in_dim)
            found = results(routing, [u, W], a)
            assert found[0].shape == (batch, outputs, dim)
            assert found[1].shape == (batch, outputs)
            assert all(bool(part.isfinite().all()) for part in found)


def nothing_comes_of_nothing(make: Make) -> None:
    """An empty batch, no input capsules at all, no output capsules; votes without a component are
    refused."""
    u, W, a = factors(batch=0)
    routing = make()
    routing.backend = "auto"
    assert routing(LinearVotes(u, W), a).pose.shape == (0, J, D)
    none = LinearVotes(torch.zeros(2, 0, P, dtype=DOUBLE), torch.zeros(0, J, D, P, dtype=DOUBLE))
    routing = make(in_caps=1)
    routing.backend = "auto"
    if not routing.needs_pose:
        assert all(bool(part.isfinite().all()) for part in routing(none))
    for inputs in (0, I):
        if not routing.makes_votes and (inputs or not routing.needs_pose):
            without = make(in_caps=I, out_caps=0)
            without.backend = "auto"
            u, W, a = factors(inputs, outputs=0)
            pose, activation, *_ = results(without, [u, W], a)
            assert (pose.shape[:-1], activation.shape) == ((3, 0), (3, 0))
            assert without.trace(LinearVotes(u, W), a).coupling.shape[-2:] == (inputs, 0)
    u, W, a = factors(dim=0)
    with pytest.raises(ValueError, match=r"votes .* must have at least one component"):
        make()(LinearVotes(u, W), a)


def the_order_of_the_outputs_is_carried_through(make: Make) -> None:
    u, W, a = factors()
    order = torch.randperm(J)
    routing = make()
    other = copy.deepcopy(routing)
    for value in other.state_dict().values():
        if J in value.shape:
            value.copy_(value.index_select(value.shape.index(J), order))
    expected = routing(LinearVotes(u, W), a)
    found = other(LinearVotes(u, W[:, order]), a)
    assert_all_close(list(found), [expected.pose[:, order], expected.activation[:, order]])


def any_leading_axes(make: Make) -> None:
    u, W, a = factors(batch=6)
    routing = make()
    flat = routing(LinearVotes(u, W), a)
    nested = routing(LinearVotes(u.view(2, 3, I, P), W), a.view(2, 3, I))
    assert_all_close(list(nested), [flat.pose.view(2, 3, J, D), flat.activation.view(2, 3, J)])
    alone = routing(LinearVotes(u[0], W), a[0])
    assert_all_close(list(alone), [flat.pose[0], flat.activation[0]])


def strides_do_not_matter(make: Make) -> None:
    u, W, a = factors()
    routing = make()
    expected = results(routing, [u, W], a)
    scattered = [u.mT.contiguous().mT, W.movedim(0, 3).contiguous().movedim(3, 0)]
    wide = torch.stack([a, a], dim=-1)[..., 0]
    assert_all_close(results(routing, scattered, wide), expected)
    shared = W[:1].expand_as(W)
    found = routing(LinearVotes(u, shared), a)
    for votes in (LinearVotes(u, shared.contiguous()), LinearVotes(u, W[:1])):
        assert_all_close(list(routing(votes, a)), list(found))


def number_formats_are_kept(make: Make) -> None:
    """Half precision is computed in float32, under autocast too."""
    u, W, a = (x.float() for x in factors(inputs=300))
    routing = make(in_caps=300).float()
    plain = routing(LinearVotes(u, W), a)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_all_close(list(routing(LinearVotes(u, W), a)), list(plain), rtol=0, atol=0)
    for dtype in (torch.bfloat16, torch.float16):
        half = [x.to(dtype) for x in (u, W, a)]
        found = routing(LinearVotes(*half[:2]), half[2])
        exact = copy.deepcopy(routing).double()
        expected = exact(LinearVotes(*(x.double() for x in half[:2])), half[2].double())
        for one, other in zip(found, expected):
            assert one.dtype == dtype
            rtol = 2 * torch.finfo(dtype).eps
            torch.testing.assert_close(one.double(), other, rtol=rtol, atol=2e-3)


def gradients_are_those_of_finite_differences(make: Make) -> None:
    u, W, a = factors(3, 2, 2, 2, batch=1)
    routing = make(3, 2, 2, 2)
    learned = dict(routing.named_parameters())
    bias = torch.randn(2, 2, dtype=DOUBLE)
    leaves = [x.clone().requires_grad_() for x in (u, W, bias, a, *learned.values())]

    def route(*tensors: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(learned, tensors[4:]))
        arguments = (LinearVotes(*tensors[:3]), tensors[3])
        capsules: Capsules = torch.func.functional_call(routing, values, arguments)
        return tuple(capsules)

    assert torch.autograd.gradcheck(route, leaves)


def it_is_saved_and_loaded(make: Make) -> None:
    routing = make()
    config = json.loads(json.dumps(routing_config(routing)))
    again = create_routing(config).build(I, P, J, D).to(DOUBLE).eval()
    again.load_state_dict(routing.state_dict())
    u, W, a = factors()
    expected = routing(LinearVotes(u, W), a)
    again.backend = routing.backend
    assert_all_close(list(again(LinearVotes(u, W), a)), list(expected), rtol=0, atol=0)
    for name, value in routing.options().items():
        assert f"{name}={value!r}" in repr(routing)


def what_is_traced_is_what_is_returned(make: Make) -> None:
    u, W, a = factors()
    mask = torch.rand(3, I) < 0.7
    routing = make()
    trace = routing.trace(LinearVotes(u, W), a, mask)
    pose, activation = routing(LinearVotes(u, W), a, mask)
    torch.testing.assert_close(trace.pose[-1], pose)
    torch.testing.assert_close(trace.activation[-1], activation)
    assert trace.coupling.shape == trace.logits.shape == (routing.sweeps, 3, I, J)
    assert torch.equal(trace.coupling[:, ~mask], torch.zeros_like(trace.coupling[:, ~mask]))


def tiles_are_as_all_at_once(make: Make) -> None:
    """Outputs and every gradient; uneven tiles; mask, bias, shared weights, activations or none."""
    routing = make()
    if not routing.by_tiles:
        return
    u, W, a = factors()
    mask = torch.rand(3, I) < 0.7
    biases: list[list[Tensor]] = [
        [], [torch.randn(J, D, dtype=DOUBLE)], [torch.randn(I, J, D, dtype=DOUBLE)]
    ]  # fmt: skip
    for bias in biases:
        for weight in (W, W[:1]):
            for activation, masked in ((a, mask), (None, None)):
                found = []
                for backend in ("tiles", "reference"):
                    routing.backend = backend
                    leaves = [u, weight, *(bias if len(weight) == I else bias[:0])]
                    found.append(results(routing, leaves, activation, masked))
                assert_all_close(*found, rtol=1e-12, atol=1e-12)


def tiles_hold_no_votes(make: Make) -> None:
    """What is kept for backward is a small part of the votes."""
    routing = make(in_caps=256).float()
    if not routing.by_tiles:
        return
    routing.backend = "tiles"
    u, W, a = (x.float().requires_grad_() for x in factors(inputs=256, batch=50))
    votes = LinearVotes(u, W)
    kept = bytes_kept_for_backward(lambda: routing(votes, a).pose)
    given = sum(x.nbytes for x in (u, W, a))
    assert kept - given < 0.2 * votes.shape.numel() * 4


def it_goes_through_transforms(make: Make) -> None:
    """vmap over samples, and the gradient of one."""
    u, W, a = factors()
    routing = make()
    routing.backend = "auto"
    expected = routing(LinearVotes(u, W), a).pose
    found = torch.func.vmap(lambda u, a: routing(LinearVotes(u, W), a).pose)(u, a)
    torch.testing.assert_close(found, expected)

    def total(u: Tensor) -> Tensor:
        return routing(LinearVotes(u, W), a).pose.square().sum()

    leaf = u.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(total)(u), torch.autograd.grad(total(leaf), leaf)[0])


def it_compiles_as_one_graph(make: Make) -> None:
    u, W, a = (x.float() for x in factors())
    mask = torch.rand(3, I) < 0.8
    routing = make().float()
    routing.backend = "auto"

    def run(u: Tensor, W: Tensor, a: Tensor) -> Capsules:
        return routing(LinearVotes(u, W), a, mask)

    torch.compiler.reset()  # or it takes the graphs of other routings for recompilations
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert_all_close(list(compiled(u, W, a)), list(run(u, W, a)), rtol=1e-4, atol=1e-5)


def it_exports(make: Make) -> None:
    routing = make()
    routing.backend = "auto"

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.routing = routing

        def forward(self, u: Tensor, W: Tensor, a: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.routing(LinearVotes(u, W), a))

    arguments = factors()
    exported = torch.export.export(Layer(), arguments)
    assert_all_close(list(exported.module()(*arguments)), list(Layer()(*arguments)))


UNIVERSAL = [
    samples_are_independent,
    a_masked_child_is_no_child,
    formed_votes_give_the_same,
    all_masked_is_finite,
    everything_is_finite_at_any_size,
    equal_votes_and_single_capsules_are_finite,
    nothing_comes_of_nothing,
    the_order_of_the_outputs_is_carried_through,
    any_leading_axes,
    strides_do_not_matter,
    number_formats_are_kept,
    it_is_saved_and_loaded,
    what_is_traced_is_what_is_returned,
]
BY_TILES = [tiles_are_as_all_at_once, tiles_hold_no_votes]
# Of these one backend says all.
ONCE = [
    it_goes_through_transforms,
    it_compiles_as_one_graph,
    it_exports,
]


# --- declared


def opposite_votes_give_opposite_poses(make: Make) -> None:
    u, W, a = factors()
    routing = make()
    found, expected = routing(LinearVotes(-u, W), a), routing(LinearVotes(u, W), a)
    assert_all_close(list(found), [-expected.pose, expected.activation])


def rotated_votes_give_rotated_poses(make: Make) -> None:
    u, W, a = factors()
    rotation, _ = torch.linalg.qr(torch.randn(D, D, dtype=DOUBLE))
    turned = torch.einsum("ed,ijdp->ijep", rotation, W)
    routing = make()
    found, expected = routing(LinearVotes(u, turned), a), routing(LinearVotes(u, W), a)
    assert_all_close(list(found), [expected.pose @ rotation.T, expected.activation])


def activation_is_the_length_of_the_pose(make: Make) -> None:
    u, W, a = factors()
    pose, activation = make()(LinearVotes(u, W), a)
    torch.testing.assert_close(activation, pose.norm(dim=-1))
    assert bool((activation <= 1).all())


def the_order_of_the_inputs_is_free(make: Make) -> None:
    u, W, a = factors()
    order = torch.randperm(I)
    routing = make()
    found = routing(LinearVotes(u[:, order], W[order]), a[:, order])
    assert_all_close(list(found), list(routing(LinearVotes(u, W), a)))


def couplings_of_a_child_sum_to_one(make: Make) -> None:
    u, W, a = factors()
    coupling = make().trace(LinearVotes(u, W), a).coupling
    assert bool((coupling >= 0).all())
    torch.testing.assert_close(coupling.sum(dim=-1), torch.ones_like(coupling[..., 0]))


def a_child_that_is_not_active_changes_nothing(make: Make) -> None:
    u, W, a = factors(inputs=I + 2)
    a[:, I:] = 0
    routing = make(in_caps=I + 2)
    found = results(routing, [u, W], a)
    short = without_children(routing, make)
    expected = short(LinearVotes(u[:, :I], W[:I]), a[:, :I])
    assert_all_close(found[:2], list(expected))
    assert torch.equal(found[2][:, I:], torch.zeros_like(u[:, I:]))
    assert torch.equal(found[3][I:], torch.zeros_like(W[I:]))


DECLARED: dict[Law, Callable[[Make], None]] = {
    Law.ODD: opposite_votes_give_opposite_poses,
    Law.ROTATION_EQUIVARIANT: rotated_votes_give_rotated_poses,
    Law.LENGTH_IS_ACTIVATION: activation_is_the_length_of_the_pose,
    Law.INPUT_ORDER_IS_FREE: the_order_of_the_inputs_is_free,
    Law.COUPLING_SHARES_ONE_UNIT: couplings_of_a_child_sum_to_one,
    Law.INACTIVE_INPUTS_HAVE_NO_INFLUENCE: a_child_that_is_not_active_changes_nothing,
}
