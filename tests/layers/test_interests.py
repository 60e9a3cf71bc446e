"""The layers of interests: what they promise to a recommender, and what they refuse."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from torchcaps import InterestCaps, LinearVotes, SelfAttentiveInterests, dynamic_routing
from torchcaps.layers import attend_to_interests
from torchcaps.layers.interest_logits import starting_logits
from torchcaps.routing import list_routings
from torchcaps.routing.interests import InterestRouting
from torchcaps.votes import FormedVotes
from torchcaps.votes.interests import InterestVotes

B, S, P, K = 4, 7, 6, 3
LAYERS = {
    "shared": lambda: InterestCaps(P, K),
    "shared, wider": lambda: InterestCaps(P, K, 9, number="log2(1+n)"),
    "interest": lambda: InterestCaps(P, K, maps="interest"),
    "position": lambda: InterestCaps(P, K, maps="position", length=10),
    "position, dynamic": lambda: InterestCaps(
        P, K, maps="position", length=10, routing={"name": "dynamic", "detach": True}
    ),
    "position, self-attention": lambda: InterestCaps(
        P, K, maps="position", length=10, routing="self_attention"
    ),
    "interest, em": lambda: InterestCaps(
        P, K, maps="interest", number="ln(n)", routing={"name": "em", "final_lambda": 0.1}
    ),
    "attention": lambda: SelfAttentiveInterests(P, K),
    "attention, positions": lambda: SelfAttentiveInterests(P, K, 5, length=10),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Any:
    return LAYERS[request.param]()


def test_padding_takes_no_part(layer: Any) -> None:
    items = torch.randn(B, S, P)
    lengths = torch.tensor([7, 3, 1, 0])
    mask = torch.arange(S) < lengths.unsqueeze(1)
    found = layer(items, lengths)
    torch.testing.assert_close(layer(items, mask), found)
    for padding in (9.0, float("nan"), float("inf")):
        padded = items.masked_fill(~mask.unsqueeze(-1), padding).requires_grad_()
        torch.testing.assert_close(layer(padded, lengths), found)
        total = layer(padded, lengths).square().sum()
        gradient, *learned = torch.autograd.grad(
            total, [padded, *layer.parameters()], materialize_grads=True
        )
        assert all(bool(part.isfinite().all()) for part in learned)
        assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))
    torch.testing.assert_close(layer(items[:, :3], lengths.clamp(max=3))[1], found[1])


def test_a_user_without_items_has_zeros(layer: Any) -> None:
    found = layer(torch.randn(B, S, P), torch.zeros(B, dtype=torch.int64))
    assert torch.equal(found, torch.zeros_like(found))
    assert layer(torch.randn(0, S, P)).shape == (0, *found.shape[1:])


ONE_MAP = {"interests", "heinsen2022", "self_routing"}


@pytest.mark.parametrize("name", sorted({*list_routings()} - ONE_MAP))
def test_what_a_routing_has_learned_is_no_interest_of_a_user_without_items(name: str) -> None:
    maps = {"maps": "position", "length": S}
    layer = InterestCaps(P, P, **maps, routing=name).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for value in layer.routing.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value))
    found = layer(torch.randn(2, S, P), torch.tensor([S, 0]))
    assert found[0].abs().amax() > 0
    assert torch.equal(found[1], torch.zeros_like(found[1]))


def test_a_batch_in_which_nobody_has_an_item(layer: Any) -> None:
    found = layer(torch.zeros(2, 0, P))
    assert found.shape[0] == 2
    assert torch.equal(found, torch.zeros_like(found))


def test_autocast_changes_no_type(layer: Any) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(B, S, P)).dtype == torch.float32


def test_users_are_routed_by_themselves_and_always_alike(layer: Any) -> None:
    items, lengths = torch.randn(B, S, P), torch.tensor([7, 3, 1, 5])
    together = layer(items, lengths)
    assert torch.equal(layer(items, lengths), together)
    for n in range(B):
        alone = layer(items[n : n + 1], lengths[n : n + 1])[0]
        torch.testing.assert_close(alone, together[n])
    again = copy.deepcopy(layer)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(items, lengths), together)


def test_interests_differ_and_all_that_is_learned_learns(layer: Any) -> None:
    found = layer(torch.randn(B, S, P))
    assert (found[:, 0] - found[:, 1]).abs().amax() > 1e-3
    found.square().sum().backward()
    for name, parameter in layer.named_parameters():
        if not name.startswith("routing."):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("number", "lengths", "expected"),
    [
        ("all", [0, 1, 50], [5, 5, 5]),
        ("log2(1+n)", [0, 1, 2, 3, 6, 7, 30, 31, 99], [1, 1, 1, 2, 2, 3, 4, 5, 5]),
        ("log2(n)", [0, 1, 2, 3, 4, 5, 8, 9, 99], [1, 1, 1, 2, 2, 3, 3, 4, 5]),
        ("ln(n)", [0, 1, 7, 8, 20, 21, 54, 55, 999], [1, 1, 1, 2, 2, 3, 3, 4, 5]),
    ],
)
def test_how_many_interests(number: str, lengths: list[int], expected: list[int]) -> None:
    layer = InterestCaps(P, 5, number=number)
    present = layer.present(torch.tensor(lengths))
    assert present.sum(dim=1).tolist() == expected
    formula = {"all": lambda n: 5, "log2(1+n)": lambda n: math.floor(math.log2(1 + n)),
               "log2(n)": lambda n: math.ceil(math.log2(n)),
               "ln(n)": lambda n: math.floor(math.log(n))}[number]  # fmt: skip
    for n, count in zip(lengths, expected):
        assert count == (max(1, min(5, formula(n))) if n else expected[0])
    found = layer(torch.randn(1, 9, P), torch.tensor([9]))[0]
    count = int(layer.present(torch.tensor([9])).sum())
    assert (found.abs().sum(dim=1) > 0).tolist() == [True] * count + [False] * (5 - count)


class NoFloat64(TorchDispatchMode):
    """A device that refuses float64, as MPS does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        assert getattr(made, "dtype", None) != torch.float64
        return made


