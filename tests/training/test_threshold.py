from typing import Any

import pytest
import torch

from tests.small_runs import tiny_data
from torchcaps import create_model
from torchcaps.models import ModelOutput
from torchcaps.training.threshold import choose_threshold

TINY = tiny_data().train


def test_of_many_images_one_in_a_hundred_may_be_refused():
    some = TINY.subset([0] * 300)
    assert choose_threshold(model_of([0.1] * 2 + [0.95] * 298), some) == 0.5
    assert choose_threshold(model_of([0.1] * 3 + [0.41] * 297), some) == 0.1


def model_of(lengths) -> Any:
    """A capsule network whose longest capsule is, image by image, what is said here."""
    model: Any = create_model("capsnet_small", image_size=17, num_classes=3)
    told = iter(lengths)

    def forward(images, labels=None):
        largest = torch.tensor([next(told) for _ in images])
        activation = torch.zeros(len(images), 3)
        activation[:, 1] = largest
        return ModelOutput(torch.zeros(len(images), 3, 16), activation, None)

    model.forward = forward
    return model


@pytest.mark.parametrize(
    ("lengths", "threshold"),
    [
        ([0.95] * 96, 0.5),  # well trained: midway between absent and present
        ([0.128] + [0.95] * 95, 0.12),  # at 0.5 it would refuse one in 96; rounded down
        ([0.0] * 96, 0.0),
        ([float("nan")] * 96, 0.0),
    ],
)
def test_it_refuses_few_known_images(lengths, threshold):
    assert choose_threshold(model_of(lengths), TINY) == threshold


def test_a_network_whose_activations_say_nothing_of_presence_refuses_nothing():
    cnn = create_model("baseline_cnn", image_size=17, num_classes=3)
    assert choose_threshold(cnn, TINY) == 0


def test_a_model_says_its_threshold():
    model = create_model("capsnet_small")
    assert model.threshold == 0
    model.metadata = {"threshold": 0.25}
    assert model.threshold == 0.25
