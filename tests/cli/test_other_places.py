"""Files that are somebody else's, runs that are used from other folders, and names that are odd."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_bad_input import one_sentence
from tests.small_runs import arguments_of, listing, tiny_config, tiny_data
from torchcaps.models import load_model
from torchcaps.training.config import read_train_config
from torchcaps.training.run_folder import WRITTEN


@pytest.fixture
def pictures(tmp_path):
    """Three classes of eight small pictures each, in a folder of their own."""
    draw = np.random.default_rng(0)
    for name in ("ant", "bee", "cow"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for k in range(8):
            pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pics" / name / f"{k}.png")
    return tmp_path / "pics"


# --- a run and its data, from another folder
def test_a_run_is_continued_measured_and_repeated_from_any_folder(
    torchcaps, pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = ("--epochs", "1", "--model-options", '{"stem_channels": [4, 8, 8]}')
    assert torchcaps("train", "--data", "pics", *options, "--out", "run").code == 0
    assert read_train_config(tmp_path / "run").data == "pics"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert torchcaps("eval", "../run").code == 0
    assert torchcaps("train", "--config", "../run/config.json", "--out", "again").code == 0
    assert torchcaps("train", "--resume", "../run", "--epochs", "2").code == 0
    assert torchcaps("explore", "../run", "--no-open").out.count("without held-out") == 0


def test_data_that_were_moved_are_named_and_known_by_their_digest(
    torchcaps, run, tmp_path, monkeypatch
):
    config = json.loads((run / "config.json").read_text())
    there = config["data"]
    config["data"] = "gone.npz"  # as a run of an earlier version names it
    (run / "config.json").write_text(json.dumps(config))
    for words in (("eval", run), ("train", "--resume", run, "--epochs", "30")):
        said = one_sentence(torchcaps(*words))
        assert "gone.npz does not exist" in said
        assert "say with --data where they lie now" in said
    moved = tmp_path / "moved.npz"
    shutil.copy(there, moved)
    monkeypatch.chdir(tmp_path)
    epochs = str(config["epochs"] + 1)
    answer = torchcaps("train", "--resume", run, "--epochs", epochs, "--data", "moved.npz")
    assert answer.code == 0, answer.err
    assert read_train_config(run).data == str(moved)
    np.savez(tmp_path / "other.npz", images=np.zeros((9, 17, 17), "u1"), labels=np.arange(9) % 3)
    answer = torchcaps("train", "--resume", run, "--epochs", "40", "--data", "other.npz")
    one_sentence(answer)


# --- files of others
@pytest.mark.parametrize("name", WRITTEN)
def test_a_new_run_replaces_nothing_that_lies_there(torchcaps, trained, tmp_path, name):
    config = tiny_config(tmp_path / "mine", data=str(trained / "tiny.npz"))
    if "." in name:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / name).write_text("mine")
    else:
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "step-00000900.json").write_text("mine")
    before = listing(tmp_path)
    said = one_sentence(torchcaps("train", *arguments_of(config)))
    assert f"holds {name} already" in said
    assert listing(tmp_path) == before


def test_all_that_a_run_writes_is_looked_for(torchcaps, run):
    assert torchcaps("explore", run, "--no-open").code == 0
    assert {path.name for path in run.iterdir()} == {"config.json", *WRITTEN}


def test_explore_replaces_no_page_of_others(torchcaps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "explorer.html").write_text("my own page")
    said = one_sentence(torchcaps("explore", "--no-open"))
    assert "explorer.html is there already and not a page of the explorer" in said
    assert (tmp_path / "explorer.html").read_text() == "my own page"


def test_a_page_with_images_is_not_replaced_by_one_without(torchcaps, run):
    assert torchcaps("explore", run, "--no-open").code == 0
    page = (run / "explorer.html").read_bytes()
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"data": "gone.npz"}))
    said = one_sentence(torchcaps("explore", run, "--no-open"))
    assert "gone.npz does not exist" in said
    assert (run / "explorer.html").read_bytes() == page
    other = run.parent / "other.html"
    answer = torchcaps("explore", run, "--no-open", "--out", other)
    assert answer.code == 0
    assert "without held-out images: the data of" in answer.out


def test_a_folder_called_digits_is_not_meant_by_naming_nothing(torchcaps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits" / "0").mkdir(parents=True)
    assert torchcaps("explore", "--no-open").out == "explorer: explorer.html\n"


# --- options of the network that something else decides
@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"image_size": 20}, "comes from the data: take --image-size"),
        ({"channels": 1}, "comes from the data: take --channels"),
        ({"num_classes": 5}, "comes from the data: leave it out"),
        ({"class_names": ["x", "y", "z"]}, "comes from the data: leave it out"),
        ({"routing": "em"}, "take --routing"),
        ({"reconstruct": True}, "take --reconstruct"),
        ({"loss_scale": "paper"}, "take --loss-scale"),
    ],
)
def test_model_options_leave_to_others_what_is_theirs(
    torchcaps, trained, tmp_path, options, advice
):
    said = one_sentence(
        torchcaps(
            "train", "--data", trained / "tiny.npz", "--out", tmp_path / "run",
            "--model-options", json.dumps(options),
        )
    )  # fmt: skip
    assert said.startswith(f"--model-options has {next(iter(options))!r}")
    assert advice in said
    assert not (tmp_path / "run").exists()


# --- names
def test_control_characters_of_names_are_shown_and_not_obeyed(torchcaps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    evil = "a\n\x1b[31mred\x9b31m"
    np.savez(
        "evil\x1b[31m.npz",
        images=draw.integers(0, 256, (30, 17, 17), dtype=np.uint8),
        labels=np.arange(30) % 2,
        class_names=np.array([evil, "b"]),
    )
    Image.new("L", (17, 17)).save("one.png")
    Image.new("L", (17, 17)).save("two.png")
    os.mkdir("im")
    for k in range(14):
        Image.new("L", (17, 17), k * 10).save(f"im/{k}.png")
    config = tiny_config(tmp_path / "run", data="evil\x1b[31m.npz")
    for words in (
        ("train", *arguments_of(config)),
        ("eval", "run"),
        ("predict", "run", "one.png", "two.png", "--threshold", "0"),
        ("predict", "run", "im", "--threshold", "0"),
        ("explore", "run", "--no-open"),
    ):
        answer = torchcaps(*words)
        assert answer.code == 0, answer.err
        assert "\x1b[31m" not in answer.out + answer.err, words
        assert "\x9b" not in answer.out + answer.err, words


def test_long_names_are_shortened_where_a_name_is_made(torchcaps, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("k" * 245 + ".png", "目" * 80 + ".png"):
        Image.new("L", (17, 17)).save(name)
        answer = torchcaps("predict", run, name)
        assert answer.code == 0, answer.err
    assert len(list((tmp_path / "predictions").iterdir())) == 2


def test_where_no_picture_can_be_drawn_the_answer_is_given(torchcaps, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (17, 17)).save("one.png")
    (tmp_path / "predictions").write_text("a file")
    answer = torchcaps("predict", run, "one.png")
    assert answer.code == 0
    assert answer.out.startswith("one.png: ")
    assert answer.err.startswith("no pictures are drawn: --out predictions")
    one_sentence(torchcaps("predict", run, "one.png", "--pictures", "yes"))


def test_a_class_called_none_of_these_is_counted_apart(torchcaps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    np.savez(
        "a.npz",
        images=draw.integers(0, 256, (30, 17, 17), dtype=np.uint8),
        labels=np.arange(30) % 2,
        class_names=np.array(["none of these", "b"]),
    )
    os.mkdir("im")
    for k in range(14):
        Image.new("L", (17, 17), k * 10).save(f"im/{k}.png")
    config = tiny_config(tmp_path / "run", data="a.npz")
    assert torchcaps("train", *arguments_of(config)).code == 0
    answer = torchcaps("predict", "run", "im", "--threshold", "1")
    assert answer.err.count("none of these") == 1
    assert "14   (longest class capsule below 1)" in answer.err


@pytest.fixture
def look_alikes(trained, tmp_path):
    """A network whose three classes look alike on a line, and a folder of images of them."""
    names = ("do\ng", "do g", "none of these")
    model = load_model(trained / "run" / "model")
    model.class_names = names
    model.save_pretrained(tmp_path / "model")
    test = tiny_data().test
    for k, name in enumerate(names):
        (tmp_path / "all" / name).mkdir(parents=True)
        for number, image in enumerate(test.images[test.labels == k]):
            Image.fromarray(image[0].numpy()).save(tmp_path / "all" / name / f"{number}.png")
    return tmp_path


def test_classes_that_look_alike_are_told_apart(torchcaps, look_alikes, monkeypatch):
    monkeypatch.chdir(look_alikes)
    answer = torchcaps("eval", "model", "--data", "all", "--split", "all")
    assert answer.code == 0, answer.err
    for name in ("'do g'  ", r"'do\ng' ", "none of these"):
        (row,) = (line for line in answer.out.splitlines() if line.startswith(f"  {name} "))
        assert row.endswith(" of 8)")
    assert re.search(r"recall: 'do\\ng' [\d.]+%, 'do g' [\d.]+%, none of these", answer.out)

    answer = torchcaps("predict", "model", "all", "--threshold", "0", "--pictures", "no")
    counted = [line.rsplit(maxsplit=1)[0].strip() for line in answer.err.splitlines()[1:]]
    assert counted == [r"'do\ng'", "'do g'", "'none of these'"]
    for name in counted:
        assert f": {name} (0." in answer.out
    answer = torchcaps("predict", "model", Path("all/do g/0.png"), "--threshold", "1")
    assert ": none of these   (lengths: " in answer.out
    for name in counted:
        assert f"{name} 0." in answer.out

    os.rename("all/do g", "all/do\rg")  # which looks like it, too
    answer = torchcaps("eval", "model", "--data", "all")
    assert answer.code == 2
    assert r"; class 2 is 'do\rg' there and 'do g' in the model" in answer.err


def test_a_table_has_a_column_a_class_though_names_are_not_utf8(torchcaps, look_alikes):
    names = ("caf\udce9", "caf\\udce9", "é")
    model = load_model(look_alikes / "model")
    model.class_names = names
    model.save_pretrained(look_alikes / "model")
    words = ("predict", look_alikes / "model", look_alikes / "all", "--to")
    for table in ("a.csv", "a.jsonl"):
        assert torchcaps(*words, look_alikes / table).code == 0
    with (look_alikes / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = (look_alikes / "a.jsonl").read_text(encoding="utf-8").splitlines()
    shown = dict(zip(names, (r"'caf\udce9'", r"'caf\\udce9'", "é")))
    for row, value in zip(rows, map(json.loads, lines), strict=True):
        assert row["nearest"] == shown[value["nearest"]]
        for name, length in value["activation"].items():
            assert row[f"activation: {shown[name]}"] == str(length)


# --- numbers that are none
def test_weights_that_overflow_give_no_answer(torchcaps, run, tmp_path):
    model = load_model(run / "model")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e30)
    model.save_pretrained(tmp_path / "large")
    Image.new("L", (17, 17), 100).save(tmp_path / "one.png")
    config = read_train_config(run)
    for words in (
        ("predict", tmp_path / "large", tmp_path / "one.png", "--pictures", "no"),
        ("eval", tmp_path / "large", "--data", config.data, "--json"),
        ("export", tmp_path / "large", "--out", tmp_path / "m.onnx"),
    ):
        assert "answers with nan" in one_sentence(torchcaps(*words))
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_images_that_are_no_numbers_are_refused(run, value):
    model = load_model(run / "model")
    images = torch.rand(2, 1, 17, 17)
    images[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match="images hold NaN or infinite numbers"):
        model.predict(images)


# --- values of another world
def test_odd_values_are_answered_in_a_sentence(torchcaps, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (17, 17), 100).save(tmp_path / "one.png")
    large = ("--batch-size", "10000000000000000000")
    for words in (("predict", run, tmp_path / "one.png", *large), ("eval", run, *large)):
        assert torchcaps(*words).code == 0
    monkeypatch.setenv("TORCHCAPS_CACHE", "~nosuchuser/x")
    assert "TORCHCAPS_CACHE" in one_sentence(torchcaps("train", "--data", "mnist"))


def test_too_little_memory_is_not_called_damage(torchcaps, trained, tmp_path, monkeypatch):
    def no_room(*arguments, **options):
        raise MemoryError("Unable to allocate 858 MiB")

    monkeypatch.setattr(np.lib.format, "read_array", no_room)
    answer = torchcaps("train", "--data", trained / "tiny.npz", "--out", tmp_path / "run")
    assert "too little memory" in one_sentence(answer)


def test_classes_that_nothing_shows_are_told(torchcaps, tmp_path):
    draw = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        images=draw.integers(0, 256, (30, 17, 17), dtype=np.uint8),
        labels=np.arange(30) % 2,
        class_names=np.array(["a", "b", "dodo"]),
    )
    answer = torchcaps(
        "train", *arguments_of(tiny_config(tmp_path / "run", data=str(tmp_path / "a.npz")))
    )
    assert answer.code == 0
    assert "no training image shows “dodo”" in answer.out


def test_a_run_with_several_labels_gets_its_page_again(torchcaps, tmp_path):
    labels = (np.arange(40)[:, None] >> np.arange(3)) & 1
    images = np.random.default_rng(0).integers(0, 256, (40, 17, 17), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    config = tiny_config(tmp_path / "run", data=str(tmp_path / "a.npz"))
    assert torchcaps("train", *arguments_of(config)).code == 0
    for _ in range(2):
        assert torchcaps("explore", tmp_path / "run", "--no-open").code == 0


def test_a_folder_that_was_made_beforehand_may_hold_the_run(torchcaps, trained, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    config = tiny_config(tmp_path / "run", data=str(trained / "tiny.npz"))
    assert torchcaps("train", *arguments_of(config)).code == 0


def test_a_project_that_is_moved_keeps_its_runs(torchcaps, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ("--epochs", "1", "--model-options", '{"stem_channels": [4, 8, 8]}')
    assert torchcaps("train", "--data", "pics", *small, "--out", "run").code == 0
    (tmp_path / "moved").mkdir()
    for name in ("pics", "run"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    monkeypatch.chdir(tmp_path / "moved")
    assert torchcaps("eval", "run").code == 0
