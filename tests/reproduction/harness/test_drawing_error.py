"""The error of drawings, against sums over pixels."""

import numpy as np
import pytest
import torch

from reproduction.harness.drawing_error import (
    drawing_errors,
    drawn,
    mean_image_errors,
    principal_errors,
)
from tests.small_runs import tiny_data
from torchcaps.data import ImageData
from torchcaps.models import CapsNet


def test_errors_of_drawings():
    model = CapsNet(17, 1, 3, conv_channels=4, primary_types=2, decoder_hidden=(8, 8)).eval()
    images = torch.rand(6, 1, 17, 17)
    data = ImageData(images, torch.arange(6) % 3, ("a", "b", "c"), "toy")
    labels = data.labels
    expected = (drawn(model, images, labels) - images).square().sum() / 6
    assert drawing_errors(model, data).mean().item() == pytest.approx(expected.item(), rel=1e-5)
    grey = (labels / 4)[:, None, None, None].expand_as(images)  # another for each class
    train = ImageData(torch.cat([grey / 2, 1.5 * grey]), labels.repeat(2), data.class_names, "toy")
    expected = (grey - images).square().sum() / 6
    assert mean_image_errors(train, data).mean().item() == pytest.approx(expected.item(), rel=1e-5)


def test_principal_components_against_a_least_squares_fit():
    """Of each class, by the singular vectors of its training images."""
    train, test = tiny_data(90)
    found = principal_errors(train, test, 3)
    for label in range(3):
        x = train.batch((train.labels == label).nonzero().flatten())[0].flatten(1).double().numpy()
        places = (test.labels == label).nonzero().flatten()
        images = test.batch(places)[0].flatten(1).double().numpy() - x.mean(0)
        directions = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:3].T
        for place, image in zip(places.tolist(), images):
            fit = directions @ np.linalg.lstsq(directions, image, rcond=None)[0]
            assert found[place].item() == pytest.approx(((image - fit) ** 2).sum(), rel=1e-4)
    assert (found < mean_image_errors(train, test)).all()


def test_no_more_components_than_the_images_have():
    train, test = tiny_data(30)
    all_of_them = principal_errors(train, train, 1000)
    assert all_of_them.max() < 1e-6
    assert principal_errors(train, test, 1000).max() > 0.1