@pytest.mark.parametrize("number", ["all", "log2(1+n)", "log2(n)", "ln(n)"])
def test_how_many_interests_is_found_without_float64(number: str) -> None:
    layer = InterestCaps(P, 50, number=number)
    with NoFloat64():
        assert layer.present(torch.tensor([0, 2**30])).sum(dim=1).tolist() == {
            "all": [50, 50], "log2(1+n)": [1, 30], "log2(n)": [1, 30], "ln(n)": [1, 20]
        }[number]  # fmt: skip


def test_logits_are_drawn_where_there_is_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []

    def to(tensor: Tensor, device: torch.device) -> Tensor:
        moved.append((device, tensor.dtype))
        return tensor

    monkeypatch.setattr(Tensor, "to", to)
    found = starting_logits(S, K, device="mps")
    assert moved == [(torch.device("mps"), torch.float32)]
    monkeypatch.undo()
    torch.testing.assert_close(found, starting_logits(S, K).float())


def test_attention_draws_all_that_it_learned_anew() -> None:
    layer = SelfAttentiveInterests(P, K, length=100)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(7)
    layer.reset_parameters()
    assert all(parameter.abs().max() < 1 for parameter in layer.parameters())
    assert layer.position.std().item() == pytest.approx(0.1, rel=0.2)


def test_one_map_and_logits_of_zero_make_all_interests_one() -> None:
    """Which is why the logits start apart."""
    layer, items = InterestCaps(P, K), torch.randn(B, S, P)
    found = layer(items, logits=torch.zeros(S, K))
    torch.testing.assert_close(found[:, :1].expand_as(found), found)
    apart = layer(items)
    assert (apart[:, 0] - apart[:, 1]).abs().min() > 1e-6


