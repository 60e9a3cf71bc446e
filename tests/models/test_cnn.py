"""The baseline CNN behind the interface of the capsule networks."""

from typing import Any

import pytest
import torch
from torch import nn

from torchcaps import BaselineCNN

SMALL: dict[str, Any] = {"conv_channels": (4, 4, 4), "hidden": (16, 8)}


def test_activation_is_the_softmax_of_its_poses_over_the_classes() -> None:
    model = BaselineCNN((9, 12), 3, 5, **SMALL).eval()
    images = torch.rand(4, 3, 9, 12)
    pose, activation, reconstruction = model(images)
    assert pose.shape == (4, 5, 1)
    torch.testing.assert_close(activation, pose[..., 0].softmax(dim=1))
    assert reconstruction is None
    torch.testing.assert_close(model(images[:1]).activation[0], activation[0])


def test_its_loss_is_cross_entropy() -> None:
    model = BaselineCNN(8, **SMALL).eval()
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([1, 2, 3, 4])
    output = model(images, labels)
    expected = nn.functional.nll_loss(output.activation.log(), labels)
    torch.testing.assert_close(model.loss(output, images, labels).total, expected)


def test_it_drops_out_while_training_alone() -> None:
    model = BaselineCNN(8, **SMALL, dropout=0.9)
    images = torch.rand(64, 1, 8, 8)
    assert not torch.equal(model(images).pose, model(images).pose)
    model.eval()
    assert torch.equal(model(images).pose, model(images).pose)
    with pytest.raises(ValueError, match="images must be"):
        model(torch.rand(1, 1, 9, 8))


def test_label_smoothing_takes_from_the_true_class_and_gives_to_all() -> None:
    model = BaselineCNN(17, num_classes=3, conv_channels=(4,), hidden=(8,), label_smoothing=0.3)
    images, labels = torch.rand(5, 1, 17, 17), torch.tensor([0, 2, 1, 1, 0])
    output = model.eval()(images)
    log = torch.log(output.activation)
    by_hand = -sum(0.7 * log[i, k] + 0.3 * log[i].mean() for i, k in enumerate(labels)) / 5
    torch.testing.assert_close(model.loss(output, images, labels).total, by_hand)
    assert model.config["label_smoothing"] == 0.3
    with pytest.raises(ValueError, match="label_smoothing must be from 0"):
        BaselineCNN(label_smoothing=1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0, 1, 1]] * 2), r"labels must be \[B\]: BaselineCNN finds one class"),
        (torch.tensor([1, -100]), "labels must be 0 to 2, got -100 to 1"),
        (torch.tensor([1, 3]), "labels must be 0 to 2, got 1 to 3"),
        (torch.tensor([1]), r"labels must be \[B\] = \[2\] class indices"),
    ],
)
def test_its_loss_refuses_labels_that_are_none(labels: torch.Tensor, message: str) -> None:
    model = BaselineCNN(8, num_classes=3, **SMALL)
    images = torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match=message):
        model.loss(model(images), images, labels)


def test_its_loss_of_no_image_is_refused_and_of_float64_is_float64() -> None:
    model = BaselineCNN(8, num_classes=3, **SMALL).double()
    images, labels = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 2])
    assert model.loss(model(images), images, labels).total.dtype == torch.float64
    with pytest.raises(ValueError, match="must not be empty"):
        model.loss(model(images[:0]), images[:0], labels[:0])
