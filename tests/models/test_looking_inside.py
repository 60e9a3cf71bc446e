"""What a network shows of itself: traces of its capsule layers, its summary, its operations."""

import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.small_models import small
from torchcaps import (
    Capsules,
    DenseCaps,
    DynamicRouting,
    LinearVotes,
    Routing,
    RoutingTrace,
    create_model,
    create_routing,
    list_models,
    list_routings,
)
from torchcaps.models import Classifier, ModelOutput

SMALL: dict[str, Any] = {
    "image_size": 17, "num_classes": 3, "conv_channels": 4, "primary_types": 2, "pose_dim": 6,
    "decoder_hidden": [8],
}  # fmt: skip


class TwoLayers(Classifier):
    """A network of somebody's own: two layers that route, one of them twice, and no line for it."""

    def __init__(self) -> None:
        super().__init__(17, 1, 3, None)
        self.spread: nn.Module = nn.Conv2d(1, 6 * 4, 17)
        self.block = nn.ModuleDict({"deep": DenseCaps(6, 4, 6, 4, "em")})
        self.last = DenseCaps(6, 4, 3, 5)

    def forward(self, images: torch.Tensor, labels: Any = None) -> ModelOutput:
        self.check_images(images)
        pose = torch.tanh(self.spread(images)).view(-1, 6, 4)
        capsules = Capsules(pose, pose.norm(dim=-1) / 2)
        deep: Any = self.block["deep"]
        for _ in range(2):
            capsules = deep(capsules)
        return ModelOutput(*self.last(capsules), None)


@pytest.mark.parametrize("routing", list_routings())
def test_every_capsule_layer_of_every_routing(routing: str) -> None:
    model: Any = create_model("capsnet", **SMALL, routing=routing).eval()
    images = torch.rand(2, 1, 17, 17)
    output, trace = model(images), model.trace(images)
    assert list(trace) == ["primary", "classes"]
    primary, classes = trace.values()
    assert type(primary) is Capsules
    torch.testing.assert_close(primary.pose, model.primary_capsules(images).pose)
    assert type(classes) is RoutingTrace
    assert classes.coupling.shape == classes.logits.shape
    assert classes.coupling.shape[1:] == (2, 2, 3)
    torch.testing.assert_close(classes.pose[-1], output.pose)
    torch.testing.assert_close(classes.activation[-1], output.activation)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", list_models())
def test_every_network(name: str) -> None:
    model = small(name)
    images = torch.rand(2, model.channels, *model.image_size)
    with torch.no_grad():
        output, trace = model(images), model.trace(images)
    assert bool(trace) == any(isinstance(module, Routing) for module in model.modules())
    for last in list(trace.values())[-1:]:
        torch.testing.assert_close(last.pose[-1], output.pose)
    assert all(not part.requires_grad for layer in trace.values() for part in layer)


def test_a_network_of_ones_own() -> None:
    model = TwoLayers()
    images = torch.rand(2, 1, 17, 17)
    trace = model.trace(images)
    assert list(trace) == ["block.deep", "block.deep 2", "last"]
    assert [layer.coupling.shape for layer in trace.values()] == [
        (3, 2, 6, 6), (3, 2, 6, 6), (3, 2, 6, 3)
    ]  # fmt: skip
    torch.testing.assert_close(trace["last"].pose[-1], model(images).pose)
    assert (trace["block.deep"].pose[-1] - trace["block.deep 2"].pose[-1]).abs().max() > 0
    assert trace["last"].coupling.requires_grad


def test_a_model_that_fails_keeps_no_hooks() -> None:
    model = TwoLayers()
    with pytest.raises(ValueError, match="images must be"):
        model.trace(torch.rand(2, 1, 9, 9))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_compiled_model_is_looked_into_as_well() -> None:
    model = small("capsnet")
    images = torch.rand(2, model.channels, *model.image_size)
    expected = model.trace(images)
    model.compile(backend="eager")
    model(images)  # its graph is made without hooks
    found = model.trace(images)
    assert list(found) == list(expected)
    for ours, theirs in zip(found.values(), expected.values()):
        torch.testing.assert_close(ours.pose, theirs.pose)


