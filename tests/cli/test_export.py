"""`torchcaps export`."""

import json
import re

import onnx
import pytest
import torch

from tests.small_runs import NAMES
from torchcaps import load_model
from torchcaps.cli.export import held_out
from torchcaps.data import ImageData
from torchcaps.export import is_export
from torchcaps.export.pt2_file import METADATA

COMPARED = (
    r"{to}: (\S+) \(\d+\.\d MB\)\n"
    r"compared with PyTorch on (\d+) (held-out images|images of noise.*): largest difference "
    r"\d\.\de[+-]\d\d, the same classes\n"
)


def test_a_run_leaves_the_file_in_its_folder(torchcaps, run):
    answer = torchcaps("export", run)
    assert answer.code == 0, answer.err
    found = re.fullmatch(COMPARED.format(to="onnx"), answer.out)
    assert found, answer.out
    assert found.groups() == (str(run / "model.onnx"), "24", "held-out images")
    facts = {entry.key: entry.value for entry in onnx.load(run / "model.onnx").metadata_props}
    assert json.loads(facts["class_names"]) == list(NAMES)


def test_a_model_without_its_data_is_compared_on_noise(torchcaps, run, tmp_path):
    out = tmp_path / "new" / "bees.pt2"
    (run / "model").rename(tmp_path / "alone")
    answer = torchcaps("export", tmp_path / "alone", "--to", "pt2", "--out", out)
    assert answer.code == 0, answer.err
    found = re.fullmatch(COMPARED.format(to="pt2"), answer.out)
    assert found, answer.out
    assert found[2] == "8"
    extra = {METADATA: ""}
    program = torch.export.load(out, extra_files=extra).module()
    facts = json.loads(extra[METADATA])
    images = torch.rand(2, facts["channels"], *facts["image_size"])
    assert program(images)["activation"].shape == (2, len(NAMES))


def test_a_run_whose_config_is_damaged_says_so(torchcaps, run):
    (run / "config.json").write_text("[]")
    answer = torchcaps("export", run)
    assert answer.code == 0, answer.err
    assert f"images of noise ({run}/config.json must hold an object of options" in answer.out
    assert "were not found" not in answer.out


def test_mistakes_are_answered_in_one_sentence(torchcaps, run, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, said in (
        ([tmp_path / "none"], "does not exist"),
        ([run, "--out", "model.pt2"], "model.pt2 must end in .onnx"),
        ([run, "--out", tmp_path], "must end in .onnx"),
        ([run, "--to", "pt2", "--out", tmp_path / "file" / "m.pt2"], "file"),
    ):
        answer = torchcaps("export", *arguments)
        assert answer.code == 2, answer
        assert said in answer.err
        assert "Traceback" not in answer.err
        assert answer.err.count("\n") == 1
    assert torchcaps("export", run, "--to", "tflite").code == 2


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_another_file_is_not_replaced_and_an_earlier_export_is(torchcaps, run, tmp_path, to):
    out = tmp_path / f"a.{to}"
    out.write_bytes(b"precious")
    answer = torchcaps("export", run, "--to", to, "--out", out)
    assert answer.code == 2
    assert f"{out} is there already and not a file that `torchcaps export` wrote" in answer.err
    assert out.read_bytes() == b"precious"
    out.write_bytes(b"")
    assert torchcaps("export", run, "--to", to, "--out", out).code == 0
    assert is_export(out, to)


def test_names_that_are_not_utf8(torchcaps, run):
    path = run / "model" / "config.json"
    config = json.loads(path.read_text())
    names = ["caf\udce9", "caf\\udce9", "é"]
    path.write_text(json.dumps({**config, "class_names": names}))
    assert torchcaps("export", run).code == 0
    facts = {entry.key: entry.value for entry in onnx.load(run / "model.onnx").metadata_props}
    assert json.loads(facts["class_names"]) == names
    assert torchcaps("export", run, "--to", "pt2").code == 0
    extra = {METADATA: ""}
    torch.export.load(run / "model.pt2", extra_files=extra)
    assert json.loads(extra[METADATA])["class_names"] == names


def test_images_of_all_classes_are_compared(trained, monkeypatch):
    images = torch.arange(2500.0).reshape(-1, 1, 1, 1) / 2500  # one class behind the other
    data = ImageData(images, torch.arange(2500) // 250, tuple("0123456789"), "folder")
    monkeypatch.setattr("torchcaps.explorer.find_held_out", lambda *_, **__: (data, ""))
    compared, _ = held_out(load_model(trained / "run"), None)
    assert (compared.flatten() * 10).long().bincount().tolist() == 10 * [100]


def test_an_unfinished_run_is_refused(torchcaps, unfinished):
    answer = torchcaps("export", unfinished)
    assert answer.code == 2
    assert "is not finished" in answer.err
