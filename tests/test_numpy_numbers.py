"""NumPy's numbers are taken wherever Python's are, and are saved as JSON."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from torchcaps import DenseCaps, PrimaryCaps, create_model, create_routing, load_model
from torchcaps.data import MultiMNIST, affine_images, load_data, random_shift
from torchcaps.storage import write_json
from torchcaps.training.config import TrainConfig, config_to_dict
from torchcaps.types import check_counts, check_number

KINDS: tuple[Any, ...] = (int, np.int64)
WHOLE: Any = np.int64  # which the annotations, written for Python's, do not name
WIDTHS = {"conv_channels": np.int64(8), "primary_types": np.int32(2), "pose_dim": np.uint8(4)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("capsnet_small", WIDTHS | {"decoder_hidden": np.array([8, 9])}),
        ("capsnet_small", WIDTHS | {"routing": {"name": "dynamic", "iterations": np.int64(2)}}),
        ("capsnet_small", WIDTHS | {"routing": {"name": "em", "mass_floor": np.float32(0.25)}}),
        ("baseline_cnn", {"conv_channels": np.array([4, 5]), "hidden": (np.int64(6),)}),
    ],
)
def test_a_model_built_with_them_is_saved_and_loaded(tmp_path, name, options):
    shape = {"image_size": np.int64(20), "channels": np.int64(3), "num_classes": np.int64(4)}
    model = create_model(name, **shape, **options).eval()
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert {option: saved[option] for option in again.config} == again.config
    images = torch.rand(2, 3, 20, 20)
    assert torch.equal(again(images).activation, model(images).activation)


def test_layers_and_routings_take_them():
    pose = torch.randn(2, 6, 4)
    layer = DenseCaps(WHOLE(6), WHOLE(4), WHOLE(3), WHOLE(5), routing="dynamic")
    assert layer(pose).pose.shape == (2, 3, 5)
    assert type(create_routing("dynamic", iterations=np.int64(2)).iterations) is int
    assert PrimaryCaps(*np.array([4, 2, 8, 3, 1])).types == 2


def test_data_take_them():
    digits = load_data("mnist5k").test
    some = digits.subset(range(0, 1000, 20))
    pairs = [MultiMNIST(some, kind(1), max_shift=kind(2), padding=kind(2)) for kind in KINDS]
    first, second = (made.batch(kind(0), kind(3)).images for made, kind in zip(pairs, KINDS))
    assert torch.equal(first, second)
    assert affine_images(some, WHOLE(1), size=WHOLE(40)).image_size == (40, 40)
    images, shift = digits.images[:2], {"seed": WHOLE(0), "step": WHOLE(7)}
    same = random_shift(images, 2, seed=0, step=7)
    assert torch.equal(random_shift(images, WHOLE(2), **shift), same)


def test_the_options_of_a_run_take_them(tmp_path):
    options: Any = {"epochs": np.int64(3), "learning_rate": np.float32(0.5), "threads": np.int8(2)}
    config = TrainConfig(**options)
    assert config == TrainConfig(epochs=3, learning_rate=0.5, threads=2)
    write_json(tmp_path / "a.json", config_to_dict(config) | {"loss": np.float32(0.25)})
    assert json.loads((tmp_path / "a.json").read_text())["loss"] == 0.25


@pytest.mark.parametrize("value", [np.float64(3), np.bool_(True), True, "3", np.array([3]), None])
def test_what_is_no_whole_number_is_none_of_numpys_either(value):
    with pytest.raises(TypeError, match="size must be an int, got"):
        check_counts(size=value)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        check_counts(size=np.int64(0))
    check_number("share", np.float32(0.5), least=0)
