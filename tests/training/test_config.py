import dataclasses
import json
import re
from pathlib import Path

import pytest

from torchcaps.errors import InputError
from torchcaps.training.config import (
    TrainConfig,
    config_from_dict,
    config_to_dict,
    read_train_config,
)

FULL = TrainConfig(
    data="there.npz", data_dir=Path("d"), image_size=20, iterations=1, out=Path("o"), validation=0
)


def test_there_and_back_through_json():
    values = json.loads(json.dumps(config_to_dict(FULL)))
    assert config_from_dict(values) == FULL
    assert list(values) == [field.name for field in dataclasses.fields(TrainConfig)]


def test_what_is_left_out_has_its_default():
    assert config_from_dict({}) == TrainConfig()


def test_read_from_a_run_folder_or_its_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config_to_dict(FULL)), encoding="utf-8")
    assert read_train_config(tmp_path) == FULL
    assert read_train_config(tmp_path / "config.json") == FULL


OUT_OF_RANGE = {
    "epochs": (0, -1),
    "batch_size": (0,),
    "checkpoint_every": (0,),
    "max_shift": (-1,),
    "seed": (-1,),
    "image_size": (0,),
    "channels": (0,),
    "iterations": (0, 10_001),
    "threads": (0, 1025),
    "learning_rate": (0.0, -0.1, float("nan"), float("inf"), 1e31),
    "final_learning_rate": (0, 1.5, float("nan")),
    "validation": (-0.1, 1, float("nan")),
    "precision": ("fp16", None),
    "loss_scale": ("mine",),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, many in OUT_OF_RANGE.items() for value in many]
)
def test_a_value_out_of_range_names_option_and_value(name, value):
    option = "--" + name.replace("_", "-")
    with pytest.raises(InputError, match=f"^{option} must be .*, got {re.escape(repr(value))}$"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 2.0),
        ("epochs", "2"),
        ("epochs", True),
        ("batch_size", None),
        ("learning_rate", "0.1"),
        ("reconstruct", 1),
        ("data", None),
        ("data_dir", 3),
        ("threads", 1.5),
        ("tensorboard", "yes"),
    ],
)
def test_a_value_of_the_wrong_type_names_option_and_type(name, value):
    option = "--" + name.replace("_", "-")
    with pytest.raises(InputError, match=f"^{option} must be .*, got {re.escape(repr(value))}$"):
        TrainConfig(**{name: value})


def test_an_integer_will_do_for_a_float():
    assert TrainConfig(learning_rate=1, validation=0).learning_rate == 1


def test_an_unknown_field_is_named_with_those_that_exist():
    with pytest.raises(InputError, match=r"here: there is no option 'epoch'; known are .*epochs"):
        config_from_dict({"epoch": 3}, source="here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[1]", "must hold an object of options"),
        (b'{"epochs": "three"}', "--epochs must be int or null, got 'three'"),
        (b'{"learning_rate": NaN}', "--learning-rate must be a positive number, .* got nan"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}.*{message}"):
        read_train_config(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json does not exist"):
        read_train_config(tmp_path / "gone.json")
