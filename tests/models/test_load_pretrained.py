"""Trained networks by name: of the package, in folders, and on the Hugging Face Hub."""

import functools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from torchcaps import (
    CapsNet,
    InputError,
    create_model,
    list_pretrained,
    load_model,
    load_pretrained,
)
from torchcaps.explorer import SHIPPED
from torchcaps.models import folder as model_folders

SMALL: dict[str, Any] = {"image_size": 17, "conv_channels": 4, "primary_types": 2}


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """A cache of huggingface_hub that holds me/digits, as a download leaves it."""
    snapshot = tmp_path / "models--me--digits" / "snapshots" / ("0" * 40)
    create_model("capsnet", **SMALL).save_pretrained(snapshot)
    reference = tmp_path / "models--me--digits" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("0" * 40)
    return tmp_path


def test_the_networks_of_the_package() -> None:
    assert list_pretrained() == ["digit-pairs", "digits"]
    expected: Any = load_model(SHIPPED)
    models: list[Any] = [load_pretrained(), load_pretrained("digits"), load_model("digits")]
    for model in models:
        assert not model.training
        assert torch.equal(model.classes.weight, expected.classes.weight)


def test_every_one_that_is_listed_is_there() -> None:
    for name in list_pretrained():
        assert load_pretrained(name, map_location="cpu").num_classes > 1


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: Any) -> None:
    create_model("capsnet", **SMALL).save_pretrained(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert load_pretrained("digits").image_size == (17, 17)
    assert load_pretrained(Path("digits")).image_size == (17, 17)


def test_a_repository_on_the_hub(cached: Path) -> None:
    for load in (load_model, load_pretrained):
        model = load("me/digits", cache_dir=cached, local_files_only=True)
        assert model.image_size == (17, 17)
        assert not model.training


def test_a_repository_that_cannot_be_had(cached: Path) -> None:
    with pytest.raises(InputError, match=r"me/other is no folder here, and the Hugging Face Hub"):
        load_model("me/other", cache_dir=cached, local_files_only=True)
    with pytest.raises(InputError, match="is no folder here, and the Hugging Face Hub"):
        load_model("me/digits", cache_dir=cached, local_files_only=True, revision="never")


def test_the_hub_is_not_asked_for_paths(tmp_path: Path, monkeypatch: Any) -> None:
    def asked(*args: Any) -> None:
        raise AssertionError(f"asked for {args}")

    monkeypatch.setattr(model_folders, "download", asked)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    for source in ("runs/none", "./none", "/no/where", "a/b/c", "none", Path("me/digits")):
        with pytest.raises(InputError, match=re.escape(f"{Path(source)} does not exist")):
            load_model(source)
    with pytest.raises(InputError, match="did you mean digits"):
        load_pretrained("digit")


def test_a_repository_without_a_model_names_what_is_missing(cached: Path) -> None:
    (snapshot,) = (cached / "models--me--digits" / "snapshots").iterdir()
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        load_model("me/digits", cache_dir=cached, local_files_only=True)
    shutil.rmtree(snapshot)
    with pytest.raises(InputError, match="me/digits"):
        load_model("me/digits", cache_dir=cached, local_files_only=True)


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000, '{"architecture": 3}'])
def test_a_repository_whose_config_is_none(cached: Path, content: str) -> None:
    (config,) = cached.glob("models--me--digits/snapshots/*/config.json")
    config.write_text(content)
    said = "config.json (is not valid JSON|does not name an)"
    for load in (load_model, CapsNet.from_pretrained):
        with pytest.raises(InputError, match=said):
            load("me/digits", cache_dir=cached, local_files_only=True)


def test_a_repository_by_the_class_of_its_model(cached: Path) -> None:
    model = CapsNet.from_pretrained("me/digits", cache_dir=cached, local_files_only=True)
    assert model.image_size == (17, 17)
    with pytest.raises(InputError, match="me/other is no folder here, and the Hugging Face Hub"):
        CapsNet.from_pretrained("me/other", cache_dir=cached, local_files_only=True)


def test_what_does_not_fit_is_found_before_memory_is_taken(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """A config.json of a few bytes may ask for gigabytes, which its weights do not have."""
    create_model("capsnet", **SMALL).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(re.sub(r'"conv_channels": 4', '"conv_channels": 5', text))
    devices = []
    make = CapsNet.__init__

    @functools.wraps(make)  # whose arguments are looked at
    def watched(self: Any, *arguments: Any, **options: Any) -> None:
        devices.append(torch.empty(0).device.type)
        make(self, *arguments, **options)

    monkeypatch.setattr(CapsNet, "__init__", watched)
    with pytest.raises(InputError, match=r"model\.safetensors does not fit the CapsNet of config"):
        load_model(tmp_path)
    assert set(devices) == {"meta"}
