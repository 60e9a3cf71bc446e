"""The error of drawings, against sums over pixels."""

import pytest
import torch

from reproduction.harness.drawing_error import drawing_error, drawn, mean_image_error
from torchcaps.data import ImageData
from torchcaps.models import CapsNet


def test_errors_of_drawings():
    model = CapsNet(17, 1, 3, conv_channels=4, primary_types=2, decoder_hidden=(8, 8)).eval()
    images = torch.rand(6, 1, 17, 17)
    data = ImageData(images, torch.arange(6) % 3, ("a", "b", "c"), "toy")
    labels = data.labels
    expected = (drawn(model, images, labels) - images).square().sum() / 6
    assert drawing_error(model, data) == pytest.approx(expected.item(), rel=1e-5)
    grey = (labels / 4)[:, None, None, None].expand_as(images)  # another for each class
    train = ImageData(torch.cat([grey / 2, 1.5 * grey]), labels.repeat(2), data.class_names, "toy")
    expected = (grey - images).square().sum() / 6
    assert mean_image_error(train, data) == pytest.approx(expected.item(), rel=1e-5)
