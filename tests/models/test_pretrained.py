"""Saving and loading: the same model back, and nothing but safetensors and JSON."""

import json
import math
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchcaps
from torchcaps import BaselineCNN, CapsNet, EMRouting, InputError, create_model, load_model

SMALL: dict[str, Any] = {"conv_channels": 8, "primary_types": 2, "decoder_hidden": [16]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = CapsNet([20, 18], 3, 2, ["cat", "dog"], **SMALL, loss_scale="authors")
    model.metadata = {"data": "pets", "accuracy": 0.5}
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("load", [load_model, CapsNet.from_pretrained])
def test_the_same_model_comes_back(folder: Path, load) -> None:
    model = load(folder)
    again = load(str(folder))
    assert type(model) is CapsNet
    assert not model.training
    assert model.class_names == ("cat", "dog")
    assert model.image_size == (20, 18)
    assert model.loss_scale == CapsNet(loss_scale="authors", **SMALL).loss_scale
    assert model.metadata == {"data": "pets", "accuracy": 0.5}
    images = torch.rand(2, 3, 20, 18)
    for a, b in zip(model(images), again(images)):
        assert torch.equal(a, b)


def test_weights_survive_bit_for_bit_and_a_second_saving(tmp_path: Path) -> None:
    model = create_model("capsnet_small")
    model.save_pretrained(tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    loaded.save_pretrained(tmp_path / "b")
    for file in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_folder_holds_three_files_and_a_card_that_says_what_it_is(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: torchcaps" in card
    assert "- data: pets" in card
    assert "cat, dog" in card
    assert "[B, 3, 20, 18]" in card
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "CapsNet"
    assert config["torchcaps_version"] == torchcaps.__version__


def test_a_channels_last_model_is_saved_too(tmp_path: Path) -> None:
    model = CapsNet(**SMALL).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.save_pretrained(tmp_path)
    assert torch.equal(CapsNet.from_pretrained(tmp_path).conv.weight, model.conv.weight)


def test_a_failed_saving_leaves_the_old_model(folder: Path, monkeypatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        CapsNet([20, 18], 3, 2, ["cat", "dog"], **SMALL).save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def break_config(**changes: object):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def replace_by_pickle(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"conv.weight": 1}))


def leave_only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "does not name an"),
        (break_config(architecture="ResNet"), "which this version of torchcaps does not have"),
        (break_config(architecture=3), "does not name an"),
        (break_config(primary_types="many"), "does not describe a CapsNet"),
        (break_config(image_size="big"), "does not describe a CapsNet"),
        (break_config(image_size=[5, 5]), "too small"),
        (break_config(conv_channels=-1), "does not describe a CapsNet"),
        (break_config(conv_stride=0), "does not describe a CapsNet"),
        (break_config(decoder_hidden=[-1]), "does not describe a CapsNet"),
        (break_config(routing={"name": "dynamic", "leaky": "no"}), "leaky must be True or False"),
        (
            break_config(routing={"name": "dynamic", "iterations": True}),
            "iterations must be an int",
        ),
        (break_config(routing={"name": "dynamc"}), "did you mean dynamic"),
        (break_config(routing={"name": "em", "leaky": True}), "em routing has no option 'leaky'"),
        (break_config(routing=3), "routing must be a name"),
        (break_config(metadata=None), "metadata must be an object"),
        (break_config(metadata=[1]), "metadata must be an object"),
        (break_config(metadata={"threshold": "abc"}), "threshold in it a number from 0 to 1"),
        (break_config(metadata={"threshold": math.nan}), "threshold in it a number from 0 to 1"),
        (break_config(metadata={"threshold": 2}), "threshold in it a number from 0 to 1"),
        (break_config(colour="blue"), "has 'colour', which a CapsNet of this version"),
        (break_config(class_names=["cat", "cat"]), "each another one"),
        (break_config(class_names=[1, 2]), "must be names"),
        (break_config(class_names=["cat", " "]), "must be names"),
        (break_config(primary_types=3), "does not fit the CapsNet"),
        (break_config(reconstruct=False), "decoder.layers"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be read as safetensors"),
        (truncate, "cannot be read as safetensors"),
        (replace_by_pickle, "cannot be read as safetensors"),
        (leave_only_a_pickle, "pytorch_model.bin is a pickle"),
    ],
)
def test_a_damaged_folder_is_one_clear_sentence(folder: Path, damage, message: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message):
        load_model(folder)


def test_wrong_class_and_wrong_path(folder: Path) -> None:
    with pytest.raises(InputError, match=r"holds a CapsNet, not a BaselineCNN.*load_model"):
        BaselineCNN.from_pretrained(folder)
    with pytest.raises(
        InputError, match="does not exist: name the folder of a run or of a saved model"
    ):
        load_model(folder / "absent")


def test_a_misspelt_argument_is_not_blamed_on_the_file(folder: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'map_locaton'"):
        load_model(folder, map_locaton="cpu")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"class_names": ["a"]}, "class_names has 1 names for 2 classes"),
        ({"num_classes": 5}, "class_names has 2 names for 5 classes"),
        ({"image_size": 32}, "its weights have other shapes"),
        ({"reconstruct": False}, "its weights have other shapes"),
        ({"routing": "em"}, "its weights have other shapes"),
        ({"routing": "dynamc"}, "did you mean dynamic"),
        ({"metadata": {"threshold": 2}}, "threshold in it a number from 0 to 1, got 2"),
    ],
)
def test_an_argument_that_does_not_fit_is_not_blamed_on_the_file(
    folder: Path, given: dict[str, Any], reason: str
) -> None:
    (name,) = given
    start = f"{folder} cannot be loaded with another {name} than it was saved with ("
    with pytest.raises(InputError, match=re.escape(start) + f".*{reason}") as refused:
        load_model(folder, **given)
    for blame in ("restore", "not from the same model"):
        assert blame not in str(refused.value)
    truncate(folder)  # where a file is damaged it is still the one that is named
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_model(folder, **given)


def test_arguments_that_fit_are_taken(folder: Path) -> None:
    names = np.array(["a", "b"])
    model = load_model(folder, class_names=names, routing={"name": "dynamic", "iterations": 5})
    assert (model.class_names, model.classes.routing.iterations) == (("a", "b"), 5)


def test_a_routing_with_weights_of_its_own_is_taken(tmp_path: Path) -> None:
    CapsNet(**SMALL, routing="em").save_pretrained(tmp_path)
    routing = EMRouting(5)
    model = load_model(tmp_path, routing=routing)
    assert model.classes.routing is routing
    assert routing.iterations == 5
    assert not routing.beta_a.is_meta


def test_a_routing_that_does_not_fit_is_left_as_it_was(folder: Path) -> None:
    routing = EMRouting(5)
    with pytest.raises(InputError, match="cannot be loaded with another routing"):
        load_model(folder, routing=routing)
    assert routing.beta_a is None


@pytest.mark.parametrize("name", ["architecture", "config", "torchcaps_version"])
def test_what_nobody_can_change_is_not_passed_over(folder: Path, name: str) -> None:
    for load in (load_model, CapsNet.from_pretrained):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            load(folder, **{name: "CapsNet"})


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean capsnet_small\?"):
        create_model("capsnet-smal")
    with pytest.raises(TypeError, match="conv_chanels"):
        create_model("capsnet", conv_chanels=3)
