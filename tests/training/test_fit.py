"""`fit`, callbacks, which weights are kept, more epochs, and beginning with another's weights."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.small_runs import NAMES, tiny_config, tiny_data, weights_of, write_npz
from torchcaps.cli import main
from torchcaps.data import TrainTest
from torchcaps.errors import InputError, RunStopped
from torchcaps.models import BaselineCNN, CapsNet, ImageCapsNet, create_model, load_model
from torchcaps.routing import DynamicRouting
from torchcaps.training import build
from torchcaps.training.best_weights import best_epoch
from torchcaps.training.callback import Callback
from torchcaps.training.config import TrainConfig
from torchcaps.training.find_rate import find_learning_rate
from torchcaps.training.fit import fit
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.loop import images_and_model, resume, train

TINY: dict[str, Any] = {"epochs": 3, "batch_size": 16, "threads": 1, "learning_rate": 0.002}


class Recorder(Callback):
    def __init__(self, stop_after: int | None = None) -> None:
        self.heard: list[str] = []
        self.stop_after = stop_after

    def on_begin(self, run):
        self.heard.append(f"begin {run.step}")

    def on_step(self, run):
        self.heard.append(f"step {run.step}")

    def on_epoch(self, run, row):
        self.heard.append(f"epoch {row['epoch']}")
        assert 0 <= row["validation_accuracy"] <= 1
        if row["epoch"] == self.stop_after:
            run.stop()

    def on_end(self, run, held_out):
        self.heard.append(f"end {held_out.answers.accuracy >= 0}")


def test_callbacks_hear_everything_in_order(tmp_path):
    recorder = Recorder()
    fit(tiny_data(), callbacks=[recorder], out=tmp_path, **{**TINY, "epochs": 2})
    steps = [f"step {k}" for k in range(1, 11)]
    assert recorder.heard == ["begin 0", *steps[:5], "epoch 1", *steps[5:], "epoch 2", "end True"]


def test_a_callback_ends_the_run_as_if_it_were_done(tmp_path):
    recorder = Recorder(stop_after=1)
    result = fit(tiny_data(), callbacks=[recorder], out=str(tmp_path), **TINY)
    assert recorder.heard[-2:] == ["epoch 1", "end True"]
    said = json.loads((result.folder / "result.json").read_text())
    assert (said["epochs"], said["weights"]) == (1, "of the last of 1 epochs, stopped early")
    assert isinstance(load_model(result.folder), ImageCapsNet)


def test_a_network_of_ones_own_is_trained_from_its_weights(tmp_path):
    data = tiny_data()
    model = create_model(
        "capsnet_small", image_size=17, num_classes=3, class_names=data.train.class_names
    )
    assert isinstance(model, CapsNet)
    before = model.conv.weight.detach().clone()
    fit(data, model, out=tmp_path, **{**TINY, "epochs": 1, "learning_rate": 1e-9})
    assert torch.allclose(load_model(tmp_path).state_dict()["conv.weight"], before, atol=1e-6)
    other = create_model("capsnet_small", image_size=18, num_classes=3)
    with pytest.raises(InputError, match=r"image size \(17, 17\), and the model \(18, 18\)"):
        fit(data, other, out=tmp_path / "other", **TINY)
    with pytest.raises(TypeError, match="epoch"):
        fit(data, epoch=3)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("routing", "em"),
        ("iterations", 2),
        ("reconstruct", False),
        ("loss_scale", "authors"),
        ("model_options", {"kernel_size": 7}),
        ("init", "digits"),
        ("image_size", 20),
        ("channels", 3),
        ("data_dir", "mnist"),
        ("in_memory", "no"),
    ],
)
def test_options_that_would_change_nothing_are_refused(tmp_path, option, value):
    data = tiny_data()
    model = create_model("capsnet_small", image_size=17, num_classes=3, class_names=NAMES)
    with pytest.raises(InputError, match=rf"^{option} is .* was given: leave it out"):
        fit(data, model, out=tmp_path / "run", **{**TINY, option: value})
    assert not (tmp_path / "run").exists()


def test_a_folder_for_files_that_no_one_would_look_into_is_refused(tmp_path):
    data = write_npz(tmp_path / "tiny.npz", tiny_data())
    for name in (data, "mnist5k"):
        with pytest.raises(InputError, match="--data-dir x is for the files of mnist and f"):
            fit(name, data_dir="x", out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()
    fit(data, out=tmp_path / "run", **{**TINY, "epochs": 1})
    with pytest.raises(InputError, match="--data-dir x is for the files of mnist and f"):
        resume(tmp_path / "run", data_dir="x", epochs=2)
    with pytest.raises(InputError, match=r"data_dir is 'x', .* a TrainTest was given: leave"):
        resume(tmp_path / "run", tiny_data(), data_dir="x", epochs=2)


def test_paths_from_python_are_those_of_a_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    home = tmp_path / "home"
    result = fit(tiny_data(), out="~/run", **{**TINY, "epochs": 1})
    assert result.folder == home / "run"
    assert resume("~/run", tiny_data(), epochs=2).folder == home / "run"
    model = load_model("~/run")
    model.save_pretrained("~/saved")
    assert type(model).from_pretrained("~/saved").class_names == NAMES
    config = TrainConfig(out=Path("~/a"), init=Path("~/saved"), data_dir=Path("~/c"))
    assert (config.out, config.init, config.data_dir) == (home / "a", home / "saved", home / "c")
    fit(tiny_data(), init="~/saved", out=Path("~/again"), **{**TINY, "epochs": 1})
    with pytest.raises(InputError, match="~nosuchuser/run names the folder of a user, and there"):
        fit(tiny_data(), out="~nosuchuser/run", **TINY)
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        (print, "must be a list of Callback objects, got builtin_function_or_method"),
        (Recorder(), "must be a list of Callback objects, got Recorder"),
        ([print], "must hold objects that inherit from Callback, got builtin_function_or_method"),
        ([Recorder], "must hold objects that inherit from Callback, got the class Recorder"),
    ],
)
def test_callbacks_that_are_none_are_told_before_anything_is_read(tmp_path, callbacks, said):
    for call in (fit, resume):
        with pytest.raises(TypeError, match=f"^callbacks {said}$"):
            call(tmp_path / "not there", callbacks=callbacks)
    with pytest.raises(TypeError, match=f"^callbacks {said}$"):
        train(tiny_config(tmp_path / "run"), tiny_data(), callbacks=callbacks)
    assert not (tmp_path / "run").exists()


def test_callbacks_may_come_one_by_one(tmp_path, no_pictures):
    recorder = Recorder()
    train(tiny_config(tmp_path / "run"), tiny_data(), callbacks=iter([recorder]))  # type: ignore[arg-type]
    assert recorder.heard


def test_two_numbers_of_iterations_are_refused(tmp_path):
    routing = {"name": "em", "iterations": 3}
    with pytest.raises(InputError, match=r"^--routing has iterations 3 and --iterations is 2: "):
        fit(tiny_data(), routing=routing, iterations=2, out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()
    for iterations in (None, 3):
        build.check_iterations(TrainConfig(routing=routing, iterations=iterations))
    build.check_iterations(TrainConfig(routing={"name": "em"}, iterations=2))
    build.check_iterations(TrainConfig(routing="em", iterations=2))


def test_options_of_the_network_that_do_not_fit_are_not_blamed_on_the_data(tmp_path):
    data = tiny_data(channels=3)
    with pytest.raises(InputError, match=r"^--model-options do not fit image_capsnet: mean has 1"):
        fit(data, model_options={"mean": [1]}, out=tmp_path / "run", **TINY)
    small = tiny_data(size=(10, 10))
    with pytest.raises(InputError, match=r"^tiny does not fit capsnet_small: images of 10×10 are"):
        fit(small, "capsnet_small", model_options={"conv_stride": 1}, out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


# --- which weights are kept
def rows(*accuracies: float) -> list[dict[str, float]]:
    return [{"validation_accuracy": a} for a in accuracies]


def test_the_best_epoch_is_the_first_of_the_highest():
    assert best_epoch(rows(0.1, 0.5, 0.3, 0.5), "validation_accuracy") == 2
    assert best_epoch([], "validation_accuracy") == 0


class Snapshots(Callback):
    """The weights after each epoch; validation is made to say what the test wants."""

    def __init__(self, accuracies):
        self.accuracies, self.weights = accuracies, []

    def on_begin(self, run):
        run.task.validate = lambda model, precision: {
            "validation_loss": 0.0,
            "validation_accuracy": self.accuracies[len(run.history)],
        }

    def on_epoch(self, run, row):
        self.weights.append(run.model.classes.weight.detach().clone())


def test_the_best_weights_are_kept_on_request(tmp_path):
    snapshots = Snapshots([0.3, 0.9, 0.5])
    result = fit(tiny_data(), callbacks=[snapshots], keep="best", out=tmp_path, **TINY)
    saved = load_file(result.folder / "model" / "model.safetensors")["classes.weight"]
    assert torch.equal(saved, snapshots.weights[1])
    assert not torch.equal(saved, snapshots.weights[2])
    said = json.loads((tmp_path / "result.json").read_text())["weights"]
    assert said == "of epoch 2 of 3, the best by validation accuracy"
    assert load_model(result.folder).metadata["weights"] == said


def test_damaged_best_weights_are_named(tmp_path):
    class Damage(Snapshots):
        def on_epoch(self, run, row):
            (run.folder.checkpoints / "best.safetensors").write_bytes(b"no")

    with pytest.raises(
        InputError, match=r"best\.safetensors, the weights of epoch 1, the best, is"
    ):
        fit(tiny_data(), callbacks=[Damage([0.9, 0.1, 0.1])], keep="best", out=tmp_path, **TINY)
    edit(tmp_path, keep="last")
    resume(tmp_path, tiny_data())
    assert (
        json.loads((tmp_path / "result.json").read_text())["weights"] == "of the last of 3 epochs"
    )


def edit(run, **options):
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


def test_a_run_that_is_to_keep_the_best_from_now_on_needs_the_best_so_far(tmp_path):
    record = tmp_path / "checkpoints" / "best.json"

    def go_on(accuracies):
        return resume(tmp_path, tiny_data(), epochs=4, callbacks=[Snapshots(accuracies)])

    fit(tiny_data(), callbacks=[Snapshots([0.3, 0.9, 0.5])], out=tmp_path, **TINY)
    edit(tmp_path, keep="best")
    with pytest.raises(InputError, match=r"the weights of epoch 2, the best, is missing or dam"):
        go_on([0.3, 0.9, 0.5, 0.1])
    record.write_text('{"epoch": 3, "sha256": ""}')
    with pytest.raises(InputError, match="the weights of epoch 2, the best, is missing"):
        go_on([0.3, 0.9, 0.5, 0.1])
    # Killed between the best weights and the checkpoint of the next epoch, which is done again.
    record.write_text('{"epoch": 4, "sha256": ""}')
    go_on([0.3, 0.9, 0.5, 0.95])
    assert json.loads(record.read_text())["epoch"] == 4


def test_patience_ends_a_run_that_gets_no_better(tmp_path):
    snapshots = Snapshots([0.3, 0.9, 0.5, 0.9, 0.2, 0.1])
    fit(tiny_data(), callbacks=[snapshots], patience=2, out=tmp_path, **{**TINY, "epochs": 6})
    assert len(snapshots.weights) == 4
    said = json.loads((tmp_path / "result.json").read_text())
    assert (said["epochs"], said["weights"]) == (4, "of the last of 4 epochs, stopped early")


@pytest.mark.parametrize("option", [{"keep": "best"}, {"patience": 2}])
def test_without_validation_there_is_no_best(tmp_path, option):
    with pytest.raises(InputError, match="needs data kept aside"):
        train(tiny_config(tmp_path, validation=0.0, **option), tiny_data())


# --- more epochs
def test_a_finished_run_goes_on_for_more_epochs(tmp_path):
    config = tiny_config(tmp_path / "run", schedule="constant", warmup=0.0)
    train(config, tiny_data())
    longer = tiny_config(tmp_path / "longer", epochs=4, schedule="constant", warmup=0.0)
    expected = train(longer, tiny_data())
    found = resume(tmp_path / "run", tiny_data(), epochs=4)
    one, other = (
        load_file(folder / "model" / "model.safetensors")
        for folder in (expected.folder, found.folder)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["epochs"] == 4
    with pytest.raises(InputError, match="--epochs 3 is less than the 4 of the run"):
        resume(tmp_path / "run", tiny_data(), epochs=3)


# --- beginning with another's weights
def test_weights_that_fit_are_taken(tmp_path, capsys):
    data = tiny_data()
    train(tiny_config(tmp_path / "first", model="image_capsnet", iterations=None), data)
    begun = tiny_config(
        tmp_path / "again", model="image_capsnet", iterations=None, init=tmp_path / "first"
    )
    _, model = images_and_model(begun, data, None)
    saved = load_model(tmp_path / "first")
    assert "drawn anew: none" in capsys.readouterr().out
    assert all(torch.equal(w, saved.state_dict()[n]) for n, w in model.state_dict().items())
    fewer = tiny_data(60)
    fewer = fewer._replace(train=fewer.train, test=fewer.test)
    names = ("x", "y", "z")
    parts = [type(p)(p.images, p.labels, names, p.name) for p in fewer]
    _, model = images_and_model(begun, type(fewer)(*parts), None)
    assert "drawn anew: classes.weight, decoder." in capsys.readouterr().out
    assert isinstance(model, ImageCapsNet)
    assert isinstance(saved, ImageCapsNet)
    assert torch.equal(model.stem.convolutions[0].weight, saved.stem.convolutions[0].weight)
    assert not torch.equal(model.classes.weight, saved.classes.weight)
    assert model.class_names == names
    assert model.mean == saved.mean
    with pytest.raises(InputError, match="is for images of 1 channels, and tiny has 3"):
        images_and_model(begun, tiny_data(60, channels=3), None)
    with pytest.raises(InputError, match="leave out --model"):
        images_and_model(replace(begun, reconstruct=False), data, None)
    with pytest.raises(InputError, match="leave out --model"):
        images_and_model(tiny_config(tmp_path, init=tmp_path / "first"), data, None)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_goes_on_though_the_network_it_began_with_is_gone(tmp_path):
    model = create_model("variational_capsnet", image_size=17, num_classes=3, class_names=NAMES)
    first = tmp_path / "first"
    model.save_pretrained(first)
    options = {"model": "image_capsnet", "iterations": None, "init": first}
    expected = train(tiny_config(tmp_path / "at once", **options), tiny_data())

    class Stop(Callback):
        def on_step(self, run):
            if run.step == 7:
                raise KeyboardInterrupt

    with pytest.raises(RunStopped):
        train(tiny_config(tmp_path / "run", **options), tiny_data(), callbacks=[Stop()])
    first.rename(tmp_path / "moved")
    found = resume(tmp_path / "run", tiny_data())
    assert weights_of(found.folder) == weights_of(expected.folder)
    run_json = tmp_path / "run" / "run.json"
    facts = json.loads(run_json.read_text())
    facts["network"]["num_classes"] = "many"
    run_json.write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"run\.json is damaged \(its network: "):
        resume(tmp_path / "run", tiny_data())
    run_json.unlink()
    with pytest.raises(InputError, match="first"):
        resume(tmp_path / "run", tiny_data())


def test_a_network_with_another_s_weights_is_called_what_it_is_and_tried(tmp_path):
    model = create_model("variational_capsnet", image_size=17, num_classes=3, class_names=NAMES)
    model.save_pretrained(tmp_path / "saved")
    config = TrainConfig(init=tmp_path / "saved")
    task, begun = images_and_model(config, tiny_data(), None)
    assert task.describe(begun).startswith("VariationalCapsNet (")
    with pytest.raises(InputError, match="--batch-size 1 is too small for a VariationalCapsNet"):
        images_and_model(replace(config, batch_size=1), tiny_data(), None)


def test_weights_that_no_batch_size_can_save_are_refused_with_init_too(tmp_path, monkeypatch):
    model = create_model("capsnet_small", image_size=17, num_classes=3, class_names=NAMES)
    model.save_pretrained(tmp_path / "saved")
    config = TrainConfig(init=tmp_path / "saved")
    images_and_model(config, tiny_data(), None)
    count = sum(weight.numel() for weight in model.parameters())
    monkeypatch.setattr(build, "physical_memory", lambda: 2 * 16 * count)
    images_and_model(config, tiny_data(), None)
    with pytest.raises(InputError, match=r"for images of 80×80 has .* take a smaller --image-size"):
        images_and_model(config, tiny_data(60, size=(80, 80)), None)


def test_a_routing_that_looks_at_its_numbers_is_not_tried(tmp_path, monkeypatch):
    """Before the first step there are none to look at."""
    check, looked = DynamicRouting.check_arguments, []

    def look(self, votes, activation, mask):
        looked.append(votes.pose.sum().item())
        return check(self, votes, activation, mask)

    monkeypatch.setattr(DynamicRouting, "check_arguments", look)
    _, model = images_and_model(tiny_config(tmp_path), tiny_data(), None)
    assert not looked
    model(torch.rand(2, 1, 17, 17))
    assert looked


# --- a learning rate is searched for
def test_the_search_for_a_rate_leaves_everything_as_it_was(tmp_path):
    config = tiny_config(tmp_path / "none", model="image_capsnet", iterations=None)
    task, model = images_and_model(config, tiny_data(), None)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = find_learning_rate(config, task, model, steps=40)
    assert all(torch.equal(before[n], w) for n, w in model.state_dict().items())
    assert not (tmp_path / "none").exists()
    assert found.rates[0] == pytest.approx(1e-5)
    assert all(a < b for a, b in zip(found.rates, found.rates[1:]))
    assert 1e-5 < found.suggestion < 0.1
    assert min(found.losses) < found.losses[0]
    with pytest.raises(InputError, match="steps is 3"):
        find_learning_rate(config, task, model, steps=3)


def test_the_command_line_prints_the_search_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--find-rate", "--threads", "1"])
    assert ended.value.code == 0
    assert "suggested: --learning-rate 0.00" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# --- the gradient is shortened
def test_a_gradient_that_is_clipped_to_nothing_moves_nothing(tmp_path):
    """Below Adam's epsilon, 1e-8, a gradient has no effect; without a clip it has."""
    moved = {}
    for clip in (1e-14, None):
        config = tiny_config(tmp_path / str(clip), epochs=1, clip=clip)
        task, model = images_and_model(config, tiny_data(), None)
        before = model.state_dict()["classes.weight"].clone()
        done = train(config, tiny_data())
        moved[clip] = (load_model(done.folder).state_dict()["classes.weight"] - before).abs().max()
        assert task.score == "validation_accuracy"
    assert moved[1e-14] < 1e-6
    assert moved[None] > 1e-4


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        (tiny_data().train, None, "data must be a name, a path, or a TrainTest"),
        (tuple(tiny_data()), None, "got tuple"),
        (tiny_data(), nn.Linear(2, 3), "inherits from torchcaps.models.Classifier, got Linear"),
        (tiny_data(), 5, "got int"),
        (tiny_data(), BaselineCNN, "got the class BaselineCNN: make one of it"),
    ],
)
def test_nothing_is_taken_for_something_else(data, model, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        fit(data, model, out=tmp_path / "run", epochs=1)
    assert not (tmp_path / "run").exists()


class Named(os.PathLike[str]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_any_path_is_taken(tmp_path, no_pictures):
    data = Named(write_npz(tmp_path / "tiny.npz", tiny_data()))
    options = {**TINY, "epochs": 1, "model": "capsnet_small"}
    done = fit(data, out=Named(tmp_path / "run"), **options)
    assert done.folder == tmp_path / "run"
    (tmp_path / "tiny.npz").rename(tmp_path / "moved.npz")
    resume(tmp_path / "run", Named(tmp_path / "moved.npz"), epochs=2)
    with pytest.raises(InputError, match=r"another\.npz does not exist"):
        resume(tmp_path / "run", Named(tmp_path / "another.npz"), epochs=3)
    with pytest.raises(InputError, match=r"^data_dir is empty: give it a value"):
        resume(tmp_path / "run", data_dir="", epochs=3)
    images: Any = tiny_data().train
    with pytest.raises(TypeError, match=r"^data is ImageData; expected a TrainTest of images"):
        resume(tmp_path / "run", images, epochs=3)


@pytest.mark.parametrize("name", ["out", "data_dir", "init"])
def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"^{name} is empty: give it a value \(\. is the"):
        fit(tiny_data(), **{**TINY, name: ""})
    with pytest.raises(InputError, match=r"^data is empty: give it a value \(\. is the cur"):
        fit("", **TINY)
    assert not list(tmp_path.iterdir())


def test_parts_that_do_not_fit_are_refused_before_there_is_a_folder(tmp_path):
    """However one comes to a training."""
    train_part, test_part = tiny_data()
    turned = replace(test_part, class_names=NAMES[::-1])
    data, said = TrainTest(train_part, turned), "their class 1 is 'cow', and that of the others 'a"
    config = tiny_config(tmp_path / "run")
    for call in (
        lambda: fit(data, out=tmp_path / "run", **TINY),
        lambda: train(config, data),
        lambda: ImageClassification(data, "mine"),
        lambda: images_and_model(config, data, None),
    ):
        with pytest.raises(InputError, match=said):
            call()
    nothing: Any = None
    with pytest.raises(TypeError, match=r"^test of a TrainTest is NoneType; expected ImageData"):
        fit(TrainTest(train_part, nothing), out=tmp_path / "run", **TINY)
    subset: Any = torch.utils.data.Subset(train_part, [0, 1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^train of a TrainTest is Subset; expected ImageData"):
        fit(TrainTest(subset, test_part), out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()
