"""What a type checker sees of the public modules: `Capsules` and `ModelOutput`, not `Any`.

mypy reads this file with all the tests (`make check`); running it shows that the types are true.
"""

from typing import assert_type

import torch

from torchcaps import (
    CapsNet,
    Capsules,
    Classifier,
    DenseCaps,
    DynamicRouting,
    ModelOutput,
    PrimaryCaps,
    Routing,
    create_model,
    create_routing,
)


def test_calls_have_types() -> None:
    primary = PrimaryCaps(2, types=3, dim=4, kernel_size=3, stride=2)
    capsules = primary(torch.randn(1, 2, 7, 7))
    assert_type(capsules, Capsules)
    assert type(capsules) is Capsules
    layer = DenseCaps(27, 4, 5, 6, routing="em")
    classes = layer(capsules)
    assert_type(classes, Capsules)
    assert type(classes) is Capsules
    votes = torch.randn(1, 3, 2, 4)
    routed = DynamicRouting(2)(votes)
    assert_type(routed, Capsules)
    assert type(routed) is Capsules
    routing = create_routing("dynamic")
    assert isinstance(routing, Routing)
    assert_type(routing(votes), Capsules)


def test_models_have_types() -> None:
    model = CapsNet(conv_channels=4, primary_types=2)
    output = model(torch.rand(1, 1, 28, 28))
    assert_type(output, ModelOutput)
    assert type(output) is ModelOutput
    by_name = create_model("capsnet_small")
    assert_type(by_name, Classifier)
    assert_type(by_name(torch.rand(1, 1, 28, 28)), ModelOutput)
