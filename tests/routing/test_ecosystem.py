"""Tiles and kernels amid what PyTorch offers: always beside the routing with all votes at once."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from torchcaps import ClusterCaps, ConvCaps, DenseCaps, LinearVotes, create_model
from torchcaps.routing import DynamicRouting
from torchcaps.routing.interests import InterestRouting
from torchcaps.routing.sweep import learned_by
from torchcaps.types import Capsules
from torchcaps.votes.interests import InterestVotes

OF_SUMS = ("attention", "em", "self_attention", "self_routing", "variational")


def layer(routing, *, backend="auto", inputs=300, outputs=10):
    torch.manual_seed(0)
    made = DenseCaps(inputs, 8, outputs, 16, routing)
    made.routing.backend = backend
    return made


def beside_reference(made):
    """The same layer, with all votes at once."""
    same = copy.deepcopy(made)
    same.routing.backend = "reference"
    return same


def total(capsules, x):
    """A number that depends on all that comes out, differently."""
    torch.manual_seed(7)
    return sum((part * torch.randn_like(part)).sum() for part in capsules) + 0 * x.sum()


def gradients(made, x, call=lambda made, x: made(x)):
    """What x and all that is learned get."""
    x = x.detach().requires_grad_()
    torch.manual_seed(1)
    total(call(made, x), x).backward()
    return {"x": x.grad} | {name: p.grad for name, p in made.named_parameters()}


def assert_alike(ours, theirs, tolerance=1e-3):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        found = ours[name]
        assert (found is None) == (expected is None), name
        if expected is not None:
            scale = expected.abs().max().clamp(min=0.1)
            assert float((found - expected).abs().max() / scale) < tolerance, name


# --- activation checkpointing
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("routing", [*OF_SUMS, "dynamic", "kde"])
def test_checkpointing(routing, reentrant):
    made = layer(routing, backend="tiles" if routing == "kde" else "cpu")
    x = torch.randn(24, 300, 8)

    def checkpointed(made, x):
        return checkpoint(made, x, use_reentrant=reentrant)

    assert_alike(gradients(made, x, checkpointed), gradients(beside_reference(made), x))


def test_checkpointing_of_windows():
    torch.manual_seed(0)
    made = ConvCaps(8, 16, 8, 16, 3, stride=2, routing="em")
    x, activation = torch.randn(4, 8, 14, 14, 16), torch.rand(4, 8, 14, 14)

    def plain(made, x):
        return made(Capsules(x, activation))

    def checkpointed(made, x):
        return checkpoint(plain, made, x, use_reentrant=False)

    theirs = gradients(beside_reference(made), x, plain)
    assert_alike(gradients(made, x, checkpointed), theirs)


# --- what is learned is kept elsewhere than in parameters
def pruned(made):
    prune.random_unstructured(made.routing, "bias", 0.5)
    return made.routing.bias_orig


def with_weight_norm(made):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(made.routing, "bias")  # the older kind: it has hooks
    return made.routing.bias_v


def of_a_hypernetwork(made):
    source = torch.randn(made.routing.bias.shape, requires_grad=True)
    del made.routing.bias
    made.routing.bias = source * 0.1
    return source


@pytest.mark.parametrize("change", [pruned, with_weight_norm, of_a_hypernetwork])
def test_learned_tensors_that_are_no_parameters(change):
    """Of the kinds that torch itself has; the seeds make both alike."""
    found = []
    for backend in ("tiles", "reference"):
        made = layer("locally_constrained", backend=backend)
        torch.manual_seed(3)
        source = change(made)
        x = torch.randn(24, 300, 8, generator=torch.Generator().manual_seed(4))
        total(made(x), x).backward()
        found.append({"source": source.grad})
    assert float(found[1]["source"].abs().max()) > 0
    assert_alike(*found)


def test_replicas_as_data_parallel_makes_them():
    made = layer("locally_constrained", backend="tiles")
    replica = made._replicate_for_data_parallel()
    replica.routing = made.routing._replicate_for_data_parallel()
    source = {name: tensor * 1 for name, tensor in made.routing.named_parameters()}
    for name, tensor in source.items():
        setattr(replica.routing, name, tensor)
    for name in ("weight",):
        setattr(replica, name, getattr(made, name) * 1)
    x = torch.randn(24, 300, 8)
    total(replica(x), x).backward()
    ours = {name: p.grad for name, p in made.named_parameters()}
    theirs = gradients(beside_reference(layer("locally_constrained")), x)
    assert_alike({k: ours[k] for k in ours}, {k: theirs[k] for k in ours})


def test_what_is_learned_is_found_once_and_frozen_parameters_are_watched():
    made = layer("locally_constrained")
    made.routing.again = made.routing.bias
    made.routing.constant = torch.ones(3)
    made.routing.bias.requires_grad_(False)
    assert [id(tensor) for tensor in learned_by(made.routing)] == [id(made.routing.bias)]
    made.routing.backend = "tiles"
    x = torch.randn(24, 300, 8, requires_grad=True)
    y = made(x).pose.sum()
    with torch.no_grad():
        made.routing.bias += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# --- random numbers
class Dropped(DynamicRouting):
    """A routing of one's own that drops couplings, and poses."""

    name = "dropped"

    def couple(self, tile, logits):
        return nn.functional.dropout(super().couple(tile, logits), 0.5, self.training)

    def settle(self, statistics, state, t):
        settled = super().settle(statistics, state, t)
        kept = [nn.functional.dropout(part, 0.2, self.training) for part in settled]
        return type(settled)(*kept) if hasattr(settled, "_fields") else tuple(kept)


