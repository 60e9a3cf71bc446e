"""Networks whose capsules are maps: their published sizes, their losses, saving."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchcaps import InputError, create_model, load_model
from torchcaps.layers import ConvCaps, DenseCaps
from torchcaps.losses import spread_loss, spread_margin
from torchcaps.models import AttentionCapsNet, Classifier, DeepCaps, EMCapsNet
from torchcaps.models.deepcaps import SquashedMap, flat
from torchcaps.models.summary import count_parameters
from torchcaps.routing import AttentionRouting, EMRouting, RoutingTrace
from torchcaps.training.build import model_options
from torchcaps.training.config import TrainConfig

TINY: dict[str, Any] = {"conv_channels": 8, "primary_types": 2, "types": (2, 3)}
SMALL: dict[str, dict[str, Any]] = {
    "em_capsnet": {"image_size": 14, "num_classes": 3, **TINY},
    "variational_capsnet": {"image_size": (14, 15), "channels": 2, "num_classes": 3, **TINY},
    "self_routing_capsnet": {"image_size": 9, "num_classes": 3, "types": 2, "dim": 4},
    "efficient_capsnet": {"image_size": (11, 14), "num_classes": 3, "conv_channels": (4, 4, 4)},
    "attention_capsnet": {
        "image_size": (13, 16),
        "num_classes": 3,
        "widths": (4, 6),
        "blocks": (1, 2),
        "types": 2,
        "dim": 4,
        "dense": (3,),
    },
    "deepcaps": {"image_size": (9, 7), "num_classes": 3, "conv_channels": 4, "types": 2},
}


def small(name: str, **arguments: Any) -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    """A tiny network of this name, images for it, and labels."""
    model = create_model(name, **{**SMALL[name], **arguments})
    images = torch.rand(4, model.channels, *model.image_size)
    return model, images, torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("name", "arguments", "published"),
    [
        ("em_capsnet", {}, 319_028),  # a public network for MNIST; the paper's table says 310K
        ("em_capsnet_small", {"num_classes": 5}, 67_282),
        ("variational_capsnet", {"image_size": 32, "channels": 2, "num_classes": 5}, 68_714),
        ("self_routing_capsnet", {}, 931_664),
        ("efficient_capsnet", {}, 161_824),
        ("attention_capsnet", {}, 1_828_817),  # CIFAR-10
        ("attention_capsnet", {"num_classes": 100, "dim": 36, "dense": (20,)}, 2_799_629),
    ],
)
def test_it_has_as_many_parameters_as_published(
    name: str, arguments: dict[str, Any], published: int
) -> None:
    with torch.device("meta"):
        ours = count_parameters(create_model(name, **arguments))
    print(f"{name} {arguments or ''}: {ours:,} parameters, published {published:,}")
    assert ours == published


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name: str) -> None:
    model, images, labels = small(name)
    output = model(images, labels)
    assert output.activation.shape == (4, 3)
    assert output.pose.shape[:2] == (4, 3)
    assert output.reconstruction is None
    losses = model.loss(output, images, labels)
    losses.total.backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None]
    assert not silent
    assert all(bool(value.grad.isfinite().all()) for value in model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_of_one_is_the_row_of_a_batch(name: str) -> None:
    model, images, labels = small(name)
    for _ in range(2):
        model(images, labels)  # running statistics
    model.eval()
    together = model(images)
    torch.testing.assert_close(model(images[2:3]).activation[0], together.activation[2])


@pytest.mark.parametrize("name", SMALL)
def test_it_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model, images, labels = small(name)
    model.loss(model(images, labels), images, labels)
    model.eval().save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert torch.equal(again(images).activation, model(images).activation)
    assert again.config == model.config
    assert dict(again.named_buffers()).keys() == dict(model.named_buffers()).keys()


@pytest.mark.parametrize("name", ["em_capsnet", "self_routing_capsnet"])
def test_it_exports(name: str) -> None:
    model, images, _ = small(name)
    model.eval()
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images).activation, model(images).activation)


def test_layers_have_parameters_of_their_own_and_the_routing_that_is_asked_for() -> None:
    routing = EMRouting(3, final_lambda=0.1)
    model = EMCapsNet(14, num_classes=3, **TINY, routing=routing)
    layers = [*model.layers, model.classes]
    assert [layer.routing.beta_a.numel() for layer in layers] == [2, 3, 3]
    assert routing.beta_a is None
    assert all(layer.routing.final_lambda == 0.1 for layer in layers)
    assert all(layer.competition == "all" for layer in model.layers)
    other = create_model("em_capsnet", **{**SMALL["em_capsnet"], "routing": "attention"})
    assert other.config["routing"]["name"] == "attention"


class Mine(AttentionRouting):
    """Attention of somebody's own."""

    name = "mine"


def test_a_kind_of_attention_of_ones_own_is_that_of_all_layers() -> None:
    model = AttentionCapsNet(**SMALL["attention_capsnet"], routing=Mine(2, backend="reference"))
    routings = [layer.routing for layer in (*model.layers, model.classes)]
    assert all(type(routing) is Mine for routing in routings)
    assert {routing.backend for routing in routings} == {"reference"}
    assert [routing.activations for routing in routings] == [False, False, False, True]


