"""Files of exported networks: all networks and routings, any batch, what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from tests.small_models import CASES, small
from torchcaps import BaselineCNN, create_model, load_model
from torchcaps.data import load_data, read_image
from torchcaps.errors import InputError
from torchcaps.explorer import SHIPPED
from torchcaps.export import check, export_model, export_program
from torchcaps.export.check import compare
from torchcaps.export.metadata import describe, describe_as_text
from torchcaps.export.onnx_file import read_onnx, write_onnx
from torchcaps.export.pt2_file import METADATA, read_pt2, write_pt2
from torchcaps.functional import digamma, hypotenuse, log_sigmoid
from torchcaps.inference import Answer, answer_files

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
SMALL_CAPSNET: dict[str, Any] = {
    "image_size": 17, "num_classes": 3, "conv_channels": 4, "primary_types": 2, "reconstruct": False
}  # fmt: skip
# Network and routing → why it cannot be exported.
CANNOT: dict[tuple[str, str | None], str] = {}


def images_of(model: Any, count: int) -> torch.Tensor:
    return torch.rand(count, model.channels, *model.image_size)


@pytest.mark.parametrize(("name", "routing"), CASES)
def test_every_network_and_routing(name: str, routing: str | None, tmp_path: Path) -> None:
    """With its decoder and in both formats a network, without and in ONNX a routing."""
    model = small(name, routing, reconstruct=routing is None)
    if (name, routing) in CANNOT:
        with pytest.raises(InputError, match=CANNOT[name, routing]):
            export_model(model, tmp_path / "m.onnx")
        return
    program = export_program(model)
    write_onnx(program, tmp_path / "m.onnx", describe_as_text(model))
    runs = [read_onnx(tmp_path / "m.onnx")]
    if routing is None:
        write_pt2(program, tmp_path / "m.pt2", describe(model))
        runs.append(read_pt2(tmp_path / "m.pt2"))
    images = images_of(model, 1 + 7 + 64 + 1)
    for run in runs:
        compared = compare(run, model, images)
        assert compared.images == 73
        assert compared.largest_difference < 1e-4, compared  # other classes only where they tie


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx of the shipped network, and digit.png, the first held-out digit."""
    folder = tmp_path_factory.mktemp("digits") / "new"
    model = load_model(SHIPPED).train()  # its mode is its own
    images, _ = load_data("mnist5k").test.batch(torch.arange(200))
    compared = export_model(model, folder / "model.onnx", "onnx", images)
    assert compared.images == 200
    assert compared.largest_difference < 1e-5
    assert compared.other_classes == 0
    assert model.training
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    Image.fromarray((images[0, 0] * 255).round().byte().numpy()).save(folder / "digit.png")
    return folder


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return next(text for text in blocks if containing in text)


