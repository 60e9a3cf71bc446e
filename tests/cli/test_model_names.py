"""Every command that takes a model takes the names that `load_model` takes."""

import json
import shutil

import pytest
from huggingface_hub import constants

from tests.small_runs import tiny_data, write_npz


@pytest.fixture
def on_the_hub(run, tmp_path, monkeypatch):
    """me/tiny lies in huggingface_hub's cache, as a download leaves it, and the Hub is out of
    reach; the current folder is an empty one."""
    cache, here = tmp_path / "cache", tmp_path / "here"
    snapshot = cache / "models--me--tiny" / "snapshots" / ("0" * 40)
    shutil.copytree(run / "model", snapshot)
    reference = cache / "models--me--tiny" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("0" * 40)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def write_images(folder):
    """A grey image of 28×28 pixels, and one of the size of the tiny network."""
    from PIL import Image

    Image.new("L", (28, 28)).save(folder / "image.png")
    return folder / "image.png"


@pytest.mark.parametrize("name", ["digits", "me/tiny"])
def test_a_model_by_name(torchcaps, on_the_hub, tmp_path, name):
    image = write_images(tmp_path)
    for arguments in (
        ["predict", name, image, "--pictures", "no"],
        ["export", name, "--to", "pt2"],
        ["explore", name, "--no-open"],
    ):
        answer = torchcaps(*arguments)
        assert answer.code == 0, answer.err
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"model.pt2", "explorer.html"}


def test_eval_of_a_model_by_name(torchcaps, on_the_hub, trained):
    answer = torchcaps("eval", "me/tiny", "--data", trained / "tiny.npz", "--json")
    assert answer.code == 0, answer.err
    by_folder = torchcaps("eval", trained / "run", "--data", trained / "tiny.npz", "--json")
    assert json.loads(answer.out) == json.loads(by_folder.out)
    unnamed = torchcaps("eval", "me/tiny")
    assert unnamed.code == 2
    assert "me/tiny does not say what it was trained on: name it with --data" in unnamed.err


def test_training_begins_with_a_model_by_name(torchcaps, on_the_hub, tmp_path):
    data = write_npz(tmp_path / "more.npz", tiny_data())
    options = ["--data", data, "--epochs", 1, "--precision", "fp32", "--out", tmp_path / "second"]
    answer = torchcaps("train", "--init", "me/tiny", *options)
    assert answer.code == 0, answer.err
    assert "beginning with the weights of me/tiny; drawn anew: none" in answer.out


def test_a_name_has_no_run_around_it(torchcaps, on_the_hub, run, monkeypatch):
    monkeypatch.chdir(run)
    answer = torchcaps("eval", "digits")
    assert answer.code == 2
    assert "digits does not say what it was trained on" in answer.err


def test_a_folder_comes_before_a_name(torchcaps, on_the_hub, run):
    shutil.copytree(run / "model", "digits")
    answer = torchcaps("export", "digits", "--to", "pt2", "--out", "tiny.pt2")
    assert answer.code == 0, answer.err
    assert "images of noise" in answer.out  # not the digits of the package


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("digit", "digit does not exist: did you mean digits?"),
        ("me/other", "me/other is no folder here, and the Hugging Face Hub does not give it"),
        ("a/b/c", "a/b/c does not exist: name the folder of a run or of a saved model"),
    ],
)
def test_names_that_are_none(torchcaps, on_the_hub, tmp_path, name, said):
    image = write_images(tmp_path)
    for arguments in (
        ["predict", name, image],
        ["export", name],
        ["explore", name],
        ["eval", name, "--data", "mnist5k"],
        ["train", "--init", name],
    ):
        answer = torchcaps(*arguments)
        assert answer.code == 2, answer
        assert said in answer.err
        assert answer.err.count("\n") == 1
