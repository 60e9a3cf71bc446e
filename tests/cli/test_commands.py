import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.small_runs import NAMES, arguments_of, listing, tiny_config, tiny_data, weights_of
from torchcaps import __version__
from torchcaps.cli import parse
from torchcaps.cli.bench import Bench
from torchcaps.cli.eval import Eval
from torchcaps.cli.explore import Explore
from torchcaps.cli.export import Export
from torchcaps.cli.info import Info
from torchcaps.cli.predict import Predict
from torchcaps.cli.train import Train
from torchcaps.errors import InputError
from torchcaps.models import load_model
from torchcaps.training.config import TrainConfig, config_to_dict
from torchcaps.training.metrics import evaluate

MODULE = [sys.executable, "-m", "torchcaps"]


def digit(index=0, inverted=False):
    """One of the test images, as a picture of 17×17."""
    image = tiny_data().test.images[index, 0].numpy()
    return Image.fromarray(255 - image if inverted else image)


# --- bench
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
def test_bench_prints_a_table_and_leaves_rows_and_a_chart(torchcaps, tmp_path, monkeypatch):
    from torchcaps.benchmark import shapes

    small = dataclasses.replace(shapes.SHAPES["mnist_b1"], I=40)
    monkeypatch.setitem(shapes.SHAPES, "mnist_b1", small)
    for _ in range(2):
        answer = torchcaps("bench", "--shapes", "mnist_b1", "--budget", "0.01", "--out", tmp_path)
        assert answer.code == 0, answer.err
    assert "mnist_b1: 1 × 40×8 → 10×16, 3 iterations" in answer.out
    assert re.search(r"einsum compiled +[\d.]+ ms", answer.out)
    assert answer.out.endswith(f"rows and chart: {tmp_path}\n")
    assert len((tmp_path / "routing.csv").read_text().splitlines()) == 1 + 2 * 8
    with Image.open(tmp_path / "routing.png") as picture:
        assert picture.width == 1200


def test_the_names_that_bench_takes_are_those_of_the_shapes():
    from typing import get_args

    from torchcaps.benchmark.shapes import SHAPES
    from torchcaps.cli.bench import Name

    assert get_args(Name) == tuple(SHAPES)