def run_block(code: str, folder: Path, *forbidden: str) -> str:
    """Run lines of the page in a process of its own, which cannot import these packages."""
    forbid = f"import sys\nsys.modules.update(dict.fromkeys({forbidden!r}))\n"
    environment = {**os.environ, "PYTHONWARNINGS": "error::UserWarning"}
    done = subprocess.run(
        [sys.executable, "-c", forbid + code],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_lines_of_the_page_run_without_torch(digits: Path) -> None:
    images, labels = load_data("mnist5k").test.batch(torch.arange(1))
    with torch.no_grad():
        expected = float(load_model(SHIPPED)(images).activation.max())
    for threshold, said in (("0.5", str(int(labels[0]))), ("0.9999", "none of these")):
        file = onnx.load(digits / "model.onnx")
        (entry,) = (entry for entry in file.metadata_props if entry.key == "threshold")
        entry.value = threshold
        onnx.save(file, digits / "model.onnx")
        answer = run_block(block("python", "onnxruntime"), digits, "torch", "torchcaps")
        *name, activation = answer.split()
        assert " ".join(name) == said
        assert float(activation) == pytest.approx(expected, abs=1e-5)


def test_the_lines_of_the_page_see_an_image_as_the_tool_does(tmp_path: Path) -> None:
    model = small("capsnet", image_size=[17, 20], channels=3)
    export_model(model, tmp_path / "model.onnx", "onnx")
    drawn = Image.new("RGBA", (60, 40), (0, 0, 0, 0))  # transparent, and black under it
    ImageDraw.Draw(drawn).polygon([(5, 5), (50, 10), (20, 35)], fill=(250, 60, 120, 200))
    palette = drawn.convert("P")
    palette.info["transparency"] = 0
    cases = {
        "RGBA": drawn, "P": palette, "L": drawn.convert("L"), "1": drawn.convert("1"),
        "LA": drawn.convert("LA"), "turned": drawn,
    }  # fmt: skip
    for name, image in cases.items():
        exif = Image.Exif()
        exif[274] = 6 if name == "turned" else 1
        image.save(tmp_path / "digit.png", exif=exif)
        seen = read_image(tmp_path / "digit.png", (17, 20), 3)[None] / 255
        with torch.no_grad():
            expected = float(model(seen).activation.max())
        answer = run_block(block("python", "onnxruntime"), tmp_path, "torch", "torchcaps")
        assert float(answer.split()[-1]) == pytest.approx(expected, abs=1e-5), name


def test_the_lines_of_the_page_swap_dark_and_light_as_predict_does(tmp_path: Path) -> None:
    """White on black and black on white; a ground that is neither, or not known, stays."""
    model = small("capsnet", image_size=[17, 20])
    ink = Image.new("L", (20, 17), 255)
    ImageDraw.Draw(ink).polygon([(5, 5), (14, 7), (9, 13)], fill=30)
    grey = ink.point(lambda value: value // 2 + 20)
    export_model(model, tmp_path / "model.onnx")
    file = onnx.load(tmp_path / "model.onnx")
    (entry,) = (entry for entry in file.metadata_props if entry.key == "training")
    expected: list[Answer] = []
    lines = ""
    for learned in (0.1, 0.9, 0.5, None):
        model.metadata = {} if learned is None else {"border_brightness": learned}
        entry.value = json.dumps(model.metadata)
        onnx.save(file, tmp_path / f"{learned}.onnx")
        for name, image in {"ink": ink, "light": ImageOps.invert(ink), "grey": grey}.items():
            image.save(tmp_path / f"{name}.png")
            expected += answer_files(model, [tmp_path / f"{name}.png"])
            code = block("python", "onnxruntime").replace("model.onnx", f"{learned}.onnx")
            lines += code.replace("digit.png", f"{name}.png")
    answers = run_block(lines, tmp_path, "torch", "torchcaps").splitlines()
    for answer, told in zip(answers, expected, strict=True):
        assert answer.split()[:-1] == [model.class_names[told.nearest or 0]]
        assert float(answer.split()[-1]) == pytest.approx(told.largest, abs=1e-5)
    swapped = [told.inverted for told in expected]
    assert swapped == [True, False, False, False, True, False, *6 * [False]]


def test_the_lines_for_pt2_run_without_torchcaps(tmp_path: Path) -> None:
    export_model(small("capsnet"), tmp_path / "model.pt2", "pt2")
    answer = run_block(block("python", "torch.export.load"), tmp_path, "torchcaps")
    assert re.fullmatch(r"tensor\(\[[0-2](, [0-2]){4}\]\)\n", answer)


def test_what_a_file_says(tmp_path: Path) -> None:
    model = small("capsnet", class_names=["ä", "b", "c"], image_size=[17, 20], channels=3)
    model.metadata = {"threshold": 0.25, "data": "things", "f1": np.float32(0.5)}
    export_model(model, tmp_path / "m.onnx")
    export_model(model, tmp_path / "m.pt2", "pt2")
    extra = {METADATA: ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    texts = session.get_modelmeta().custom_metadata_map
    for facts in (json.loads(extra[METADATA]), {k: json.loads(v) for k, v in texts.items()}):
        assert facts["class_names"] == ["ä", "b", "c"]
        assert (facts["image_size"], facts["channels"]) == ([17, 20], 3)
        assert facts["input_range"] == [0, 1]
        assert (facts["threshold"], facts["training"]["data"]) == (0.25, "things")
        assert facts["training"]["f1"] == 0.5
        assert facts["mean"] is facts["std"] is None
    (given,) = session.get_inputs()
    assert (given.name, given.shape) == ("images", ["batch", 3, 17, 20])
    named = {output.name: output.shape for output in session.get_outputs()}
    assert named == {
        "pose": ["batch", 3, 6], "activation": ["batch", 3], "reconstruction": ["batch", 3, 17, 20]
    }  # fmt: skip
    assert str(Path.cwd()).encode() not in (tmp_path / "m.onnx").read_bytes()
    (empty,) = session.run(["activation"], {"images": np.zeros((0, 3, 17, 20), np.float32)})
    assert empty.shape == (0, 3)


def test_names_that_are_not_utf8_come_back(tmp_path: Path) -> None:
    names = ["caf\udce9", "caf\\udce9", "é"]
    model = small("capsnet", class_names=names)
    model.metadata = {"data": "pictures\udcff"}
    for to in ("onnx", "pt2"):
        export_model(model, tmp_path / f"m.{to}", to)
    extra = {METADATA: ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    texts = session.get_modelmeta().custom_metadata_map
    for facts in (json.loads(extra[METADATA]), {k: json.loads(v) for k, v in texts.items()}):
        assert facts["class_names"] == names
        assert facts["training"] == model.metadata


def test_what_a_program_returns_goes_to_numpy(tmp_path: Path) -> None:
    model = small("capsnet")
    export_model(model, tmp_path / "m.pt2", "pt2")
    images = images_of(model, 2)
    for run in (read_pt2(tmp_path / "m.pt2"), export_program(model).module()):
        for name, value in run(images).items():
            assert value.numpy().shape == getattr(model(images), name).shape
    assert model.conv.weight.requires_grad  # of the model itself it is as it was


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_may_be_in_the_number_format_of_the_model(dtype: Any, tmp_path: Path) -> None:
    model = small("capsnet").to(dtype)
    images = images_of(model, 3).to(dtype).requires_grad_()
    assert export_model(model, tmp_path / "m.onnx", images=images).images == 3
    assert next(model.parameters()).dtype == dtype


# --- what is refused
def test_another_file_is_not_replaced_and_an_earlier_export_is(tmp_path: Path) -> None:
    for to in ("onnx", "pt2"):
        path = tmp_path / f"m.{to}"
        path.write_bytes(b"precious")
        said = f"{path} is there already and not a file that `torchcaps export` wrote"
        with pytest.raises(InputError, match=re.escape(said)):
            export_model(small("capsnet"), path, to)
        assert path.read_bytes() == b"precious"
    path.write_bytes(b"")
    for _ in range(2):
        export_model(small("capsnet"), path, "pt2")


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        ("m.onnx", "tflite", "to must be one of onnx, pt2, got 'tflite'"),
        ("m.pt2", "onnx", "must end in .onnx"),
        ("m", "pt2", "must end in .pt2"),
        ("folder.onnx", "onnx", "is a folder: name a file"),
    ],
)
def test_bad_names(path: str, to: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match=re.escape(message)):
        export_model(small("baseline_cnn"), tmp_path / path, to)


def test_images_of_another_size_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("images must be [B, 1, 17, 17]")):
        export_model(small("capsnet"), tmp_path / "new" / "m.pt2", "pt2", torch.rand(1, 1, 9, 9))
    assert not (tmp_path / "new").exists()


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=re.escape("pip install 'torchcaps[onnx]'")):
        export_model(small("capsnet"), tmp_path / "m.onnx")


