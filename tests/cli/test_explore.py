import json
import shutil
import struct

import pytest

from tests.small_runs import NAMES, arguments_of, listing, tiny_config, weights_of
from torchcaps.cli import explore
from torchcaps.explorer import SHIPPED
from torchcaps.models import create_model


@pytest.fixture
def opened(monkeypatch):
    """The addresses that a browser was asked to open."""
    addresses: list[str] = []
    monkeypatch.setattr(explore.webbrowser, "open", addresses.append)
    monkeypatch.setattr(explore.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    return addresses


def data_in(path):
    text = path.read_text(encoding="utf-8")
    begin = text.index(">", text.index('id="torchcaps-data"')) + 1
    return json.loads(text[begin : text.index("</script>", begin)])


def test_without_a_name_it_shows_the_network_of_the_package(
    torchcaps, opened, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    answer = torchcaps("explore")
    assert (answer.code, answer.out, answer.err) == (0, "explorer: explorer.html\n", "")
    assert opened == [(tmp_path / "explorer.html").as_uri()]
    data = data_in(tmp_path / "explorer.html")
    assert data["config"]["class_names"] == list("0123456789")
    assert set(data["samples"]["kinds"]) == {"right", "wrong", "overlap"}
    assert data["pairs"]["config"]["at_once"] == 2  # the network of pairs is there to be chosen
    assert list(listing(tmp_path)) == ["explorer.html"]


def test_a_run_gets_its_page_with_its_own_held_out_images(torchcaps, opened, run):
    before = listing(run)
    answer = torchcaps("explore", run)
    assert (answer.code, answer.out, answer.err) == (0, f"explorer: {run / 'explorer.html'}\n", "")
    assert set(listing(run)) - set(before) == {"explorer.html"}
    data = data_in(run / "explorer.html")
    assert data["config"]["class_names"] == list(NAMES)
    assert data["title"].startswith("tiny: ")
    assert "pairs" not in data
    kinds = data["samples"]["kinds"]
    assert kinds.count("right") + kinds.count("wrong") >= 6
    assert (data["samples"]["height"], data["samples"]["width"]) == (17, 17)


def test_the_model_folder_of_a_run_is_the_run(torchcaps, opened, run):
    answer = torchcaps("explore", run / "model", "--no-open")
    assert answer.out == f"explorer: {run / 'explorer.html'}\n"
    assert opened == []


def test_a_model_alone_goes_where_it_is_told(torchcaps, opened, run, tmp_path):
    shutil.move(run / "model", tmp_path / "alone")
    out = tmp_path / "new" / "page.html"
    answer = torchcaps("explore", tmp_path / "alone", "--out", out)
    assert answer.code == 0, answer.err
    assert opened == [out.as_uri()]
    assert data_in(out)["samples"]["labels"] == []  # nothing of its size and classes is at hand
    assert answer.out.endswith("\nwithout held-out images: none that fit were found\n")


def test_a_run_whose_data_are_gone(torchcaps, opened, run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"data": "gone.npz"}))
    assert torchcaps("explore", run).code == 0
    assert data_in(run / "explorer.html")["samples"]["labels"] == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", {"data": 5}, "config.json: --data must be"),
        ("config.json", [], "config.json must hold an object of options"),
        ("run.json", {"data": {"name": "tiny"}}, "run.json is damaged ("),
        ("run.json", [], "run.json is damaged ("),
    ],
)
def test_a_damaged_file_of_a_run_is_named_and_not_its_data(
    torchcaps, opened, run, name, content, said
):
    assert torchcaps("explore", run).code == 0
    page = (run / "explorer.html").read_bytes()
    (run / name).write_text(json.dumps(content))
    answer = torchcaps("explore", run)
    assert answer.code == 2
    assert answer.err.startswith(f"torchcaps: {run}/{said}")
    assert "were not found" not in answer.err
    assert (run / "explorer.html").read_bytes() == page
    answer = torchcaps("explore", run, "--out", run.parent / "page.html")
    assert answer.code == 0
    assert f"\nwithout held-out images: {run}/{said}" in answer.out


def test_without_a_screen_nothing_is_opened(torchcaps, opened, run, monkeypatch):
    monkeypatch.delenv("DISPLAY")
    assert torchcaps("explore", run).code == 0
    assert opened == []


@pytest.mark.parametrize("model", ["capsnet_small", "image_capsnet"])
def test_train_leaves_the_page(torchcaps, trained, tmp_path, opened, model):
    config = tiny_config(tmp_path / "run", data=str(trained / "tiny.npz"), epochs=1, model=model)
    answer = torchcaps("train", *arguments_of(config))
    assert (answer.code, answer.err) == (0, "")
    page = tmp_path / "run" / "explorer.html"
    assert answer.out.endswith(f"\nexplorer: {page}\nfolder: {tmp_path / 'run'}\n")
    assert opened == []
    samples = data_in(page)["samples"]
    assert torchcaps("explore", tmp_path / "run").code == 0
    again = data_in(page)["samples"]
    assert samples["labels"] == again["labels"]


def test_train_says_so_where_the_page_cannot_be_made(torchcaps, trained, tmp_path, monkeypatch):
    from torchcaps.errors import InputError

    def refuse(*arguments):
        raise InputError("too loud")

    monkeypatch.setattr("torchcaps.explorer.write_explorer", refuse)
    config = tiny_config(tmp_path / "run", data=str(trained / "tiny.npz"), epochs=1)
    answer = torchcaps("train", *arguments_of(config))
    assert (answer.code, answer.err) == (0, "")
    assert "\nexplorer: none (too loud)\nfolder: " in answer.out
    assert weights_of(tmp_path / "run")