def test_logits_are_a_function_of_seed_position_and_interest() -> None:
    many = starting_logits(400, 50)
    assert torch.equal(starting_logits(9, 4), many[:9, :4])
    assert abs(float(many.mean())) < 0.02
    assert abs(float(many.std()) - 1) < 0.02
    assert abs(float((many[1:] * many[:-1]).mean())) < 0.02
    assert abs(float((many[:, 1:] * many[:, :-1]).mean())) < 0.02
    other = starting_logits(400, 50, seed=1)
    assert abs(float((many * other).mean())) < 0.02
    known = torch.tensor([[0.380976, -0.142942], [-0.365463, -0.060824]], dtype=torch.float64)
    torch.testing.assert_close(many[:2, :2], known, rtol=0, atol=1e-6)
    items = torch.randn(B, S, P)
    first, second = InterestCaps(P, K), InterestCaps(P, K, seed=1)
    second.load_state_dict(first.state_dict())
    assert (first(items) - second(items)).abs().max() > 1e-3
    torch.testing.assert_close(first(items, logits=starting_logits(S, K, 1)), second(items))


def test_comirec_dr_is_dynamic_routing() -> None:
    """So its kernels can run it."""
    layer = InterestCaps(P, K, maps="position", length=S)
    items, mask = torch.randn(B, S, P), torch.rand(B, S) < 0.7
    expected = dynamic_routing(LinearVotes(items, layer.weight), 3, mask=mask, detach=True).pose
    torch.testing.assert_close(layer(items, mask), expected)


def test_a_target_attends_to_interests() -> None:
    interests, target = torch.randn(B, K, P), torch.randn(B, P)
    fit = torch.einsum("bkd,bd->bk", interests, target)
    nearest = attend_to_interests(interests, target, power=math.inf)
    for n in range(B):
        assert torch.equal(nearest[n], interests[n, fit[n].argmax()])
    mean = attend_to_interests(interests, target, power=0)
    torch.testing.assert_close(mean, interests.mean(dim=1))
    soft = torch.einsum("bk,bkd->bd", fit.softmax(dim=1), interests)
    torch.testing.assert_close(attend_to_interests(interests, target), soft)


@pytest.mark.parametrize("power", [1.0, torch.inf])
def test_a_program_for_any_number_of_users(power: float) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = InterestCaps(P, K, number="log2(1+n)")

        def forward(self, items: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return attend_to_interests(self.layer(items, mask), items[:, 0], power=power)

    both = Both()
    users = torch.export.Dim("users", min=1)
    example = torch.randn(B, S, P), torch.ones(B, S, dtype=torch.bool)
    program = torch.export.export(both, example, dynamic_shapes=({0: users}, {0: users})).module()
    for count in (1, 7):
        items, mask = torch.randn(count, S, P), torch.rand(count, S) < 0.7
        torch.testing.assert_close(program(items, mask), both(items, mask))


def test_layers_compile_and_are_exported() -> None:
    for layer in (InterestCaps(P, K, number="log2(1+n)"), SelfAttentiveInterests(P, K)):
        items, lengths = torch.randn(B, S, P), torch.tensor([7, 3, 1, 5])
        expected = layer(items, lengths)
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(items, lengths), expected)
        mask = torch.arange(S) < lengths.unsqueeze(1)
        exported = torch.export.export(layer, (items, mask))
        torch.testing.assert_close(exported.module()(items, mask), expected)


def bad_call(*arguments: Any, **options: Any) -> None:
    InterestCaps(P, K)(*arguments, **options)


