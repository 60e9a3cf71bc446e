"""`torchcaps predict` on folders, patterns and many files: tables, thresholds, broken files."""

import csv
import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.small_runs import NAMES, listing, tiny_data
from torchcaps import load_model
from torchcaps.cli.predict import FEW
from torchcaps.inference import answers
from torchcaps.training import progress

TEST = tiny_data().test


def save(path, index=0):
    """A held-out image as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(TEST.images[index, 0].numpy()).save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """Twenty images in nested folders, with three broken ones and two files that are none."""
    root = tmp_path / "pictures"
    for index in range(20):
        save(root / f"{index % 3}" / f"in {index % 2}" / f"{index:02d}.png", index)
    (root / "0" / "in 0" / "half.png").write_bytes(
        (root / "0" / "in 0" / "00.png").read_bytes()[:60]
    )
    (root / "1" / "empty.JPG").touch()
    (root / "2" / "line\nbreak.png").write_text("no image")
    (root / "notes.txt").write_text("no image")
    (root / "1" / "labels.csv").write_text("no image")
    (root / ".hidden.png").write_text("no image")
    return root


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(run, path):
    """What the model itself says of an image that `pictures` saved."""
    model = load_model(run)
    with torch.no_grad():
        return model(TEST.batch(torch.tensor([int(Path(path).stem)]))[0]).activation[0]


def test_a_folder_becomes_a_table(torchcaps, trained, pictures, tmp_path):
    table = tmp_path / "new" / "answers.csv"
    answer = torchcaps("predict", trained / "run", pictures, "--to", table, "--batch-size", 3)
    assert answer.code == 1
    found = {row["image"]: row for row in rows(table)}
    assert len(found) == 23
    broken = {name for name, row in found.items() if row["error"]}
    assert {Path(name).name for name in broken} == {"half.png", "empty.JPG", "line\nbreak.png"}
    for name, row in found.items():
        if name in broken:
            assert not row["class"] + row["nearest"] + row["activation"]
            continue
        lengths = expected(trained / "run", name)
        assert row["nearest"] == NAMES[int(lengths.argmax())]
        assert float(row["activation"]) == pytest.approx(float(lengths.max()), abs=1e-5)
        told = [float(row[f"activation: {name}"]) for name in NAMES]
        assert told == pytest.approx(lengths.tolist(), abs=1e-5)
    assert list(found) == sorted(found)
    assert "20 images in" in answer.out
    assert "passed over: 2 files of folders" in answer.out
    assert answer.out.endswith(f"table: {table}\n")
    assert answer.err.endswith("3 of 23 images were not read (the others were answered)\n")
    assert answer.err.count("\nnot read: ") == 2
    assert not (Path.cwd() / "predictions").exists()


def test_lines_of_json_hold_the_same(torchcaps, trained, pictures, tmp_path):
    for name in ("a.csv", "a.jsonl"):
        torchcaps("predict", trained / "run", pictures, "--to", tmp_path / name)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    for row, line in zip(rows(tmp_path / "a.csv"), lines, strict=True):
        value = json.loads(line)
        assert value["image"] == row["image"]
        assert (value["class"] or "") == row["class"]
        assert value.get("error", "") == row["error"]
        for name, length in value.get("activation", {}).items():
            assert row[f"activation: {name}"] == str(length)


def test_below_the_threshold_it_is_none_of_these(torchcaps, trained, tmp_path):
    path = save(tmp_path / "0.png")
    largest = float(expected(trained / "run", path).max())

    def said(*options):
        to = tmp_path / "a.csv"
        answer = torchcaps("predict", trained / "run", path, "--to", to, *options)
        assert answer.code == 0
        return rows(to)[0]["class"], rows(to)[0]["nearest"], answer.out

    nearest = NAMES[int(expected(trained / "run", path).argmax())]
    assert said("--threshold", largest - 0.001)[:2] == (nearest, nearest)
    name, near, out = said("--threshold", largest + 0.001)
    assert (name, near) == ("", nearest)
    assert f"none of these         1   (longest class capsule below {largest + 0.001:g})" in out
    assert said("--threshold", 0)[:2] == (nearest, nearest)
    answer = torchcaps("predict", trained / "run", path, "--threshold", 1, "--out", tmp_path / "o")
    assert answer.out.startswith(f"{path}: none of these   (lengths: {nearest} ")


def test_the_threshold_comes_from_the_model(torchcaps, run, tmp_path):
    assert 0 < load_model(run).threshold <= 0.5  # training chose it
    path = save(tmp_path / "0.png")
    config = json.loads((run / "model" / "config.json").read_text())
    config["metadata"]["threshold"] = 1
    (run / "model" / "config.json").write_text(json.dumps(config))
    answer = torchcaps("predict", run, path, "--json", "--pictures", "no")
    (value,) = json.loads(answer.out)
    assert (value["class"], value["nearest"] in NAMES) == (None, True)
    del config["metadata"]["threshold"]  # as a network that was trained by an earlier version
    (run / "model" / "config.json").write_text(json.dumps(config))
    (value,) = json.loads(torchcaps("predict", run, path, "--json", "--pictures", "no").out)
    assert value["class"] == value["nearest"]


def test_few_files_are_drawn_and_told_at_length_and_many_are_lines(torchcaps, trained, tmp_path):
    paths = [save(tmp_path / f"{k:02d}.png", k) for k in range(FEW + 1)]
    drawn = tmp_path / "drawn"
    few = torchcaps("predict", trained / "run", *paths[:2], "--out", drawn)
    assert (few.code, few.err) == (0, "")
    assert len(list(drawn.iterdir())) == few.out.count("  picture: ") == 2
    many = torchcaps("predict", trained / "run", *paths, "--out", tmp_path / "others")
    assert many.code == 0
    assert many.out.count("\n") == FEW + 1
    assert f"{FEW + 1} images in" in many.err
    assert not (tmp_path / "others").exists()
    asked = ("--pictures", "yes", "--out", tmp_path / "others")
    torchcaps("predict", trained / "run", *paths, *asked)
    assert len(list((tmp_path / "others").iterdir())) == FEW + 1


def test_one_broken_file_among_few(torchcaps, trained, tmp_path):
    good, bad = save(tmp_path / "0.png"), tmp_path / "b.png"
    answer = torchcaps("predict", trained / "run", bad, good, "--out", tmp_path / "drawn")
    assert answer.code == 1
    assert answer.out.startswith(f"{good}: ")
    assert answer.err == (
        f"torchcaps: 1 of 2 images was not read: {bad} cannot be read: No such file or directory "
        "(the others were answered)\n"
    )


def test_a_name_that_no_file_can_have_is_one_row_with_its_error(
    torchcaps, trained, tmp_path, monkeypatch
):
    good, bad = save(tmp_path / "0.png"), tmp_path / f"{'a' * 300}.png"
    answer = torchcaps("predict", trained / "run", bad, good, "--to", tmp_path / "a.csv")
    assert answer.code == 1
    said = f"{bad} cannot be read: File name too long"
    assert [row["error"] for row in rows(tmp_path / "a.csv")] == [said, ""]
    assert f"1 of 2 images was not read: {said}" in answer.err

    def refuse(path, *arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("torchcaps.inference.reading.read_image", refuse)
    (refused,) = answers.answer_files(load_model(trained / "run"), [good])
    assert refused.error == f"{good} cannot be read: Permission denied"


def test_where_out_is_given_and_nothing_is_drawn_that_is_said(torchcaps, trained, tmp_path):
    save(tmp_path / "scans" / "0.png")
    for more in ((), ("--to", tmp_path / "a.csv")):
        asked = ("predict", trained / "run", tmp_path / "scans", "--out", tmp_path / "drawn", *more)
        answer = torchcaps(*asked)
        assert (answer.code, (tmp_path / "drawn").exists()) == (0, False)
        assert f"no pictures are drawn in {tmp_path / 'drawn'}: for folders, pat" in answer.err
        assert "no pictures" not in torchcaps(*asked, "--pictures", "no").err


def test_nothing_but_broken_files_each_with_its_own_reason(torchcaps, trained, tmp_path):
    empty, gone, table = tmp_path / "0.png", tmp_path / "gone.png", tmp_path / "a.csv"
    empty.touch()
    answer = torchcaps("predict", trained / "run", empty, gone, "--to", table)
    assert (answer.code, answer.out) == (2, "")
    first, second, last = answer.err.splitlines()
    assert first.startswith(f"not read: {empty} is empty")
    assert second.startswith(f"not read: {gone} cannot be read: No such file")
    said = "torchcaps: none of the 2 images could be read: replace them, or name others"
    assert last == said
    assert not table.exists()
    many = [tmp_path / f"gone {k}.png" for k in range(12)]
    answer = torchcaps("predict", trained / "run", *many, "--json")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("not read: ") == 10
    assert answer.err.endswith(said.replace("2", "12") + "\n")


def test_patterns_and_files_named_twice(torchcaps, trained, pictures, tmp_path):
    named = [pictures / "*" / "*" / "0[0-3].png", pictures / "**" / "00.png", pictures / "0"]
    torchcaps("predict", trained / "run", *named, "--to", tmp_path / "a.csv")
    images = [row["image"] for row in rows(tmp_path / "a.csv")]
    assert len(images) == len(set(images))
    assert {Path(name).stem for name in images} >= {"00", "01", "02", "03", "06", "18"}


def test_an_image_is_never_drawn_over(torchcaps, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = save(Path("a.png"), 0), save(Path("a-prediction.png"), 1)
    Path("a-2-prediction.png").symlink_to("a.png")
    before = {path: path.read_bytes() for path in (first, second)}
    answer = torchcaps("predict", trained / "run", first, second, "--out", ".")
    assert answer.code == 0, answer.err
    assert {path: path.read_bytes() for path in before} == before
    assert "picture: a-3-prediction.png" in answer.out


def test_pictures_of_earlier_answers_are_not_looked_at(torchcaps, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Path("a.png"))
    for _ in range(2):
        answer = torchcaps("predict", trained / "run", ".", "--pictures", "yes", "--json")
        assert [value["image"] for value in json.loads(answer.out)] == ["a.png"]


def test_what_is_no_plain_file_is_not_waited_for(torchcaps, trained, tmp_path):
    os.mkfifo(tmp_path / "a.png")
    answer = torchcaps("predict", trained / "run", tmp_path / "a.png")
    assert answer.code == 2
    assert "a.png is neither a file nor a folder" in answer.err
    save(tmp_path / "b.png")
    answer = torchcaps("predict", trained / "run", tmp_path, "--json", "--pictures", "no")
    assert [Path(value["image"]).name for value in json.loads(answer.out)] == ["b.png"]


def test_a_run_that_is_interrupted_leaves_no_table(torchcaps, trained, pictures, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(answers, "read_for", stop)
    before = listing(pictures)
    answer = torchcaps("predict", trained / "run", pictures, "--to", pictures / "a.csv")
    assert (answer.code, answer.err) == (130, "torchcaps: interrupted\n")
    assert listing(pictures) == before


def test_without_a_terminal_lines_say_how_long_it_takes(torchcaps, trained, pictures, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    to = ("--to", pictures / "a.csv", "--batch-size", 10)
    answer = torchcaps("predict", trained / "run", pictures, *to)
    assert "10 of 23 images, " in answer.err
    assert "20 of 23 images, " in answer.err
    assert "s left\n" in answer.err
    assert "23 of 23 images" not in answer.err


def test_names_that_are_not_utf8(torchcaps, trained, tmp_path):
    path = save(tmp_path / "0.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff0.png"))
    for name in ("a.csv", "a.jsonl"):
        answer = torchcaps("predict", trained / "run", path, "--to", tmp_path / name)
        assert answer.code == 0, answer.err
    (line,) = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["image"] == str(path)
    assert rows(tmp_path / "a.csv")[0]["image"].endswith("/\\udcff0.png")


def test_line_breaks_in_names_are_quoted(torchcaps, trained, tmp_path):
    for name in ("a\rb.png", "a\nb.png", "a\r\nb.png", "a,b.png"):
        save(tmp_path / "new" / name)
    answer = torchcaps("predict", trained / "run", tmp_path / "new", "--to", tmp_path / "a.csv")
    assert answer.code == 0
    names = [Path(row["image"]).name for row in rows(tmp_path / "a.csv")]
    assert names == ["a\nb.png", "a\r\nb.png", "a\rb.png", "a,b.png"]
    assert b'.png",' in (tmp_path / "a.csv").read_bytes()
    assert not (tmp_path / "a.csv").read_bytes().endswith(b"\r\n")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_another_file_is_not_replaced_and_an_earlier_table_is(torchcaps, trained, tmp_path, suffix):
    table, image = tmp_path / f"a.{suffix}", save(tmp_path / "0.png")
    for theirs in ("image,class\na.png,cat\n", '{"image": "a.png", "class": "cat"}\n'):
        table.write_text(theirs)
        answer = torchcaps("predict", trained / "run", image, "--to", table)
        assert answer.code == 2
        assert f"--to {table} is there already and not a table of answers" in answer.err
        assert table.read_text() == theirs
    table.write_text("")
    broken = tmp_path / "!.png"  # so that the first line is one of an error
    broken.touch()
    for _ in range(2):
        answer = torchcaps("predict", trained / "run", broken, image, "--to", table)
        assert answer.code == 1
    assert torchcaps("predict", trained / "run", image, "--to", table).code == 0
    assert torchcaps("predict", trained / "run", image, "--to", table).code == 0
