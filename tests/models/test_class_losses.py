"""Which loss learns classes, by the kind of activation that a routing gives."""

import pytest
import torch
from torch.nn import functional as F

from torchcaps import create_model
from torchcaps.losses import margin_loss
from torchcaps.models.class_losses import (
    CLASS_LOSSES,
    SEVERAL_CLASSES,
    likelihood_loss,
    log_odds_loss,
    presence_loss,
)
from torchcaps.routing import ROUTINGS, create_routing
from torchcaps.votes import LinearVotes

LABELS = torch.tensor([0, 2, 1, 1])


def test_log_odds_of_sigmoids_are_the_usual_cross_entropy():
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    ours = log_odds_loss(torch.sigmoid(z), LABELS)
    theirs = F.cross_entropy(z, LABELS)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(x, z)[0] for x in (ours, theirs)))


def test_likelihood_of_a_distribution():
    p = torch.randn(4, 3, dtype=torch.float64).softmax(dim=1)
    torch.testing.assert_close(likelihood_loss(p, LABELS), F.nll_loss(p.log(), LABELS))


@pytest.mark.parametrize("loss", CLASS_LOSSES.values(), ids=CLASS_LOSSES)
def test_losses_take_targets_and_stay_finite(loss):
    a = torch.tensor([[0.0, 1.0, 0.5]] * 4, requires_grad=True)
    of_classes = loss(a, LABELS)
    of_targets = loss(a, F.one_hot(LABELS, 3).float())
    torch.testing.assert_close(of_classes, of_targets)
    of_classes.backward()
    assert of_classes.isfinite()
    assert a.grad.isfinite().all()
    half = loss(a.detach().bfloat16(), LABELS)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, of_classes.detach())
    with pytest.raises(ValueError, match="activation must be"):
        loss(a[0], LABELS)
    with pytest.raises(TypeError, match="activation"):
        loss(a.detach().long(), LABELS)
    with pytest.raises(ValueError, match="activation must not be empty"):
        loss(a[:0].detach(), LABELS[:0])


def test_presence_of_sigmoids_is_the_usual_binary_cross_entropy():
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    there = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0]])
    ours = presence_loss(torch.sigmoid(z), there)
    each = F.binary_cross_entropy_with_logits(z, there.double(), reduction="none")
    torch.testing.assert_close(ours, each.sum(dim=1).mean())
    theirs = each.sum(dim=1).mean()
    torch.testing.assert_close(*(torch.autograd.grad(x, z)[0] for x in (ours, theirs)))


@pytest.mark.parametrize("loss", SEVERAL_CLASSES.values(), ids=SEVERAL_CLASSES)
def test_all_absent_and_all_present_are_told_apart(loss):
    low, high = torch.full((1, 3), 0.01), torch.full((1, 3), 0.99)
    none, every = torch.zeros(1, 3), torch.ones(1, 3)
    assert loss(low, none) < loss(high, none)
    assert loss(high, every) < loss(low, every)


@pytest.mark.parametrize("a", [1e-9, 1e-5])
def test_a_class_that_is_all_but_excluded_still_has_a_gradient(a):
    p = torch.tensor([[a, 1 - a]], requires_grad=True)
    likelihood_loss(p, LABELS[:1]).backward()
    assert p.grad[0, 0] == pytest.approx(-1 / a)


@pytest.mark.parametrize("name", ROUTINGS)
def test_each_routing_names_the_loss_that_its_activations_are_made_for(name):
    routing = create_routing(name).build(6, 4, 3, 4)
    votes = LinearVotes(torch.randn(5, 6, 4), torch.randn(6, 3, 4, 4))
    pose, activation = routing(votes, torch.rand(5, 6))
    share = activation / pose.norm(dim=-1)
    if torch.allclose(share, share[0, 0]):  # lengths, but for a factor
        expected = "margin"
    elif torch.allclose(activation.sum(dim=1), torch.ones(5)):
        expected = "likelihood"
    else:
        expected = "log_odds"
    assert ROUTINGS[name].class_loss == expected


def test_a_loss_that_there_is_not_is_named():
    network = create_model("image_capsnet", image_size=12, reconstruct=False)
    network.classes.routing.class_loss = "hinge"
    images = torch.rand(4, 1, 12, 12)
    with pytest.raises(ValueError, match="class_loss of a routing must be"):
        network.loss(network(images), images, LABELS)


@pytest.mark.parametrize(("routing", "loss"), [("em", log_odds_loss), ("dynamic", margin_loss)])
@pytest.mark.parametrize("model", ["image_capsnet", "capsnet_small"])
def test_the_default_networks_take_the_loss_of_their_routing(model, routing, loss):
    network = create_model(model, image_size=24, num_classes=3, routing=routing, reconstruct=False)
    images = torch.rand(4, 1, 24, 24)
    output = network(images)
    torch.testing.assert_close(
        network.loss(output, images, LABELS).total, loss(output.activation, LABELS)
    )


def test_labels_of_several_classes_need_activations_that_share_nothing():
    shape = {"image_size": 24, "num_classes": 3, "reconstruct": False}
    images, labels = torch.rand(4, 1, 24, 24), torch.tensor([[0, 1, 1]] * 4)
    network = create_model("capsnet_small", routing="em", **shape)
    output = network(images)
    torch.testing.assert_close(
        network.loss(output, images, labels).total, presence_loss(output.activation, labels)
    )
    network = create_model("capsnet_small", routing="self_routing", **shape)
    assert not network.finds_several
    with pytest.raises(ValueError, match=r"labels must be .* self_routing routing finds one class"):
        network.loss(network(images), images, labels)
    with pytest.raises(TypeError, match="labels must be a tensor, got list"):
        network.loss(network(images), images, [0, 1, 2, 1])  # type: ignore[arg-type]


ALIKE = {"name": "attention", "activations": False}


@pytest.mark.parametrize(
    "model",
    [
        "attention_capsnet",
        "capsnet",
        "deepcaps",
        "efficient_capsnet",
        "em_capsnet",
        "image_capsnet",
        "variational_capsnet",
    ],
)
def test_classes_whose_activations_are_all_1_are_refused(model):
    with pytest.raises(ValueError, match="activations=False gives every class the activation 1"):
        create_model(model, routing=ALIKE)