# --- help and version
def test_help_and_version_import_no_torch():
    code = (
        "import sys\n"
        "from torchcaps.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as stopped:\n    code = stopped.code\n"
        "heavy = {'torch', 'matplotlib', 'accelerate', 'numba'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    usage = "usage: torchcaps"
    for arguments, said in (
        (["--help"], usage),
        (["train", "--help"], usage),
        (["reproduce", "--help"], usage),
        (["--version"], f"torchcaps {__version__}\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_version(torchcaps):
    answer = torchcaps("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"torchcaps {__version__}\n", "")


def test_help_names_the_commands(torchcaps):
    answer = torchcaps("--help")
    assert answer.code == 0
    assert "--version" in answer.out
    for name in ("train", "eval", "predict", "explore", "export", "info", "bench", "reproduce"):
        assert re.search(rf"\b{name}\b", answer.out)


@pytest.mark.parametrize("columns", ["1", "9"])
def test_help_ends_however_narrow_the_terminal_is(torchcaps, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    answer = torchcaps("train", "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "--epochs" in answer.out


@pytest.mark.parametrize("command", [Train, Eval, Predict, Explore, Export, Info, Bench])
def test_every_option_is_explained(torchcaps, command):
    answer = torchcaps(command.__name__.lower(), "--help")
    assert answer.code == 0
    text = re.sub("[│╭╰╮╯─]", " ", answer.out)
    blocks = re.split(r"\n\s+(?=-|MODEL|\[MODEL|\[\[PATH)", text)  # an option and its words
    for field in dataclasses.fields(command):
        head: Any = {"checkpoint": ("MODEL ", "[MODEL] "), "images": "[[PATH"}.get(
            field.name, "--" + field.name.replace("_", "-")
        )
        block = next(block for block in blocks if block.startswith(head))
        words = re.sub(r"\(default: .*\)|\{.*?\}|-\S+|\b[A-Z]+\b", "", block, flags=re.DOTALL)
        assert len(words.split()) >= 3, block


def test_python_m_torchcaps():
    done = subprocess.run([*MODULE, "info", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert {"baseline_cnn", "capsnet", "capsnet_small", "image_capsnet"} <= set(facts["models"])


def test_info(torchcaps):
    answer = torchcaps("info")
    assert answer.code == 0
    for fact in ("torchcaps: ", "torch: ", "device: ", "precision: ", "routing backends:"):
        assert fact in answer.out


# --- train
def test_train_ends_with_accuracy_and_folder(torchcaps, trained, tmp_path):
    config = tiny_config(tmp_path / "run", data=str(trained / "tiny.npz"), epochs=1)
    answer = torchcaps("train", *arguments_of(config))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(
        "capsnet_small (1,186,785 parameters) on tiny (1×17×17, 3 classes)"
    )
    assert re.search(r"held-out accuracy: [\d.]+% of 24 images \(95 % interval .*\)", answer.out)
    assert answer.out.endswith(f"folder: {tmp_path / 'run'}\n")


@pytest.mark.parametrize(
    ("word", "value"), [("auto", None), ("yes", True), ("no", False)], ids=lambda v: str(v)
)
def test_the_decoder_is_asked_for_in_words(word, value, tmp_path):
    command = parse(["train", "--reconstruct", word])
    assert command.options().reconstruct is value
    assert parse(["train"]).options().reconstruct is None
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_to_dict(TrainConfig(reconstruct=value))))
    assert parse(["train", "--config", str(config)]).options().reconstruct is value


def test_the_config_of_a_run_gives_its_weights_again(torchcaps, trained, tmp_path):
    answer = torchcaps("train", "--config", trained / "run", "--out", tmp_path / "again")
    assert answer.code == 0, answer.err
    assert weights_of(tmp_path / "again") == weights_of(trained / "run")


def test_an_option_beside_config_wins(torchcaps, trained, tmp_path):
    config = trained / "run" / "config.json"
    answer = torchcaps("train", f"--config={config}", "--epochs", 1, "--out", tmp_path / "short")
    assert answer.code == 0, answer.err
    used = json.loads((tmp_path / "short" / "config.json").read_text())
    assert used == json.loads(config.read_text()) | {"epochs": 1, "out": str(tmp_path / "short")}


def test_runs_lie_under_runs_unless_told_otherwise(torchcaps, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny_config(None, data=str(trained / "tiny.npz"), epochs=1)
    answer = torchcaps("train", *arguments_of(config))
    assert answer.code == 0, answer.err
    assert [path.name[:19] for path in (tmp_path / "runs").iterdir()] == ["tiny-capsnet_small-"]


def test_a_folder_that_holds_a_run_is_not_overwritten(torchcaps, run):
    before = listing(run)
    answer = torchcaps("train", "--data", run.parent / "none.npz", "--out", run)
    assert answer.code == 2
    answer = torchcaps("train", "--config", run, "--out", run)
    assert answer.code == 2
    assert f"{run} already holds a run: continue it with --resume {run}, or" in answer.err
    assert listing(run) == before


def test_resume(torchcaps, unfinished, trained):
    answer = torchcaps("train", "--resume", unfinished)
    assert answer.code == 0, answer.err
    assert "continuing after step 14 of 15" in answer.out
    assert weights_of(unfinished) == weights_of(trained / "run")


def test_a_run_without_its_run_json_is_a_run(torchcaps, run, trained, tmp_path):
    """A person is told to remove it, to go on with the data as they are now."""
    (run / "run.json").unlink()
    digit(1).save(tmp_path / "a.png")
    answer = torchcaps("predict", run, tmp_path / "a.png", "--out", tmp_path / "drawn")
    assert answer.code == 0, answer.err
    answer = torchcaps("eval", run, "--data", trained / "tiny.npz")
    assert answer.code == 0, answer.err
    answer = torchcaps("eval", run)
    assert answer.code == 2
    assert f"{run}/run.json, which says what data" in answer.err
    assert f"is missing: torchcaps train --resume {run} writes it again" in answer.err
    (run / "result.json").rename(tmp_path / "result.json")
    answer = torchcaps("predict", run, tmp_path / "a.png")
    assert f"the run {run} is not finished" in answer.err
    assert torchcaps("train", "--resume", run).code == 0
    assert torchcaps("eval", run).code == 0


def test_a_saved_model_in_a_project_is_not_its_run(torchcaps, trained, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(trained / "run" / "model", project / "mine")
    (project / "config.json").write_text('{"name": "my project"}')
    (project / "checkpoints").mkdir()
    answer = torchcaps("eval", project / "mine")
    assert answer.code == 2
    assert "run.json" not in answer.err


def test_the_search_for_a_rate_refuses_two_numbers_of_iterations(torchcaps, trained):
    routing = '{"name": "em", "iterations": 3}'
    options = ["--data", trained / "tiny.npz", "--routing", routing, "--iterations", 2]
    for more in ([], ["--find-rate"]):
        answer = torchcaps("train", *options, *more)
        assert (answer.code, answer.out) == (2, "")
        assert "--routing has iterations 3 and --iterations is 2: leave out one" in answer.err


def test_other_data_beside_config_do_not_take_its_folder_of_files(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_to_dict(TrainConfig(data="mnist", data_dir=tmp_path))))
    assert parse(["train", "--config", str(config)]).options().data_dir == tmp_path
    other = parse(["train", "--config", str(config), "--data", "mnist5k"])
    assert other.options().data_dir is None
    asked = parse(
        ["train", "--config", str(config), "--data", "mnist5k", "--data-dir", "elsewhere"]
    )
    with pytest.raises(InputError, match="--data-dir elsewhere is for the files of mnist and"):
        asked.options()


# --- eval
def test_eval_measures_what_the_model_gives(torchcaps, trained):
    answer = torchcaps("eval", trained / "run", "--json")
    assert (answer.code, answer.err) == (0, "")
    result = json.loads(answer.out)
    measured = evaluate(load_model(trained / "run" / "model"), tiny_data().test)
    assert result["accuracy"] == measured.accuracy
    assert result["interval_95"] == list(measured.interval)
    assert (result["images"], result["wrong"]) == (24, 24 - measured.correct)
    assert result["loss"] == pytest.approx(measured.loss)
    assert result["split"] == "test"
    assert result["balanced_accuracy"] == measured.balanced_accuracy
    assert result["majority_rate"] == pytest.approx(1 / 3)
    assert [result["classes"][name]["recall"] for name in NAMES] == measured.recall
    assert [result["classes"][name]["precision"] for name in NAMES] == measured.precision
    assert result["errors_by_class"] == {
        name: {"wrong": wrong, "images": 8}
        for name, (wrong, _) in zip(NAMES, measured.errors_by_class())
    }


def test_eval_agrees_with_the_end_of_training(torchcaps, trained):
    """The run was in float32, so to the last image."""
    answer = torchcaps("eval", trained / "run" / "model", "--json")
    result = json.loads((trained / "run" / "result.json").read_text())
    assert json.loads(answer.out)["accuracy"] == result["held_out_accuracy"]


def test_eval_for_a_person(torchcaps, trained):
    answer = torchcaps("eval", trained / "run", "--split", "train", "--batch-size", 10**30)
    assert answer.code == 0, answer.err
    assert re.match(r"accuracy: [\d.]+% \(95 % interval .* wrong, on .*\(train\)", answer.out)
    assert re.search(
        r"^balanced accuracy: [\d.]+% \(recall: ant .*, bee .*, cow .*\); "
        r"always answering ant: 33\.33%$",
        answer.out,
        re.MULTILINE,
    )
    for name in NAMES:
        assert re.search(rf"^  {name} +[\d.]+%  \(\d+ of 32\)$", answer.out, re.MULTILINE)


def test_eval_on_other_data(torchcaps, trained, tmp_path):
    for number in range(20):
        for label, name in enumerate(NAMES):
            (tmp_path / "more" / name).mkdir(parents=True, exist_ok=True)
            digit(label).resize((30, 30)).convert("RGB").save(
                tmp_path / f"more/{name}/{number}.png"
            )
    answer = torchcaps("eval", trained / "run", "--data", tmp_path / "more", "--json")
    assert answer.code == 0, answer.err  # resized and turned to grey as the model needs
    result = json.loads(answer.out)
    assert (result["images"], result["left_out"]) == (12, 48)
    answer = torchcaps("eval", trained / "run", "--data", tmp_path / "more")
    assert answer.out.endswith(
        "has no test part, so that a fifth of each class was measured, and 48 images were not: "
        "--split all measures all (where the model learned from this folder, those, too)\n"
    )
    # all of them, as if they were one set
    answer = torchcaps(
        "eval", trained / "run", "--data", tmp_path / "more", "--split", "all", "--json"
    )
    result = json.loads(answer.out)
    assert (result["images"], result["split"]) == (60, "all")
    assert "left_out" not in result
    parts = [
        json.loads(
            torchcaps(
                "eval", trained / "run", "--data", tmp_path / "more", "--split", part, "--json"
            ).out
        )
        for part in ("train", "test")
    ]
    assert result["wrong"] == sum(part["wrong"] for part in parts)
    assert result["loss"] == pytest.approx((48 * parts[0]["loss"] + 12 * parts[1]["loss"]) / 60)
    # data that say themselves what is held out leave nothing out
    for name in ("train", "test"):
        shutil.copytree(tmp_path / "more", tmp_path / "parted" / name)
    answer = torchcaps("eval", trained / "run", "--data", tmp_path / "parted", "--json")
    assert json.loads(answer.out)["images"] == 60
    assert "left_out" not in json.loads(answer.out)


def test_eval_knows_the_channels_that_train_was_told(torchcaps, trained, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 20, 13), dtype=np.uint8)
    path = tmp_path / "many.npz"
    np.savez(path, images=images, labels=np.arange(60) % 3)
    small = '{"stem_channels": [4, 8, 8]}'
    options = ("--channels", 13, "--epochs", 1, "--threads", 1, "--model-options", small)
    out = tmp_path / "run"
    assert torchcaps("train", "--data", path, "--out", out, *options).code == 0
    assert torchcaps("eval", out).code == 0
    assert torchcaps("eval", out, "--data", path).code == 0
    few = tmp_path / "few.npz"
    np.savez(few, images=images[..., :4], labels=np.arange(60) % 3)
    answer = torchcaps("eval", out, "--data", few)
    assert (answer.code, "channels is 13, and its images have 4" in answer.err) == (2, True)
    answer = torchcaps("eval", out, "--data", "mnist5k")
    assert (answer.code, "of 1 channels, the model takes 13" in answer.err) == (2, True)


def test_eval_notices_that_the_data_are_no_longer_those(torchcaps, run, trained, tmp_path):
    """As when a run was given its data from Python, and its config names others."""
    config = json.loads((run / "config.json").read_text())
    np.savez(
        tmp_path / "other.npz",
        images=np.zeros((30, 17, 17), np.uint8),
        labels=np.arange(30) % 3,
        class_names=np.array(NAMES),
    )
    config["data"] = str(tmp_path / "other.npz")
    (run / "config.json").write_text(json.dumps(config))
    answer = torchcaps("eval", run)
    assert answer.code == 2
    assert "other.npz does not hold the images that" in answer.err
    assert torchcaps("eval", run, "--data", tmp_path / "other.npz").code == 0


# --- predict
def test_predict_says_the_class_and_draws(torchcaps, trained, tmp_path):
    digit(1).save(tmp_path / "a.png")
    answer = torchcaps("predict", trained / "run", tmp_path / "a.png", "--out", tmp_path / "drawn")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{tmp_path / 'a.png'}: bee   (lengths: bee 0.")
    assert "swapped" not in answer.out
    with Image.open(tmp_path / "drawn" / "a-prediction.png") as picture:
        picture.load()


def test_predict_json(torchcaps, trained, tmp_path):
    digit(2).save(tmp_path / "a.png")
    answer = torchcaps("predict", trained / "run", tmp_path / "a.png", "--json", "--out", tmp_path)
    (result,) = json.loads(answer.out)
    assert result["class"] == "cow"
    assert list(result["activation"]) == list(NAMES)
    assert max(result["activation"], key=result["activation"].get) == "cow"
    assert result["inverted"] is False
    assert result["picture"] == str(tmp_path / "a-prediction.png")


def test_predict_turns_an_image_on_white_paper_round_and_says_so(torchcaps, trained, tmp_path):
    digit(1).save(tmp_path / "dark.png")
    digit(1, inverted=True).save(tmp_path / "light.png")
    arguments = ["predict", trained / "run", tmp_path / "dark.png", tmp_path / "light.png"]
    answer = torchcaps(*arguments, "--out", tmp_path)
    assert "dark and light were swapped (--invert no prevents it)" in answer.out
    dark, light = json.loads(torchcaps(*arguments, "--out", tmp_path, "--json").out)
    assert (dark["inverted"], light["inverted"]) == (False, True)
    assert light["activation"] == pytest.approx(dark["activation"], abs=1e-4)
    answer = torchcaps(*arguments, "--out", tmp_path, "--json", "--invert", "no")
    assert [result["inverted"] for result in json.loads(answer.out)] == [False, False]


def test_predict_reads_colour_and_other_sizes(torchcaps, trained, tmp_path):
    digit(1).resize((50, 40)).convert("RGB").save(tmp_path / "a.jpg")
    answer = torchcaps("predict", trained / "run", tmp_path / "a.jpg", "--out", tmp_path, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)[0]["class"] == "bee"


def test_images_of_one_name_do_not_overwrite_each_other(torchcaps, trained, tmp_path):
    images = ["a/1.png", "b/1.png", "b/1-2.png", "c/1.bmp"]
    for name in images:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        digit().save(tmp_path / name)
    answer = torchcaps(
        "predict", trained / "run", *(tmp_path / n for n in images), "--out", tmp_path / "drawn"
    )
    assert answer.code == 0, answer.err
    assert len(list((tmp_path / "drawn").iterdir())) == 4


# --- reproduce
def test_the_help_of_reproduce_says_where_it_went(torchcaps):
    answer = torchcaps("reproduce", "--help")
    assert answer.code == 0
    said = " ".join(re.sub("[│╭╰╮╯─]", " ", answer.out).split())
    assert "in a checkout, run `python -m reproduction NAME --scale cpu`, or `make repr" in said


# --- odds and ends
def test_a_misspelt_option_is_answered_with_the_nearest(torchcaps):
    answer = torchcaps("train", "--epocs", "3")
    assert answer.code == 2
    assert "--epocs" in answer.err
    assert "--epochs" in answer.err


@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["train", "--help"]])
def test_a_reader_that_has_gone_is_no_error(arguments):
    """As `| head -1` does, at worst before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*MODULE, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_too_little_memory_is_told(torchcaps, trained, monkeypatch):
    import torch

    from torchcaps.training import metrics

    errors = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")]
    for error in errors:

        def fail(*arguments, error=error, **options):
            raise error

        monkeypatch.setattr(metrics, "evaluate", fail)
        answer = torchcaps("eval", trained / "run")
        assert answer.code == 2
        assert answer.err == (
            "torchcaps: there is too little memory for this: take a smaller --batch-size\n"
        )
    answer = torchcaps("eval", trained / "run", "--batch-size", "1")
    assert "use a machine with more, or a network for smaller images" in answer.err


def test_too_little_memory_for_a_single_image_does_not_blame_the_batch(
    torchcaps, trained, tmp_path, monkeypatch
):
    from torchcaps.training import fit, loop

    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(fit, "fit", fail)
    monkeypatch.setattr(loop, "resume", fail)
    said = "torchcaps: there is too little memory for this: "
    for options, advice in (
        (["--batch-size", "1"], "take a smaller --image-size"),
        ([], "take a smaller --batch-size or --image-size"),
        (
            ["--model-options", '{"conv_channels": 99}'],
            "take a smaller --batch-size or --image-size or network in --model-options",
        ),
        (["--resume", trained], "begin a new run with a smaller --batch-size or --image-size"),
    ):
        assert torchcaps("train", *options).err == f"{said}{advice}\n"


def test_weights_that_no_batch_size_can_save_are_refused_before_they_are_made(
    torchcaps, trained, tmp_path, monkeypatch
):
    from torchcaps.training import build

    monkeypatch.setattr(build, "physical_memory", lambda: 18_000_000)
    options = ["--data", trained / "tiny.npz", "--model", "capsnet_small"]
    options += ["--out", tmp_path / "run"]
    answer = torchcaps("train", *options)  # 1,186,785 weights
    assert answer.code == 2
    assert answer.err == (
        "torchcaps: a CapsNet for images of 17×17 has 1,186,785 weights, for which training needs "
        "0.0 GiB of memory at any batch size, and this machine has 0.0: take a smaller "
        "--image-size\n"
    )
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(build, "physical_memory", lambda: 20_000_000)
    assert torchcaps("train", *options, "--epochs", 1).code == 0


def test_classes_and_data_whose_names_are_not_utf8(torchcaps, tmp_path):
    names = [os.fsdecode(name) for name in (b"caf\xe9", b"th\xe9")]
    data = tmp_path / os.fsdecode(b"pictures\xff")
    for k, name in enumerate(names):
        (data / name).mkdir(parents=True)
        for number in range(10):
            digit(number + 10 * k).save(data / name / f"{number}.png")
    options = ["--epochs", 1, "--batch-size", 4, "--out", tmp_path / "run"]
    answer = torchcaps("train", "--data", data, "--model", "capsnet_small", *options)
    assert answer.code == 0, answer.err
    assert load_model(tmp_path / "run").class_names == tuple(names)
    assert "caf\\udce9" in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    picture = data / names[0] / "0.png"
    answer = torchcaps("predict", tmp_path / "run", picture, "--out", tmp_path / "drawn")
    assert answer.code == 0, answer.err
    assert torchcaps("eval", tmp_path / "run").code == 0