def test_what_was_dropped_is_dropped_in_backward():
    """The derivative along the gradient, by differences, with the same random numbers."""
    made = layer(Dropped(3, backend="tiles"), inputs=600).double()
    made.routing.backend = "tiles"
    x = torch.randn(24, 600, 8, dtype=torch.float64)

    def value(shift=0.0, along=0.0):
        torch.manual_seed(5)
        return made(x + shift * along).pose.square().sum()

    leaf = x.clone().requires_grad_()
    torch.manual_seed(5)
    y = made(leaf).pose.square().sum()
    before = torch.get_rng_state()
    y.backward()
    assert torch.equal(torch.get_rng_state(), before)  # backward leaves no trace
    slope = float(leaf.grad.square().sum())
    with torch.no_grad():
        found = (value(1e-6, leaf.grad) - value(-1e-6, leaf.grad)) / 2e-6
    assert float(found) == pytest.approx(slope, rel=1e-4)


# --- what is changed between forward and backward
@pytest.mark.parametrize("backend", ["tiles", "cpu", "reference"])
@pytest.mark.parametrize("routing", ["dynamic", "em"])
def test_a_mask_that_is_used_again(routing, backend):
    made = layer(routing, backend=backend)
    x = torch.randn(24, 300, 8)
    mask = torch.ones(24, 300, dtype=torch.bool)
    mask[:, 100:] = False
    theirs = gradients(beside_reference(made), x, lambda made, x: made(x, mask=mask.clone()))
    leaf = x.clone().requires_grad_()
    y = total(made(leaf, mask=mask), leaf)
    mask.logical_not_()
    y.backward()
    ours = {"x": leaf.grad} | {name: p.grad for name, p in made.named_parameters()}
    assert_alike(ours, theirs)


def test_starting_logits_that_are_used_again():
    torch.manual_seed(0)
    pose, weight = torch.randn(24, 300, 8), torch.randn(300, 10, 16, 8)
    logits, present = torch.randn(24, 300, 10), torch.rand(24, 10) < 0.7
    found = []
    for backend in ("tiles", "reference"):
        leaf, given, there = weight.clone().requires_grad_(), logits.clone(), present.clone()
        votes = InterestVotes(LinearVotes(pose, leaf), given, there)
        y = InterestRouting(3, backend=backend)(votes).pose.square().sum()
        if backend == "tiles":  # by all votes at once, autograd says that they were changed
            given.zero_()
            there.logical_not_()
        y.backward()
        found.append({"weight": leaf.grad})
    assert_alike(*found)


# --- recorded calls, and kinds of tensors
@pytest.mark.parametrize("routing", [*OF_SUMS, "dynamic", "heinsen2019"])
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_large_calls_without_values(routing, kind):
    made = layer(routing)
    if kind == "meta":
        found = copy.deepcopy(made).to("meta")(torch.empty(64, 300, 8, device="meta"))
    else:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            for name, tensor in [*made.named_parameters()]:
                owner = made.get_submodule(name.rpartition(".")[0])
                fake = nn.Parameter(mode.from_tensor(tensor.detach()))
                setattr(owner, name.rpartition(".")[2], fake)
            found = made.eval()(torch.empty(64, 300, 8))
    assert [part.shape for part in found] == [(64, 10, 16), (64, 10)]


@pytest.mark.parametrize("name", ["em_capsnet_small", "variational_capsnet"])
def test_networks_on_the_meta_device(name):
    with torch.device("meta"):
        model = create_model(name).eval()
        images = torch.empty(64, model.channels, *model.image_size)
        assert model(images).activation.shape == (64, model.num_classes)


@pytest.mark.parametrize("routing", ["dynamic", "em"])
@pytest.mark.parametrize("samples", [1, 24])
def test_weights_may_be_resized_after_a_call(routing, samples):
    """As FSDP does, which frees what it has gathered."""
    made = layer(routing, backend="cpu")
    x = torch.randn(samples, 300, 8, requires_grad=True)
    made(x).pose.sum().backward()
    for tensor in (made.weight, x):
        tensor.detach().untyped_storage().resize_(0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("routing", ["dynamic", "em", "kde"])
def test_a_tangent_of_the_gradient_is_not_lost(routing):
    made = layer(routing, backend="tiles" if routing == "kde" else "cpu")
    x = torch.randn(24, 300, 8, requires_grad=True)
    y, again = made(x).pose, made(x).pose
    with forward_ad.dual_level():
        upstream = forward_ad.make_dual(torch.ones_like(y), torch.ones_like(y))
        with pytest.raises(RuntimeError, match="tangent: pass backend='reference'"):
            torch.autograd.grad(y, x, upstream)
        # without one there is nothing to lose
        torch.autograd.grad(again, x, torch.ones_like(y))


# --- compiled for any number of samples
@pytest.mark.parametrize("routing", ["dynamic", "em", "kde", "locally_constrained"])
def test_compiled_for_any_number_of_samples(routing):
    made = layer(routing, inputs=12, outputs=5)
    compiled = torch.compile(made, dynamic=True, fullgraph=True, backend="eager")
    for samples in (3, 7):
        x = torch.randn(samples, 12, 8)
        for ours, theirs in zip(compiled(x), made(x)):
            torch.testing.assert_close(ours, theirs)


def test_windows_and_clusters_compiled_for_any_number_of_samples():
    torch.manual_seed(0)
    for made, shape in (
        (ConvCaps(2, 4, 3, 4, 3, routing="em"), (2, 6, 6, 4)),
        (ClusterCaps(2, 4, 3, 4, kernel_size=3, size=6), (2, 6, 6, 4)),
    ):
        compiled = torch.compile(made, dynamic=True, fullgraph=True, backend="eager")
        for samples in (3, 7):
            x = torch.randn(samples, *shape)
            for ours, theirs in zip(compiled(x), made(x)):
                torch.testing.assert_close(ours, theirs)