def test_dense_layers_may_come_from_an_iterator() -> None:
    options = {**SMALL["attention_capsnet"], "dense": iter((5, 4))}
    model: Any = AttentionCapsNet(**options)
    assert [layer.sizes[2] for layer in model.layers[2:]] == [5, 4]


def test_the_margin_grows_with_the_steps_that_are_trained() -> None:
    model, images, labels = small("em_capsnet")
    assert isinstance(model, EMCapsNet)
    output = model(images, labels)
    model.steps_trained.fill_(200_000)
    expected = spread_loss(output.activation, labels, spread_margin(200_000))
    torch.testing.assert_close(model.loss(output, images, labels).total, expected)
    assert model.steps_trained == 200_001
    model.eval()
    model.loss(output, images, labels)
    assert model.steps_trained == 200_001
    assert "steps_trained" in model.state_dict()


def test_self_routing_finds_one_class_an_image() -> None:
    model, images, _ = small("self_routing_capsnet")
    assert not model.finds_several
    with pytest.raises(ValueError, match=r"labels must be \[B\]: SelfRoutingCapsNet finds one"):
        model.loss(model(images), images, torch.ones(4, 3))


def test_the_loss_of_self_routing_is_the_log_likelihood() -> None:
    model, images, labels = small("self_routing_capsnet")
    output = model.eval()(images)
    torch.testing.assert_close(output.activation.sum(dim=1), torch.ones(4))
    expected = -output.activation.log()[range(4), labels].mean()
    torch.testing.assert_close(model.loss(output, images, labels).total, expected)


def test_training_takes_the_routing_of_the_model_unless_another_is_asked_for() -> None:
    chosen = model_options(TrainConfig(model="em_capsnet", iterations=5))["routing"]
    assert (chosen.name, chosen.iterations, chosen.lambda_scale) == ("em", 5, 1 / 16)
    asked = model_options(TrainConfig(model="variational_capsnet", routing="dynamic"))["routing"]
    assert asked.name == "dynamic"
    with pytest.raises(InputError, match="--reconstruct is not for em_capsnet, which has none"):
        model_options(TrainConfig(model="em_capsnet", reconstruct=True))


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"images of 12×28 are too small: .* is 13×13"):
        EMCapsNet((12, 28))
    with pytest.raises(ValueError, match="types must be two positive whole numbers"):
        EMCapsNet(types=(8, 8, 8))
    with pytest.raises(ValueError, match="types must be two positive whole numbers, got 5"):
        EMCapsNet(types=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dense must be positive whole numbers, got 5"):
        AttentionCapsNet(dense=5)  # type: ignore[arg-type]


def test_variational_routing_starts_undecided() -> None:
    """With votes as large as the prior every coupling starts at 0 or 1, and nothing is learned."""
    torch.manual_seed(0)
    model = create_model("variational_capsnet", conv_channels=16, primary_types=4, types=(4, 4))
    with torch.no_grad():
        trace = model.trace(torch.rand(4, 1, 28, 28))
    for name in ("layers.0", "layers.1", "classes"):
        layer = trace[name]
        assert isinstance(layer, RoutingTrace)
        coupling = layer.coupling[-1]
        share = coupling / coupling.sum(dim=-1, keepdim=True).clamp(min=1e-12)
        undecided = torch.special.entr(share).sum(dim=-1) / math.log(share.shape[-1])
        assert undecided[coupling.sum(dim=-1) > 0].mean() > 0.8, name  # 0.13 with such votes


def test_poses_of_a_deep_network_do_not_vanish() -> None:
    """Squash takes short vectors to the squares of their lengths, in twelve layers."""
    torch.manual_seed(0)
    model = DeepCaps(conv_channels=16, types=4)
    with torch.no_grad():
        features = model.stem(torch.rand(4, 1, 28, 28))
        for cell in model.cells:
            pose = cell(features)
            features = flat(pose)
            assert pose.norm(dim=-1).mean() > 0.3


def test_attention_starts_from_votes_whose_sum_is_as_long_whatever_the_layer() -> None:
    """Σ_i V_ij / J of poses whose components have variance 1 has components of variance 1/J."""
    torch.manual_seed(0)
    model = create_model("attention_capsnet_small", image_size=32)
    layers = [layer for layer in model.modules() if isinstance(layer, ConvCaps | DenseCaps)]
    assert len(layers) == 3
    for layer in layers:
        in_caps, in_dim, out_caps, _ = layer.sizes
        expected = out_caps / (in_caps * math.sqrt(in_dim))
        assert layer.weight is not None
        assert float(layer.weight.detach().var()) == pytest.approx(expected, rel=0.15)


@torch.no_grad()
def test_deepcaps_starts_by_stretching_poses() -> None:
    """2.5 times, where the nine places under the filter hold poses of one length."""
    torch.manual_seed(0)
    layer = SquashedMap(64, 4, 32, 8, 1)
    poses = nn.functional.normalize(torch.randn(20, 16, 4, 3, 3), dim=2).flatten(1, 2)
    found = layer.conv(poses)[:, :, 1, 1].unflatten(1, (32, 8)).square().sum(dim=2).mean().sqrt()
    assert float(found) == pytest.approx(2.5, rel=0.1)
