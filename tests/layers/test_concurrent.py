"""Layers that are routed at the same time."""

from typing import Any

import pytest
import torch
from torch import nn

from torchcaps import ConvCaps, DenseCaps
from torchcaps.layers import route_concurrently


def attention(iterations: int = 1) -> dict[str, object]:
    return {"name": "attention", "iterations": iterations}


def stack() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        DenseCaps(6, 4, 5, 8, attention()),
        DenseCaps(5, 8, 4, 6, attention()),
        DenseCaps(4, 6, 3, 5, attention()),
    ]


def test_with_one_iteration_the_order_makes_no_difference() -> None:
    layers, expected = stack(), torch.randn(2, 6, 4)
    found = route_concurrently(layers, expected, 1)
    for layer, capsules in zip(layers, found):
        expected = layer(expected)
        torch.testing.assert_close(capsules, expected)


@pytest.mark.parametrize("iterations", [2, 3])
def test_a_layer_steps_from_what_was_there_before(iterations: int) -> None:
    """So that after r iterations the first layer is at its r-th, and the last has heard of r."""
    pose = torch.randn(2, 6, 4)
    layers = stack()
    found = route_concurrently(layers, pose, iterations)
    for layer in layers:
        layer.routing.iterations = iterations
    torch.testing.assert_close(found[0], layers[0](pose))
    in_turn = layers[1](layers[0](pose)).pose
    assert (found[1].pose - in_turn).abs().max() > 1e-4
    first: list[Any] = [layer.routing.norm.bias for layer in layers]
    reached = torch.autograd.grad(found[2].pose.square().sum(), first)
    assert all(gradient.abs().max() > 0 for gradient in reached)


def test_a_map_of_capsules_is_routed_so_too() -> None:
    pose = torch.randn(2, 3, 6, 6, 4)
    layers = [
        ConvCaps(3, 4, 5, 4, 3, 2, routing=attention()),
        ConvCaps(5, 4, 2, 4, 2, routing=attention()),
    ]
    found = route_concurrently(layers, pose, 2)
    assert found[1].pose.shape == (2, 2, 1, 1, 4)
    layers[0].routing.iterations = 2
    torch.testing.assert_close(found[0], layers[0](pose))


def test_layers_are_left_as_they_were() -> None:
    layers, pose = stack(), torch.randn(2, 6, 4)
    before = layers[0](pose)
    route_concurrently(layers, pose, 3)
    torch.testing.assert_close(layers[0](pose), before)
    for layer in layers:
        assert layer.routing.iterations == 1
        assert layer.routing.backend == "auto"
        assert layer.routing.stepped is None


def test_mistakes() -> None:
    pose = torch.randn(2, 6, 4)
    with pytest.raises(ValueError, match="layers must have at least one layer"):
        route_concurrently([], pose)
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        route_concurrently(stack(), pose, 0)
    with pytest.raises(
        TypeError, match=r"layers must route by attention .* got DenseCaps with Dyn"
    ):
        route_concurrently([DenseCaps(6, 4, 5, 8)], pose)
    with pytest.raises(TypeError, match="got Linear with NoneType"):
        route_concurrently([nn.Linear(4, 4)], pose)


def test_it_compiles_into_one_graph_and_leaves_the_layers_as_they_were():
    layers = nn.ModuleList(
        [DenseCaps(6, 4, 5, 8, "attention"), DenseCaps(5, 8, 3, 4, "attention")]
    ).eval()
    x = torch.randn(2, 6, 4)
    alone = route_concurrently(list(layers), x, 3)
    compiled = torch.compile(
        lambda pose: route_concurrently(list(layers), pose, 3), backend="eager", fullgraph=True
    )
    for one, other in zip(compiled(x), alone):
        assert torch.allclose(one.pose, other.pose, atol=1e-6)
    assert [(layer.routing.iterations, layer.routing.backend) for layer in layers] == [
        (3, "auto")
    ] * 2


@pytest.mark.parametrize("compiled", ["layer", "routing"])
def test_compiled_layers(compiled: str) -> None:
    layers, capsules = stack(), torch.randn(2, 6, 4)
    expected = route_concurrently(layers, capsules, 3)
    for layer in layers:
        (layer if compiled == "layer" else layer.routing).compile(backend="eager")
    for ours, theirs in zip(route_concurrently(layers, capsules, 3), expected):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_hooks_on_gradients_are_called_with_the_layer_itself(kind: str) -> None:
    layers, called = stack(), []
    getattr(layers[0], kind)(lambda module, *_: called.append(module))
    capsules = torch.randn(2, 6, 4, requires_grad=True)
    route_concurrently(layers, capsules, 2)[-1].pose.sum().backward()
    assert called
    assert all(module is layers[0] for module in called)