def test_weights_that_onnx_takes_in_no_single_file_are_refused(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("torchcaps.export.onnx_file.MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"of weights; expected at most .*: export it to pt2$"):
        export_model(small("capsnet"), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_answers_otherwise_is_not_left(tmp_path: Path, monkeypatch: Any) -> None:
    model = small("baseline_cnn")
    old = f"the old one, with {METADATA}"  # as an earlier export has it
    (tmp_path / "m.pt2").write_text(old)
    original = check.compare

    def spoilt(run: Any, model: Any, images: Any) -> Any:
        return original(lambda x: {k: v.flip(1) for k, v in run(x).items()}, model, images)

    monkeypatch.setattr("torchcaps.export.write.compare", spoilt)
    with torch.no_grad():
        model.layers[-1].bias[0] += 5
    with pytest.raises(InputError, match="gives another class than PyTorch"):
        export_model(model, tmp_path / "m.pt2", "pt2")
    assert (tmp_path / "m.pt2").read_text() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_numbers_that_are_not_finite_in_one_alone_are_refused() -> None:
    model = small("baseline_cnn")

    def run(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {k: v * torch.nan for k, v in model(images)._asdict().items() if v is not None}

    with pytest.raises(InputError, match="another class"):
        compare(run, model, images_of(model, 3))


@pytest.mark.parametrize("name", ["pose", "reconstruction"])
def test_numbers_beside_the_activations_are_compared_too(name: str) -> None:
    model = small("capsnet_small")

    def run(images: torch.Tensor) -> dict[str, torch.Tensor]:
        found = model(images)._asdict()
        return {**found, name: torch.full_like(found[name], torch.nan)}

    with pytest.raises(InputError, match="largest difference inf"):
        compare(run, model, images_of(model, 3))


def test_what_is_written_otherwise_for_onnx_is_exact_at_any_size(tmp_path: Path) -> None:
    class Functions(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            above = 1 + images.abs()
            return {
                "hypotenuse": hypotenuse(images, above),
                "digamma": digamma(above),
                "log_sigmoid": log_sigmoid(images),
            }

    x = torch.tensor([-1e30, -88.0, -40.0, -18.5, -1.0, 0.0, 1e-3, 5.0, 40.0, 1e30])
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Functions(), (x,), dynamic_shapes={"images": {0: batch}})
    write_onnx(program, tmp_path / "m.onnx", {})
    for name, value in read_onnx(tmp_path / "m.onnx")(x).items():
        exact = {
            "hypotenuse": torch.hypot(x.double(), 1 + x.double().abs()),
            "digamma": torch.digamma(1 + x.double().abs()),
            "log_sigmoid": torch.nn.functional.logsigmoid(x.double()),
        }[name]
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)


def test_what_onnx_has_no_operation_for_is_named(tmp_path: Path) -> None:
    routing = {"name": "variational", "iterations": 1, "covariance": "full"}
    model = create_model("capsnet", **SMALL_CAPSNET, routing=routing).eval()
    with pytest.raises(
        InputError, match=r"ONNX cannot hold this network \(.*cholesky.*export it to"
    ):
        export_model(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_looks_at_numbers_is_refused_with_the_reason() -> None:
    class Looks(BaselineCNN):
        def forward(self, images: Any, labels: Any = None) -> Any:
            return super().forward(images * 2 if images.sum() > 1 else images)

    with pytest.raises(InputError, match=r"torch\.export can make no program of this Looks"):
        export_program(Looks(image_size=9))
