"""A call of a routing depends on nothing that happens to it meanwhile, or after."""

import sys
import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests.routing.test_contract import ROWS
from torchcaps import Capsules, ClusterCaps, ConvCaps, DenseCaps, create_model, create_routing
from torchcaps.layers import InterestCaps, route_concurrently
from torchcaps.routing import ROUTINGS, EMRouting, sweep
from torchcaps.routing.module_copy import module_copy
from torchcaps.votes import InterestVotes, LinearVotes, PoseVotes

# With parameters of its own, and a backward that forms votes anew.
LEARNERS = ["em", "heinsen2022", "attention", "variational"]
BY_TILES = sorted(name for name, routing in ROUTINGS.items() if routing.by_tiles)
THREADS, CALLS = 4, 12


@pytest.fixture
def eager_threads():
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work):
    """What each thread gives for its number, `CALLS` times; the first error that any met."""
    found, errors = {}, []

    def run(k):
        try:
            found[k] = [work(k) for _ in range(CALLS)]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


# --- threads that share a network
@pytest.mark.usefixtures("eager_threads")
def test_threads_may_share_layers_that_are_routed_at_the_same_time():
    torch.manual_seed(0)
    model = create_model(
        "attention_capsnet", image_size=16, channels=1, num_classes=3, widths=(4, 8),
        blocks=(1, 1), types=2, dim=4, concurrent=True,
        routing={"name": "attention", "iterations": 3},
    ).eval()  # fmt: skip
    images = torch.rand(THREADS, 1, 1, 16, 16)
    with torch.no_grad():
        alone = [model(image).activation for image in images]

        def work(k):
            with torch.no_grad():
                return model(images[k]).activation

        for k, results in in_threads(work).items():
            for result in results:
                assert torch.equal(result, alone[k])
    for layer in model.modules():
        if hasattr(layer, "routing"):
            assert (layer.routing.iterations, layer.routing.backend) == (3, "auto")


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("name", LEARNERS)
def test_threads_may_take_gradients_of_one_routing(name):
    torch.manual_seed(0)
    layer = DenseCaps(12, 4, 3, 4, routing=name).eval()
    layer.routing.backend = "tiles"
    inputs = torch.randn(THREADS, 2, 12, 4)

    def work(k):
        x = inputs[k].clone().requires_grad_()
        return torch.autograd.grad(layer(x).pose.square().sum(), x)[0]

    alone = [work(k) for k in range(THREADS)]
    for k, results in in_threads(work).items():
        for result in results:
            assert torch.equal(result, alone[k])
    assert all(type(p) is nn.Parameter for p in layer.parameters())


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("name", LEARNERS)
def test_threads_may_share_a_routing_in_half_precision(name):
    torch.manual_seed(0)
    layer = DenseCaps(12, 4, 3, 4, routing=name).eval().bfloat16()
    x = torch.randn(2, 12, 4).bfloat16()
    with torch.no_grad():
        alone = layer(x).pose

        def work(_):
            with torch.no_grad():
                return layer(x).pose

        for results in in_threads(work).values():
            assert all(torch.equal(result, alone) for result in results)
    assert all(type(p) is nn.Parameter for p in layer.parameters())


def test_a_copy_shares_the_tensors_and_nothing_else():
    routing: Any = create_routing("attention").build(6, 4, 3, 4)
    bias = routing.head.bias
    same = module_copy(routing, {bias: bias.detach() + 1})
    assert same.norm.weight is routing.norm.weight
    assert same.head.bias is not bias
    same.iterations = 7
    same.norm = nn.Identity()
    assert routing.iterations == 3
    assert isinstance(routing.norm, nn.LayerNorm)
    assert routing.head.bias is bias


# --- options that change after a call
@pytest.mark.parametrize("name", BY_TILES)
def test_gradients_are_of_the_options_at_the_call(name):
    gradients = {}
    for backend in ("reference", "tiles"):
        torch.manual_seed(0)
        layer = DenseCaps(9, 4, 3, 4, routing=name).double()
        layer.routing.backend = backend
        x = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
        first = layer(x).pose
        if layer.routing.iterations == 1:
            pytest.skip("it goes over the votes once")
        layer.routing.iterations = 1
        second = layer(x).pose
        (gradients[backend],) = torch.autograd.grad((first - second).square().sum(), x)
    reference = gradients["reference"]
    assert (gradients["tiles"] - reference).abs().max() <= 1e-9 * reference.abs().max()