def test_other_threads_are_not_traced() -> None:
    model = TwoLayers()
    images = torch.rand(2, 1, 17, 17)
    other = threading.Thread(target=model, args=(images,))

    class Meanwhile(nn.Module):
        def forward(self, pose: torch.Tensor) -> torch.Tensor:
            if threading.current_thread() is threading.main_thread():
                other.start()
                other.join()
            return pose

    model.spread = nn.Sequential(model.spread, Meanwhile())
    assert list(model.trace(images)) == ["block.deep", "block.deep 2", "last"]


# --- summary and repr
def test_the_summary_counts_all_parameters_and_changes_nothing() -> None:
    model = create_model("capsnet", **SMALL, routing={"name": "dynamic", "leaky": True})
    model.classes.eval()
    model.classes.routing.backend = "cpu"
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    summary = model.summary()
    assert [layer.name for layer in summary.layers] == ["conv", "primary", "classes", "decoder"]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert summary.parameters == parameters == sum(row.parameters for row in summary.layers)
    assert [layer.output for layer in summary.layers] == [(4, 9, 9), (2, 8), (3, 6), (1, 17, 17)]
    assert summary.flops == sum(layer.flops for layer in summary.layers)
    assert summary.layers[0].flops == 2 * 4 * 81 * 81
    assert summary.layers[2].note == "dynamic leaky=True"
    assert str(summary) == repr(summary)
    assert model.training
    assert not model.classes.training
    assert model.classes.routing.backend == "cpu"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", list_models())
def test_every_network_has_a_summary(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)
    summary = model.summary()
    assert summary.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert summary.flops > 0
    assert f"{summary.parameters:,}" in str(summary).splitlines()[-1]


def test_the_summary_of_other_formats() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        assert create_model("capsnet", **SMALL).to(dtype).summary().flops > 0


def test_repr_is_one_line() -> None:
    model = create_model("capsnet", **SMALL, routing="em")
    assert repr(model) == (
        "CapsNet(image_size=(17, 17), channels=1, num_classes=3, routing=em, "
        f"{model.summary().parameters:,} parameters)"
    )
    assert repr(create_model("baseline_cnn", image_size=9)).startswith("BaselineCNN(image_size=(9")


class Needing(DynamicRouting):
    """A routing of somebody's own, with an option that has no default."""

    def __init__(self, sharpness: float, **options: Any) -> None:
        super().__init__(**options)
        self.sharpness = sharpness


def test_repr_of_a_routing_whose_option_has_no_default() -> None:
    model = create_model("capsnet", **SMALL, routing=Needing(2.0, leaky=True))
    assert "routing=dynamic sharpness=2.0 leaky=True," in repr(model)


# --- operations
I, J, D, P, B, R = 40, 3, 5, 4, 6, 3


def counted(backend: str, backward: bool, detach: bool = False) -> int:
    routing = create_routing("dynamic", iterations=R, detach=detach, backend=backend)
    u, W = torch.randn(B, I, P, requires_grad=True), torch.randn(I, J, D, P, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        pose = routing(LinearVotes(u, W)).pose
        if backward:
            before = counter.get_total_flops()
            pose.sum().backward()
            return counter.get_total_flops() - before
    return counter.get_total_flops()


def test_the_operations_of_the_fused_kernel_are_counted() -> None:
    votes = B * I * J * D
    # Votes anew in each iteration; scored and added up from the second on.
    assert counted("cpu", backward=False) == 2 * votes * (R * P + 2 * (R - 1))
    # Two more sweeps, each forming votes and taking three sums; a last one with three products
    # and four sums an iteration.
    assert counted("cpu", backward=True) == 2 * votes * (2 * (P + 3) + 3 * P + 4 * R)
    assert counted("cpu", backward=True, detach=True) == 2 * votes * (3 * P + 4)
    # All votes at once: formed once, added up in every iteration.
    assert counted("reference", backward=False) == 2 * votes * (P + R)


@pytest.mark.parametrize("routing", list_routings())
def test_every_routing_can_be_counted_with_its_backward_pass(routing: str) -> None:
    for backend in ("reference", "tiles"):
        layer = DenseCaps(I, P, J, D, create_routing(routing, backend=backend))
        if backend == "tiles" and not layer.routing.by_tiles:
            continue
        with FlopCounterMode(display=False) as counter:
            sum(part.sum() for part in layer(torch.rand(2, I, P))).backward()
        assert counter.get_total_flops() > 0
        assert layer.weight is None or layer.weight.grad.isfinite().all()
