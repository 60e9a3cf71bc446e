"""A model that cannot be trained or saved is told so before its run has a folder."""

import pytest
import torch
from torch import nn

from tests.small_runs import NAMES, tiny_data
from tests.tiny_recommender import Interests, NextItem, recommender_config, tiny_sequences
from torchcaps.errors import InputError
from torchcaps.models import create_model
from torchcaps.training.fit import fit
from torchcaps.training.loop import train_task


class Counting(Interests):
    """Keeps more than tensors."""

    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        pass


def with_part(part: nn.Module) -> Interests:
    model = Interests()
    model.add_module("part", part)
    return model


def complex_part() -> nn.Module:
    part = nn.Module()
    part.weight = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    return part


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Interests().requires_grad_(False), "no parameter of the Interests is to be trained: let"),
        (Interests().to("meta"), r"items\.weight of the Interests is on the meta device, where it"),
        (with_part(nn.BatchNorm1d(2).to("meta")), "part.weight of the Interests is on the meta"),
        (with_part(nn.LazyLinear(2)), r"part\.weight of the Interests has no shape yet: send a b"),
        (with_part(complex_part()), r"parameter part\.weight of the Interests is torch\.complex64"),
        (Counting(), "the state of the Counting has _extra_state, a dict, and a checkpoint holds"),
    ],
)
def test_a_model_that_cannot_be_trained_or_saved(tmp_path, model, said):
    with pytest.raises(InputError, match=said):
        train_task(recommender_config(tmp_path / "run"), NextItem(tiny_sequences()), model)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model: model.requires_grad_(False), "no parameter of the CapsNet is to be trained"),
        (lambda model: model.to("meta"), r"conv\.weight of the CapsNet is on the meta device"),
        (lambda model: model.double(), r"weights of torch\.float64, and images come as torch\.flo"),
        (lambda model: model.half(), r"of torch\.float16, .* convert it with model\.float\("),
    ],
)
def test_a_network_for_images_too(tmp_path, change, said):
    model = create_model("capsnet_small", image_size=17, num_classes=3, class_names=NAMES)
    with pytest.raises(InputError, match=said):
        fit(tiny_data(), change(model), out=tmp_path / "run", epochs=1, threads=1)
    assert not (tmp_path / "run").exists()
