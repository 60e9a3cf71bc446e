"""A routing that learns belongs to one layer."""

from collections.abc import Callable
from typing import Any

import pytest

from torchcaps.layers import ClassCaps, ConvCaps, ConvolvedCaps, DenseCaps, InterestCaps
from torchcaps.routing import create_routing

LAYERS: dict[str, Callable[[Any], Any]] = {
    "classes": lambda routing: ClassCaps(2, 16, 3, 16, 4, routing),
    "conv": lambda routing: ConvCaps(2, 16, 3, 16, 3, routing=routing),
    "convolved": lambda routing: ConvolvedCaps(2, 4, 3, 4, 3, routing=routing),
    "dense": lambda routing: DenseCaps(6, 4, 3, 4, routing),
    "interests": lambda routing: InterestCaps(4, 3, maps="interest", routing=routing),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_second_layer_does_not_take_the_parameters_of_the_first(make: Any) -> None:
    routing = create_routing("em")
    layer = make(routing)
    before = list(layer.routing.parameters())
    with pytest.raises(ValueError, match="EMRouting has its parameters already, from another"):
        make(routing)
    assert all(one is other for one, other in zip(before, layer.routing.parameters(), strict=True))
    shared = create_routing("dynamic")  # learns nothing
    assert make(shared).routing is make(shared).routing


@pytest.mark.parametrize("routing", ["self_routing", "heinsen2022"])
def test_votes_of_a_convolution_have_no_poses_for_a_routing_to_look_at(routing: str) -> None:
    with pytest.raises(ValueError, match=f"{routing} routing needs the poses .* take ConvCaps"):
        LAYERS["convolved"](routing)
