"""Loads what the first step of a training loads, for processes forked from one that has."""

import torch

from tests.small_models import small

torch.set_num_threads(1)  # a pool of threads would not live in what is forked
model = small("capsnet_small")
images, labels = torch.rand(16, model.channels, *model.image_size), torch.arange(16) % 3
model.loss(model(images, labels), images, labels).total.backward()
with torch.no_grad():
    model.eval()(images)