ITEMS = torch.zeros(B, S, P)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: InterestCaps(0, K), ValueError, "dim must be at least 1"),
        (lambda: InterestCaps(P, K, maps="one"), ValueError, "maps must be one of shared, inter"),
        (lambda: InterestCaps(P, K, number="log"), ValueError, "number must be one of all, log2"),
        (lambda: InterestCaps(P, K, maps="position"), TypeError, "length must be an int, got None"),
        (lambda: InterestCaps(P, K, length=5), ValueError, "length is for maps='position' alone"),
        (lambda: InterestCaps(P, K, seed=0.5), TypeError, "seed must be an int, got 0.5"),  # type: ignore[arg-type]
        (lambda: InterestCaps(P, K, routing="dynamic"), ValueError,
         "with maps='shared' dynamic routing would give the same interest 3 times"),
        (lambda: InterestCaps(P, K, maps="interest", routing="self_routing"), ValueError,
         "self_routing routing learns something for each input capsule: use maps='position'"),
        (lambda: InterestCaps(P, K, maps="interest", routing="heinsen2022"), ValueError,
         "heinsen2022 routing makes its votes itself: use routing='interests'"),
        (lambda: bad_call(ITEMS[0]), ValueError, r"items must be \[B, S, 6\] \(dim\), got shape"),
        (lambda: bad_call(ITEMS.long()), TypeError, "items must be a floating-point tensor"),
        (lambda: bad_call(ITEMS, [7] * B), TypeError, "mask must be a tensor, got list"),
        (lambda: bad_call(ITEMS, torch.ones(B)), ValueError, "whole lengths .* got torch.float32"),
        (lambda: bad_call(ITEMS, torch.ones(B, 2).bool()), ValueError, r"bool \[B, S\] = \(4, 7\)"),
        (lambda: bad_call(ITEMS, torch.full((B,), 8)), ValueError, "lengths must be 0 to 7, got 8"),
        (lambda: bad_call(ITEMS, torch.full((B,), -1)), ValueError, "must be 0 to 7, got -1 to -1"),
        (lambda: bad_call(ITEMS, logits=torch.zeros(K, S)), ValueError, r"logits must be \[B, S"),
        (lambda: InterestCaps(P, K, maps="position", length=3)(ITEMS), ValueError,
         "items has 7 positions, and the layer is for length 3"),
        (lambda: SelfAttentiveInterests(P, K, length=3)(ITEMS), ValueError,
         "items has 7 positions, and the layer is for length 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_sentence(call: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message) as answer:
        call()
    assert "\n" not in str(answer.value)


def test_other_routings_take_no_logits() -> None:
    layer = InterestCaps(P, K, maps="interest", routing="dynamic")
    logits: Tensor = torch.zeros(S, K)
    with pytest.raises(ValueError, match="dynamic routing takes no logits: leave them out"):
        layer(ITEMS, logits=logits)


# --- interests that a user does not have


def test_a_leaky_routing_among_some_of_the_interests() -> None:
    """One more term of the softmax beside those that are present."""
    layer = InterestCaps(
        4, 3, maps="interest", number="log2(n)", routing={"name": "dynamic", "leaky": True}
    )
    items = torch.randn(2, 5, 4)
    found = layer(items, torch.tensor([2, 5]))
    assert (found[0, 1:] == 0).all()  # one interest for two items
    alone = InterestCaps(4, 1, maps="interest", routing={"name": "dynamic", "leaky": True})
    with torch.no_grad():
        alone.weight.copy_(layer.weight[:, :1])
    torch.testing.assert_close(found[:1, :1], alone(items[:1], torch.tensor([2])))


@pytest.mark.parametrize(
    "routing",
    [
        {"name": "dynamic", "coupling": "max_min"},
        {"name": "dynamic", "coupling": "softmax_times_parents"},
        {"name": "variational"},
    ],
)
def test_a_coupling_that_counts_absent_interests_is_refused(routing: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="depends on interests that a user does not have, too"):
        InterestCaps(4, 3, maps="interest", number="log2(n)", routing=routing)
    InterestCaps(4, 3, maps="interest", routing=routing)


def test_no_interest_at_all_gets_nothing() -> None:
    tensor = torch.randn(2, 5, 3, 4, requires_grad=True)
    present = torch.tensor([[False] * 3, [True, True, False]])
    votes = InterestVotes(FormedVotes(tensor), present=present)
    found = InterestRouting(2, detach=False)(votes)
    assert (found.pose[0] == 0).all()
    found.pose.sum().backward()
    assert tensor.grad is not None
    assert (tensor.grad[0] == 0).all()
    assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("backend", ["reference", "tiles"])
def test_logits_are_constants_and_masked_with_their_items(backend: str) -> None:
    tensor = torch.randn(2, 5, 3, 4, requires_grad=True)
    logits = torch.randn(2, 5, 3, requires_grad=True)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[:, 1] = False
    held = torch.where(mask.unsqueeze(-1), logits, torch.nan)
    routing = InterestRouting(2, detach=False, backend=backend)
    found = routing(InterestVotes(FormedVotes(tensor), held), mask=mask)
    left = [x[:, [0, 2, 3, 4]] for x in (tensor, logits)]
    torch.testing.assert_close(
        found.pose, routing(InterestVotes(FormedVotes(left[0]), left[1])).pose
    )
    (gradient, none) = torch.autograd.grad(found.pose.sum(), (tensor, logits), allow_unused=True)
    assert gradient.isfinite().all()
    assert none is None


# --- attention to interests


@pytest.mark.parametrize("power", [0, 0.5, 1, 2, 50])
def test_attention_to_interests_by_scalar_loops(power: float) -> None:
    torch.manual_seed(0)
    interests = torch.randn(2, 3, 4, dtype=torch.float64)
    interests[0, 2] = 0
    target = torch.randn(2, 4, dtype=torch.float64)
    found = attend_to_interests(interests, target, power)
    for b in range(2):
        fits = [float(interests[b, k] @ target[b]) for k in range(3)]
        scores = [fit if power == 1 else max(fit, 0.0) ** power for fit in fits]
        there = [k for k in range(3) if interests[b, k].any()]
        weights = {k: math.exp(scores[k] - max(scores)) for k in there}
        expected = sum(weights[k] * interests[b, k] for k in there) / sum(weights.values())
        torch.testing.assert_close(found[b], expected)


@pytest.mark.parametrize("power", [0, 0.5, 1, 2, math.inf])
def test_absent_interests_get_no_attention(power: float) -> None:
    """As a layer gives them, zeros; even where those that are there fit badly."""
    caps = InterestCaps(16, 4, number="log2(1+n)")
    interests = caps(torch.randn(1, 30, 16), torch.tensor([3]))
    target = -(interests[:, 0] + interests[:, 1])
    found = attend_to_interests(interests, target, power)
    torch.testing.assert_close(found, attend_to_interests(interests[:, :2], target, power))
    nobody = attend_to_interests(torch.zeros(1, 4, 16), target, power)
    assert torch.equal(nobody, torch.zeros(1, 16))


@pytest.mark.parametrize("power", [0, 0.5, 1, 2, math.inf])
def test_attention_to_no_interests_gives_zeros(power: float) -> None:
    found = attend_to_interests(torch.zeros(2, 0, 4), torch.ones(2, 4), power)
    assert torch.equal(found, torch.zeros(2, 4))


@pytest.mark.parametrize("power", [0.5, 50])
def test_attention_to_interests_is_finite(power: float) -> None:
    """Also where a user has fewer interests than there are rows, and where the power overflows."""
    interests = torch.tensor([[[10.0, 0.0], [9.0, 0.0], [0.0, 0.0]], [[0.0, 0.0]] * 3])
    interests.requires_grad_()
    target = torch.tensor([[1.0, 0.5], [1.0, 0.5]], requires_grad=True)
    found = attend_to_interests(interests, target, power)
    gradients = torch.autograd.grad(found.sum(), (interests, target))
    assert all(x.isfinite().all() for x in (found, *gradients))
    if power == 50:
        torch.testing.assert_close(found[0], torch.tensor([10.0, 0.0]))


@pytest.mark.parametrize(
    ("interests", "target", "power", "message"),
    [
        (torch.ones(2, 3, 4), torch.ones(2, 4), -1, "power must be at least 0, got -1"),
        (torch.ones(2, 3, 4), torch.ones(2, 4), math.nan, "power must be at least 0, got nan"),
        (torch.ones(1, 3, 4), torch.ones(2, 4), 1, r"interests must be \[B, K, D\] and target"),
        (torch.ones(2, 3, 4), torch.ones(2, 5), 1, r"interests must be \[B, K, D\] and target"),
        (torch.ones(2, 3, 4), torch.ones(2, 4).double(), 1, "target is torch.float64 and the"),
        ([1.0], torch.ones(2, 4), 1, "interests must be a tensor, got list"),
    ],
)
def test_attention_to_interests_refuses(
    interests: Any, target: Tensor, power: float, message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        attend_to_interests(interests, target, power)


def test_evidence_is_that_of_the_interests_that_are_present() -> None:
    present = torch.tensor([[True, False, True]])
    scores = torch.randn(1, 5, 3)
    found = InterestVotes(FormedVotes(torch.randn(1, 5, 3, 4)), present=present).evidence(scores)
    torch.testing.assert_close(found, torch.logsumexp(scores[..., [0, 2]], dim=-1))