def test_train_of_a_network_without_capsules_makes_none(torchcaps, trained, tmp_path, monkeypatch):
    from torchcaps.models.registry import RECIPES

    small = {"conv_channels": (2, 2, 2), "hidden": (3, 3)}
    monkeypatch.setitem(RECIPES, "baseline_cnn", RECIPES["baseline_cnn"]._replace(arguments=small))
    config = tiny_config(
        tmp_path / "run", data=str(trained / "tiny.npz"), epochs=1, model="baseline_cnn",
        iterations=None,
    )  # fmt: skip
    answer = torchcaps("train", *arguments_of(config))
    assert (answer.code, answer.err) == (0, "")
    assert "explorer" not in answer.out
    assert not (tmp_path / "run" / "explorer.html").exists()
    answer = torchcaps("explore", tmp_path / "run")
    assert answer.code == 2
    assert "the explorer shows capsules, and a BaselineCNN has none" in answer.err


# --- corrupt checkpoints
def flipped(content):
    """The header's length turned into a huge number."""
    return struct.pack("<Q", 2**62) + content[8:]


def with_nan(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["conv.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors")


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


CORRUPT = {
    "cut": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:5000]
        ),
        "cannot be read as safetensors",
    ),
    "garbage": (
        lambda f: (f / "model.safetensors").write_bytes(b"garbage" * 100),
        "cannot be read as safetensors",
    ),
    "header": (
        lambda f: (f / "model.safetensors").write_bytes(
            flipped((f / "model.safetensors").read_bytes())
        ),
        "cannot be read as safetensors",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no model.safetensors"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be read as safetens"),
    "not finite": (with_nan, "conv.bias holds numbers that are not finite"),
    "other network": (lambda f: change(f, pose_dim=5), "does not fit the CapsNet"),
    "config": (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
    "metadata": (lambda f: change(f, metadata=3), "metadata must be an object"),
    "kind": (lambda f: change(f, architecture="Perceptron"), "holds a Perceptron"),
    "class names": (lambda f: change(f, class_names=["a", "a", "b"]), "class_names must be"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_checkpoint_is_answered_in_one_sentence(torchcaps, opened, run, tmp_path, name):
    spoil, said = CORRUPT[name]
    folder = tmp_path / "model"
    shutil.copytree(run / "model", folder)
    spoil(folder)
    out = tmp_path / "page.html"
    out.write_text("an earlier page")
    answer = torchcaps("explore", folder, "--out", out)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("torchcaps: ")
    assert answer.err.count("\n") == 1
    assert said in answer.err
    assert out.read_text() == "an earlier page"
    assert opened == []


def test_other_mistakes(torchcaps, opened, run, unfinished, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "notes.html").write_text("my notes")
    for arguments, said in [
        (
            ["--out", tmp_path / "notes.html"],
            "notes.html is there already and not a page of the explorer",
        ),
        ([tmp_path / "none"], "none does not exist: name the folder of a run"),
        ([tmp_path / "file"], "file is a file: name the folder of a run"),
        ([tmp_path], f"{tmp_path} holds no config.json"),
        ([unfinished], "is not finished, so it has no model yet"),
        (["--out", tmp_path], f"--out {tmp_path} is a folder: name a file"),
        (["--out", "/dev/null"], "--out /dev/null is a device: name a plain file"),
        (
            ["--out", f"{tmp_path}/new/"],
            f"new must end in .html, as pages do: write {tmp_path}/new",
        ),
        (
            ["--out", tmp_path / "new"],
            f"or for a page in a folder of that name {tmp_path}/new/expl",
        ),
        ([run, "--out", run / "config.json"], "config.json is a file of the model: name another"),
        (["--out", ""], "--out is empty: give it a value, or leave it out"),
        (["--out="], "--out is empty: give it a value, or leave it out"),
        ([""], "an argument is empty: give it a value, or leave it out"),
        (["--out", tmp_path / "file" / "a.html"], "file: File exists"),
    ]:
        answer = torchcaps("explore", *arguments)
        assert answer.code == 2, arguments
        assert answer.err.count("\n") == 1
        assert said in answer.err
    assert opened == []
    assert not (tmp_path / "new").exists()


# --- what comes with the package
def test_the_network_of_the_package_is_small_and_knows_digits():
    from torchcaps.data import load_data
    from torchcaps.models import load_model
    from torchcaps.training.metrics import evaluate

    assert sum(path.stat().st_size for path in SHIPPED.iterdir() if path.is_file()) < 3_000_000
    model = load_model(SHIPPED)
    assert {parameter.dtype for parameter in model.parameters()} == {
        next(create_model("capsnet_small").parameters()).dtype
    }
    measured = evaluate(model, load_data("mnist5k").test)
    assert measured.accuracy >= 0.98
    assert f"{measured.accuracy:.2%} of 1000 digits" in model.metadata["held_out_accuracy"]


def test_a_file_that_is_no_page_is_not_replaced(torchcaps, opened, tmp_path):
    out = tmp_path / "notes.html"
    out.write_text("<!doctype html> my notes")
    answer = torchcaps("explore", "--out", out)
    assert (answer.code, answer.out) == (2, "")
    assert f"--out {out} is there already and not a page of the explorer" in answer.err
    assert out.read_text() == "<!doctype html> my notes"
    out.unlink()
    assert torchcaps("explore", "--out", out).code == 0
    assert torchcaps("explore", "--out", out).code == 0