# --- contexts of backward
@pytest.mark.parametrize("name", ["em", "heinsen2019", "dynamic", "kde", "variational"])
def test_backward_within_autocast_is_not_in_half_precision(name):
    gradients: list[torch.Tensor] = []
    for within in (False, True):
        torch.manual_seed(0)
        pose, weight = torch.randn(4, 9, 4), torch.randn(9, 3, 4, 4)
        routing = create_routing(name).build(9, 4, 3, 4)
        routing.backend = "tiles"
        pose.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=within):
            out = routing(LinearVotes(pose, weight), torch.rand(4, 9)).pose
            gradients += torch.autograd.grad(out.square().sum(), pose)
    without, inside = gradients
    assert torch.allclose(inside, without, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("backend", ["tiles", "cpu"])
@pytest.mark.parametrize("name", ["em", "attention"])
def test_many_gradients_at_once_are_refused_in_a_sentence(name, backend):
    layer = DenseCaps(9, 4, 3, 4, routing=name)
    layer.routing.backend = backend
    x = torch.randn(2, 9, 4, requires_grad=True)
    pose = layer(x).pose
    each = torch.eye(pose.numel()).view(-1, *pose.shape)
    with pytest.raises(RuntimeError, match="one gradient at a time, not a batch of them"):
        torch.autograd.grad(pose, x, each, is_grads_batched=True)


# --- constants, in forward mode too
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize(
    "name", ["interests", "dynamic", "em", "attention", "kde", "heinsen2019", "group_equivariant"]
)
def test_what_is_detached_has_no_derivative_in_forward_mode_either(name):
    torch.manual_seed(0)
    routing = create_routing({"name": name, "detach": True}).build(6, 4, 3, 4).double()
    votes = torch.randn(6, 3, 4, dtype=torch.float64)
    backward = torch.func.jacrev(lambda v: routing(v).pose)(votes)
    forward = torch.func.jacfwd(lambda v: routing(v).pose)(votes)
    assert (backward - forward).abs().max() < 1e-12
    activities = [torch.func.jacrev(routing)(votes), torch.func.jacfwd(routing)(votes)]
    assert (activities[0].activation - activities[1].activation).abs().max() < 1e-12
    free = create_routing({"name": name, "detach": False}).build(6, 4, 3, 4).double()
    assert (torch.func.jacfwd(lambda v: free(v).pose)(votes) - forward).abs().max() > 1e-6


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own
def test_a_state_that_later_iterations_take_up_is_detached_too():
    """By momentum, the mean of the iteration before is a part of the mean."""
    options = {"name": "em", "detach": True, "mean_momentum": 0.5}
    torch.manual_seed(0)
    routing = create_routing(options).build(6, 4, 3, 4).double()
    votes = torch.randn(6, 3, 4, dtype=torch.float64)
    backward = torch.func.jacrev(lambda v: routing(v).pose)(votes)
    forward = torch.func.jacfwd(lambda v: routing(v).pose)(votes)
    assert (backward - forward).abs().max() < 1e-12


# --- drawn anew
@pytest.mark.parametrize("name", sorted(ROUTINGS))
def test_what_a_routing_learns_is_drawn_anew_by_its_layer(name):
    with torch.device("meta"):
        layer = DenseCaps(6, 4, 3, 4, routing=name)
    layer.to_empty(device="cpu")
    for tensor in (*layer.parameters(), *layer.buffers()):
        tensor.data.fill_(77)
    layer.reset_parameters()
    assert all((tensor != 77).any() for tensor in (*layer.parameters(), *layer.buffers()))
    torch.manual_seed(5)
    built = create_routing(name).build(6, 4, 3, 4)
    torch.manual_seed(5)
    layer.routing.reset_parameters()
    for one, other in zip(built.state_dict().values(), layer.routing.state_dict().values()):
        assert torch.equal(one, other)


def test_all_layers_draw_all_that_they_learn():
    layers: list[Any] = [
        ConvCaps(2, 4, 3, 4, 3, routing="em"),
        ClusterCaps(2, 4, 3, 4, size=5),
        InterestCaps(4, 2, maps="interest", routing="attention"),
    ]
    for layer in layers:
        for parameter in layer.parameters():
            parameter.data.fill_(77)
        layer.reset_parameters()
        assert all((parameter != 77).any() for parameter in layer.parameters())


# --- parents that nothing comes to, and that are not there
@pytest.mark.parametrize("backend", ["reference", "tiles", "cpu"])
def test_a_sample_without_children_gives_no_nan_without_a_mass_floor(backend):
    torch.manual_seed(0)
    options = {"name": "em", "mass_floor": 0, "first_coupling": "whole", "variance_floor": 1e-12}
    layer = DenseCaps(4, 3, 2, 3, routing=options)
    layer.routing.backend = backend
    mask = torch.tensor([[True] * 4, [False] * 4])
    found = layer(Capsules(torch.randn(2, 4, 3), torch.rand(2, 4)), mask)
    assert found.pose.isfinite().all()
    found.pose[0].sum().backward()
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.abs().max() > 0


def test_without_a_mass_floor_a_parent_that_nothing_comes_to_has_no_cost():
    """The limit of ever smaller activations: z = λ β_a, here 0."""
    routing = EMRouting(2, mass_floor=0, first_coupling="whole", variance_floor=1e-12)
    routing.build(in_caps=4, in_dim=3, out_caps=2, out_dim=3)
    votes = torch.randn(1, 4, 2, 3)
    for activation in (0.0, 1e-9):
        found = routing(votes, torch.full((1, 4), activation)).activation
        torch.testing.assert_close(found, torch.full((1, 2), 0.5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("routing", ["em", "self_attention", "dynamic", "attention"])
def test_an_output_capsule_that_is_left_out_gets_nothing(routing):
    """Whatever makes the coupling: not a softmax in every routing, or in its first iteration."""
    options = {"em": {"first_coupling": "whole", "final_lambda": 0.3}}.get(routing, {})
    routing = create_routing({"name": routing, **options})
    routing.build(in_caps=5, in_dim=4, out_caps=3, out_dim=8).eval()
    formed = LinearVotes(torch.randn(1, 5, 4), torch.randn(5, 3, 8, 4))
    votes = InterestVotes(formed, present=torch.tensor([[True, True, False]]))
    assert routing.trace(votes).coupling[..., 2].abs().max() == 0
    assert (routing.trace(votes).coupling[..., :2].abs().sum(dim=-1) > 0.5).all()
    assert routing(votes).pose[0, :2].abs().max() > 0


@pytest.mark.parametrize(
    ("routing", "refused"),
    [
        *((name, name in ("em", "variational", "heinsen2022")) for name in ROWS),
        ({"name": "em", "final_lambda": 0.3}, False),
        ({"name": "dynamic", "coupling": "max_min"}, True),
        ({"name": "dynamic", "coupling": "softmax_times_parents"}, True),
    ],
    ids=str,
)
def test_the_others_are_as_if_there_were_none_that_is_left_out_or_it_is_refused(routing, refused):
    torch.manual_seed(0)
    present = torch.tensor([True, True, False, True])
    pose, weight = torch.randn(2, 5, 4).double(), torch.randn(5, 4, 6, 4).double()
    large, small = (
        create_routing(routing).build(5, 4, outputs, 6).double().eval() for outputs in (4, 3)
    )
    for parameter in large.parameters():
        torch.nn.init.normal_(parameter)
    for (name, ours), theirs in zip(large.named_parameters(), small.parameters(), strict=True):
        axes = [axis for axis, size in enumerate(ours.shape) if size != theirs.shape[axis]]
        assert len(axes) <= 1, name
        with torch.no_grad():
            theirs[:] = ours.movedim(axes[0], 0)[present].movedim(0, axes[0]) if axes else ours
    votes = InterestVotes(LinearVotes(pose, weight), present=present)
    if refused:
        with pytest.raises(ValueError, match=r"those that are left out .* too: select the votes"):
            large(votes)
        return
    found, expected = large(votes), small(LinearVotes(pose, weight[:, present]))
    torch.testing.assert_close(found.pose[:, present], expected.pose)
    torch.testing.assert_close(found.activation[:, present], expected.activation)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "interests"])
def test_logits_that_nobody_heeds_are_refused(name):
    routing = create_routing(name).build(5, 4, 3, 8)
    votes = LinearVotes(torch.randn(1, 5, 4), torch.randn(5, 3, 8, 4))
    with pytest.raises(ValueError, match="begins with logits of its own"):
        routing(InterestVotes(votes, torch.zeros(5, 3)))


def test_heinsen_counts_the_poses_that_count():
    torch.manual_seed(0)
    routing = create_routing("heinsen2022").build(5, 3, 4, 6)
    pose = torch.randn(2, 5, 3)
    few = routing(PoseVotes(pose, 4, 6, count=torch.tensor([2, 5]))).pose
    masked = torch.tensor([[True, True, False, False, False], [True] * 5])
    pose[0, 2:] = 0  # these still have a share of their own: all but √I is as with five
    torch.testing.assert_close(few[1], routing(PoseVotes(pose, 4, 6)).pose[1])
    assert not torch.allclose(few[0], routing(PoseVotes(pose, 4, 6)).pose[0], atol=1e-3)
    assert routing(PoseVotes(pose, 4, 6), mask=masked).pose.isfinite().all()


def test_em_counts_interests_that_a_user_does_not_have():
    with pytest.raises(ValueError, match="or EM with a final_lambda"):
        InterestCaps(5, 4, maps="interest", number="log2(1+n)", routing="em")
    torch.manual_seed(0)
    routing = {"name": "em", "final_lambda": 0.3}
    large = InterestCaps(5, 4, maps="interest", number="log2(1+n)", routing=routing).double()
    small = InterestCaps(5, 2, maps="interest", number="log2(1+n)", routing=routing).double()
    small.weight.data = large.weight.data[:, :2]
    items, lengths = torch.randn(3, 3, 5, dtype=torch.float64), torch.tensor([3, 3, 3])
    assert torch.allclose(large(items, lengths)[:, :2], small(items, lengths), atol=1e-12)


# --- sizes
@pytest.mark.parametrize("size", [1.0, 1e4, 1e6, 4e6, 1e8, 1e9])
def test_heinsens_shared_credit_is_not_free_of_scale(size):
    """β(x) = W x + b of poses of any ordinary size, beside the same in the largest numbers."""
    torch.manual_seed(0)
    options = {"name": "heinsen2022", "shared": True}
    pose = size * torch.randn(2, 6, 4, dtype=torch.float64)
    layer = DenseCaps(6, 4, 3, 4, routing=options).double()
    found = layer(pose).pose
    in_parts: Any = layer.routing
    x = pose / 6**0.5
    f = torch.sigmoid((x * in_parts.W_A).sum(-1) + in_parts.B_A).unsqueeze(-1)
    y, coupling = None, torch.full((2, 6, 3), 1 / 3, dtype=torch.float64)
    for _ in range(in_parts.iterations):
        if y is not None:
            norm = torch.nn.functional.layer_norm(y, (4,))
            predicted = (norm @ in_parts.G1) * in_parts.G2 + in_parts.B_G2
            fit = in_parts.W_S * torch.einsum("bip,bjp->bij", pose, predicted) + in_parts.B_S
            coupling = torch.nn.functional.logsigmoid(fit).softmax(dim=-1)
        phi = in_parts.beta_use(pose) * f * coupling - in_parts.beta_ign(pose) * f * (1 - coupling)
        y = torch.einsum("bij,bip->bjp", phi, x)
        y = (y * in_parts.F1) @ in_parts.F2 + phi.sum(dim=1).unsqueeze(-1) * in_parts.B_F2
    assert torch.allclose(found, torch.nn.functional.layer_norm(y, (4,)), rtol=1e-6, atol=1e-6)


# --- modules that others have changed
def test_a_copy_of_a_parametrized_module_is_one():
    torch.manual_seed(0)
    layer: Any = DenseCaps(6, 4, 3, 4, routing="attention")
    weight_norm(layer, "weight")
    weight_norm(layer.routing.head, "weight")
    x = torch.randn(2, 6, 4)
    layer.routing.backend = "reference"
    expected = layer(x)
    layer.routing.backend = "tiles"
    assert torch.allclose(layer(x).activation, expected.activation, atol=1e-5)
    (once,) = route_concurrently([layer], x, 3)
    assert torch.allclose(once.activation, expected.activation, atol=1e-5)
    before = layer.routing.head.weight.detach().clone()
    layer.reset_parameters()  # leaves alone what a parametrization keeps
    assert torch.equal(layer.routing.head.weight, before)


class Counting(EMRouting):
    """A routing of somebody's own, with a running statistic that it sets anew."""

    seen: torch.Tensor

    def build(self, *sizes: int) -> "Counting":
        super().build(*sizes)
        self.register_buffer("seen", torch.zeros(()))
        return self

    def settle(self, *arguments: Any) -> Any:
        self.seen = self.seen + 1
        return super().settle(*arguments)


@pytest.mark.parametrize("backend", ["reference", "tiles"])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_running_statistic_that_is_set_anew_is_kept(backend, gradients):
    layer: Any = DenseCaps(6, 4, 3, 4, routing=Counting(3, backend=backend))
    with torch.set_grad_enabled(gradients):
        layer(torch.randn(2, 6, 4))
    assert layer.routing.seen == layer.routing.sweeps


class Normalising(EMRouting):
    """A routing of somebody's own that changes running statistics in place."""

    norm: nn.BatchNorm1d
    gathered: torch.Tensor

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> "Normalising":
        super().build(in_caps, in_dim, out_caps, out_dim)
        self.norm = nn.BatchNorm1d(out_caps)
        self.register_buffer("gathered", torch.zeros(()))
        return self

    def gather(self, tile: Any, coupling: Any, state: Any) -> Any:
        self.gathered += tile.votes.shape[-3]
        return super().gather(tile, coupling, state)

    def settle(self, *arguments: Any) -> Any:
        state = super().settle(*arguments)
        return state._replace(mean=self.norm(state.mean))


def test_backward_by_tiles_leaves_running_statistics_alone(monkeypatch):
    """What runs once more for gradients has seen no batch once more."""
    monkeypatch.setattr(sweep, "TILE_BYTES", 2**11)
    found = {}
    for backend in ("reference", "tiles"):
        torch.manual_seed(0)
        layer = DenseCaps(50, 4, 3, 4, routing=Normalising(3, backend=backend)).double()
        x = torch.randn(2, 5, 50, 4, dtype=torch.float64)
        total = sum(layer(each).pose.square().sum() for each in x)  # backward for two calls
        before = {name: value.clone() for name, value in layer.routing.state_dict().items()}
        total.backward()
        assert before["gathered"] == 2 * 3 * 50
        assert before["norm.num_batches_tracked"] == 2 * 3
        torch.testing.assert_close(dict(layer.routing.state_dict()), before, rtol=0, atol=0)
        found[backend] = [before, layer.weight.grad, layer.routing.norm.weight.grad]
    torch.testing.assert_close(found["tiles"], found["reference"])


def test_hooks_are_called_with_the_layer_itself():
    layers = nn.ModuleList([DenseCaps(6, 4, 5, 8, "attention"), DenseCaps(5, 8, 3, 4, "attention")])
    seen: list[nn.Module] = []
    for layer in layers:
        layer.register_forward_hook(lambda module, *_: seen.append(module))
    x = torch.randn(2, 6, 4)
    found = route_concurrently(list(layers), x, 2)
    assert seen == [layers[0], layers[1]] * 2
    plain = [DenseCaps(6, 4, 5, 8, "attention"), DenseCaps(5, 8, 3, 4, "attention")]
    for layer, other in zip(plain, layers):
        layer.load_state_dict(other.state_dict())
    assert torch.equal(found[1].pose, route_concurrently(plain, x, 2)[1].pose)


class Wider(EMRouting):
    """Built for more than it is told."""

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> "Wider":
        super().build(in_caps, in_dim, out_caps + 1, out_dim)
        return self


def test_a_routing_is_built_again_for_what_it_was_asked_for():
    routing = Wider().build(6, 4, 3, 4)
    routing.reset_parameters()
    assert routing.beta_a.shape == (4,)
    routing.beta_a.data.fill_(7)
    routing.reset_parameters()
    assert routing.beta_a.shape == (4,)
    assert not routing.beta_a.any()
