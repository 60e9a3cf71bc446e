import csv
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.small_runs import (
    NAMES,
    STEPS,
    arguments_of,
    listing,
    tiny_config,
    tiny_data,
    weights_of,
    write_npz,
)
from torchcaps.data import ImageData, TrainTest
from torchcaps.errors import InputError, RunStopped
from torchcaps.models import CapsNet, Decoder, load_model
from torchcaps.models.classifier import Losses
from torchcaps.training import image_classification
from torchcaps.training import run as run_module
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.config import config_to_dict, read_train_config
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.loop import resume, train
from torchcaps.training.metrics import evaluate
from torchcaps.training.run import Run

DATA = tiny_data()
COLUMNS = [
    "epoch", "step", "learning_rate", "loss", "classification_loss", "reconstruction_loss",
    "train_accuracy", "validation_loss", "validation_accuracy", "seconds", "images_per_second",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run, pictures and all."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return train(tiny_config(out), DATA)


def metrics_of(folder):
    """The rows of metrics.csv, less what a clock measured."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def stop_after(monkeypatch, step):
    """Ask the loop to stop once `step` is done, as Ctrl-C does."""
    do_step = Run.do_step

    def and_stop(self):
        do_step(self)
        if self.step == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "do_step", and_stop)


def test_a_run_leaves_all_its_files(finished):
    folder = finished.folder
    assert set(listing(folder)) == {
        "config.json", "run.json", "metrics.csv", "result.json",
        "model/config.json", "model/model.safetensors", "model/README.md",
        "learning_curves.png", "confusion.png", "mistakes.png", "reconstructions.png",
        "checkpoints/step-00000008.json", "checkpoints/step-00000008.safetensors",
        "checkpoints/step-00000010.json", "checkpoints/step-00000010.safetensors",
    }  # fmt: skip
    for picture in folder.glob("*.png"):
        with Image.open(picture) as image:
            image.load()


def test_metrics_have_a_row_an_epoch(finished):
    with (finished.folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "5"), ("2", "10")]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(
            float(row["classification_loss"]) + float(row["reconstruction_loss"])
        )
        assert 0 <= float(row["train_accuracy"]) <= 1
        assert 0 <= float(row["validation_accuracy"]) <= 1
    rate = float(rows[1]["learning_rate"])
    # The last of ten steps on a cosine down to a hundredth (a warm-up of 5 % of ten is none).
    assert rate == pytest.approx(0.002 * (0.01 + 0.99 * (1 + math.cos(0.9 * math.pi)) / 2))


def test_json_files_say_what_was_done(finished):
    result = json.loads((finished.folder / "result.json").read_text())
    assert result["held_out_accuracy"] == finished.held_out.accuracy
    assert result["held_out_images"] == len(DATA.test)
    facts = json.loads((finished.folder / "run.json").read_text())
    assert facts["data"]["train"] == len(DATA.train)
    assert facts["data"]["classes"] == list(NAMES)
    assert facts["machine"]["torch"] == torch.__version__
    config = read_train_config(finished.folder)
    assert config == tiny_config(finished.folder)


def test_the_saved_model_gives_the_same_answers(finished):
    model = load_model(finished.folder / "model")
    assert model.class_names == NAMES
    again = evaluate(model, DATA.test)
    assert torch.equal(again.predictions, finished.held_out.predictions)
    assert torch.allclose(again.activation, finished.held_out.activation, atol=0.02)  # bf16


def test_it_learns(tmp_path, no_pictures):
    result = train(tiny_config(tmp_path, epochs=6, learning_rate=0.005), DATA)
    assert result.held_out.accuracy > 0.9


def test_the_same_seed_gives_the_same_bits(finished, tmp_path, no_pictures):
    torch.manual_seed(99)
    again = train(tiny_config(tmp_path), DATA)
    assert weights_of(again.folder) == weights_of(finished.folder)


def test_another_seed_gives_others(finished, tmp_path, no_pictures):
    other = train(tiny_config(tmp_path, seed=1), DATA)
    assert weights_of(other.folder) != weights_of(finished.folder)


def test_training_leaves_the_global_generator_alone(tmp_path, no_pictures):
    before = torch.get_rng_state()
    train(tiny_config(tmp_path, epochs=1), DATA)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_test_images_are_looked_at_once_after_the_last_step(tmp_path, no_pictures, monkeypatch):
    """Protocol: nothing may be chosen by them, and the weights are those of the last step."""
    log = []
    batch, save = ImageData.batch, run_module.save_checkpoint

    def logged_batch(self, indices):
        if self is DATA.test:
            log.append("test images")
        return batch(self, indices)

    def logged_save(folder, step, *rest):
        log.append(step)
        save(folder, step, *rest)

    def logged_measure(model, data, **options):
        if data is DATA.test:
            log.append("measured")
        return evaluate(model, data, **options)

    monkeypatch.setattr(ImageData, "batch", logged_batch)
    monkeypatch.setattr(run_module, "save_checkpoint", logged_save)
    monkeypatch.setattr(image_classification, "evaluate", logged_measure)
    train(tiny_config(tmp_path), DATA)
    assert log == [2, 4, 5, 6, 8, STEPS, "measured", "test images"]
    saved = load_file(tmp_path / "model" / "model.safetensors")
    last = load_file(tmp_path / "checkpoints" / f"step-{STEPS:08d}.safetensors")
    assert all(torch.equal(saved[name], last[f"model.{name}"]) for name in saved)


def test_validation_is_taken_from_the_training_images(tmp_path, no_pictures, monkeypatch):
    measured = []

    def spy(model, data, **options):
        measured.append(data)
        return evaluate(model, data, **options)

    monkeypatch.setattr(image_classification, "evaluate", spy)
    train(tiny_config(tmp_path, validation=0.25), DATA)
    assert len(measured) == 3
    assert measured.pop() is DATA.test
    assert all(len(data) == 24 for data in measured)
    training = {image.numpy().tobytes() for image in DATA.train.images}
    assert all(image.numpy().tobytes() in training for image in measured[0].images)


def test_without_validation(tmp_path, no_pictures, monkeypatch):
    measured = []

    def spy(model, data, **options):
        measured.append(data)
        return evaluate(model, data, **options)

    monkeypatch.setattr(image_classification, "evaluate", spy)
    train(tiny_config(tmp_path, validation=0), DATA)
    assert len(measured) == 1
    assert measured[0] is DATA.test
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["6", "12"]  # of 96 images, none set aside
    assert {row["validation_accuracy"] for row in rows} == {""}


def test_the_decoder_draws_the_true_class_while_training(tmp_path, no_pictures, monkeypatch):
    shown = []
    forward = Decoder.forward

    def spy(self, pose, classes):
        if self.training and not classes.is_meta:  # before the first step nothing is computed
            shown.append(classes.clone())
        return forward(self, pose, classes)

    monkeypatch.setattr(Decoder, "forward", spy)
    train(tiny_config(tmp_path, epochs=1, validation=0), DATA)
    sampler = BatchSampler(len(DATA.train), 16, seed=0)
    task = ImageClassification(DATA, "capsnet_small", max_shift=2)
    assert len(shown) == 6
    for step, classes in enumerate(shown):
        assert torch.equal(classes, task.batch(step, sampler)[1])


# --- other networks, images and sources
def test_the_baseline_trains_without_a_reconstruction(tmp_path):
    config = tiny_config(
        tmp_path, model="baseline_cnn", iterations=None, epochs=1, checkpoint_every=100
    )
    result = train(config, tiny_data(40, size=(17, 8)))
    assert result.held_out.activation.shape == (8, 3)
    assert not (tmp_path / "reconstructions.png").exists()
    assert (tmp_path / "mistakes.png").exists()


def test_rgb_images_that_are_not_square(tmp_path):
    config = tiny_config(tmp_path, epochs=1, reconstruct=True)
    result = train(config, tiny_data(60, size=(17, 21), channels=3))
    model = load_model(result.folder / "model")
    assert (model.channels, model.image_size) == (3, (17, 21))
    assert (tmp_path / "reconstructions.png").exists()


def test_the_first_classes_may_be_absent_from_the_test_images(tmp_path):
    """Then there is nothing of them to draw."""
    names = tuple(f"class {k}" for k in range(10))
    train_part, test_part = tiny_data(60)
    train_part = replace(train_part, class_names=names)
    test_part = replace(test_part, class_names=names, labels=torch.full((12,), 9))
    train(tiny_config(tmp_path, epochs=1), TrainTest(train_part, test_part))
    assert (tmp_path / "result.json").is_file()


def test_a_run_without_decoder(tmp_path):
    result = train(tiny_config(tmp_path, epochs=1, reconstruct=False), DATA)
    assert load_model(result.folder / "model").decoder is None
    assert not (tmp_path / "reconstructions.png").exists()


def test_a_file_gives_the_bits_of_the_same_data_in_memory(finished, tmp_path, no_pictures):
    path = write_npz(tmp_path / "tiny.npz", DATA)
    result = train(tiny_config(tmp_path / "run", data=str(path)))
    assert weights_of(result.folder) == weights_of(finished.folder)


def test_options_of_capsule_networks_are_refused_for_others(tmp_path):
    with pytest.raises(
        InputError, match="--routing, --iterations and --loss-scale are for capsule networks"
    ):
        train(tiny_config(tmp_path, model="baseline_cnn"), DATA)


def test_tensorboard_on_request(tmp_path, no_pictures):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_config(tmp_path, tensorboard=True), DATA)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [5, 10]
    assert {"train_accuracy", "validation_accuracy"} <= set(events.Tags()["scalars"])


# --- numbers that are not finite
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(tmp_path, no_pictures, monkeypatch):
    loss, steps = CapsNet.loss, []

    def bad_at_the_fourth(self, output, images, labels):
        if self.training:
            steps.append(1)
        total, *rest = loss(self, output, images, labels)
        return Losses(total * float("nan") if len(steps) == 4 else total, *rest)

    monkeypatch.setattr(CapsNet, "loss", bad_at_the_fourth)
    with pytest.raises(
        RunStopped, match=r"the loss is not finite at step 4, so .* --learning-rate"
    ) as stopped:
        train(tiny_config(tmp_path), DATA)
    assert stopped.value.exit_code == 1
    assert sorted(listing(tmp_path / "checkpoints")) == [
        "step-00000002.json", "step-00000002.safetensors",
    ]  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setattr(ImageClassification, "draw", lambda *arguments: None)
    assert resume(tmp_path, DATA).held_out is not None  # what was saved is fit to go on from


def test_a_run_that_stops_before_its_first_checkpoint_names_none(tmp_path, no_pictures):
    with pytest.raises(RunStopped) as stopped:
        train(tiny_config(tmp_path / "run", learning_rate=1e20, checkpoint_every=1000), DATA)
    assert str(stopped.value).endswith(
        "run was stopped; nothing is saved; a --learning-rate below 1e+20 may help, with another "
        "--out or after removing this folder"
    )
    assert not list((tmp_path / "run").rglob("step-*"))


def finite(folder):
    """Whether the checkpoints in a run folder hold only weights that are finite."""
    tensors = [load_file(path) for path in folder.glob("checkpoints/*.safetensors")]
    return all(bool(t.isfinite().all()) for part in tensors for t in part.values())


def test_a_learning_rate_far_too_large_is_told(tmp_path, no_pictures):
    with pytest.raises(RunStopped, match=r"not finite .* a --learning-rate below 1e\+30 may help"):
        train(tiny_config(tmp_path, learning_rate=1e30, checkpoint_every=1), DATA)
    assert finite(tmp_path)


def test_no_checkpoint_holds_weights_that_are_not_finite(tmp_path, no_pictures, monkeypatch):
    """The loss of a step is finite, its gradient is not: what would be saved after it is NaN."""
    loss = CapsNet.loss

    def with_bad_gradient(self, output, images, labels):
        total, *rest = loss(self, output, images, labels)
        return Losses(total + (0 * output.pose).sum().sqrt(), *rest)

    monkeypatch.setattr(CapsNet, "loss", with_bad_gradient)
    with pytest.raises(RunStopped, match="the weights are not finite after step 1, so"):
        train(tiny_config(tmp_path, checkpoint_every=1), DATA)
    assert finite(tmp_path)


# --- stopping and going on
@pytest.mark.parametrize("step", [1, 3, 4, 5, 9])
def test_going_on_after_a_stop_gives_the_same_bits(
    finished, tmp_path, no_pictures, monkeypatch, step
):
    stop_after(monkeypatch, step)
    with pytest.raises(RunStopped, match=f"stopped after step {step} of 10, and saved") as stopped:
        train(tiny_config(tmp_path), DATA)
    assert stopped.value.exit_code == 130
    assert str(stopped.value).endswith(f"torchcaps train --resume {tmp_path}")
    resume(tmp_path, DATA)
    assert weights_of(tmp_path) == weights_of(finished.folder)
    assert metrics_of(tmp_path) == metrics_of(finished.folder)


def test_dropout_too_goes_on_with_the_same_bits(tmp_path, no_pictures, monkeypatch):
    """Its masks are functions of (seed, step), as the batches are."""
    data = tiny_data(40, size=(6, 6))
    config = tiny_config(tmp_path / "a", model="baseline_cnn", iterations=None, batch_size=8)
    straight = train(config, data)
    stop_after(monkeypatch, 2)
    with pytest.raises(RunStopped):
        train(replace(config, out=tmp_path / "b"), data)
    resume(tmp_path / "b", data)
    assert weights_of(tmp_path / "b") == weights_of(straight.folder)


def test_a_stop_asked_for_at_the_last_step_lets_the_run_finish(tmp_path, no_pictures, monkeypatch):
    stop_after(monkeypatch, STEPS)
    assert train(tiny_config(tmp_path), DATA).held_out is not None


def test_a_stop_asked_for_during_validation_is_honoured_after_the_save(
    tmp_path, no_pictures, monkeypatch
):
    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return evaluate(*arguments, **options)

    monkeypatch.setattr(image_classification, "evaluate", interrupted)
    with pytest.raises(RunStopped, match="stopped after step 5 of 10, and saved"):
        train(tiny_config(tmp_path), DATA)
    assert (tmp_path / "checkpoints" / "step-00000005.json").is_file()


def test_ctrl_c_while_finishing_says_how_to_go_on(finished, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageClassification, "draw", interrupted)
    with pytest.raises(RunStopped, match=f"interrupted; .* train --resume {tmp_path}") as stopped:
        train(tiny_config(tmp_path), DATA)
    assert stopped.value.exit_code == 130
    monkeypatch.setattr(ImageClassification, "draw", lambda *arguments: None)
    resume(tmp_path, DATA)
    assert weights_of(tmp_path) == weights_of(finished.folder)


def test_handlers_of_signals_are_put_back(tmp_path, no_pictures):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(tiny_config(tmp_path, epochs=1), DATA)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_resuming_a_finished_run_gives_the_same_result(finished, no_pictures):
    before = weights_of(finished.folder)
    result = (finished.folder / "result.json").read_bytes()
    again = resume(finished.folder, DATA)
    assert torch.equal(again.held_out.activation, finished.held_out.activation)
    assert weights_of(finished.folder) == before
    assert (finished.folder / "result.json").read_bytes() == result


def test_changed_data_are_refused(tmp_path, no_pictures, monkeypatch):
    stop_after(monkeypatch, 3)
    with pytest.raises(RunStopped):
        train(tiny_config(tmp_path), DATA)
    pixels = DATA.train.images.clone()
    pixels[0, 0, 0, 0] += 1
    changed = TrainTest(replace(DATA.train, images=pixels), DATA.test)
    with pytest.raises(InputError, match=r"the data are not those that the run .* began with"):
        resume(tmp_path, changed)


def test_a_config_edited_to_another_model_is_refused(tmp_path, no_pictures, monkeypatch):
    """In a run that has not noted its options, as an older version did not."""
    monkeypatch.setattr("torchcaps.training.run.fixed_options", lambda config: {})
    stop_after(monkeypatch, 3)
    with pytest.raises(RunStopped):
        train(tiny_config(tmp_path), DATA)
    (tmp_path / "run.json").unlink()
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(json.dumps(json.loads(config) | {"reconstruct": False}))
    with pytest.raises(
        InputError, match=r"of another model than .*config\.json describes for imag"
    ):
        resume(tmp_path, DATA)
    (tmp_path / "config.json").write_text(config)
    other = tiny_data(size=(19, 17))
    with pytest.raises(InputError, match=r"images of 1×19×17 in 3 classes: .* or the data, that"):
        resume(tmp_path, other)


@pytest.mark.parametrize("noted_in", ["run.json", "checkpoint"])
@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", 7), ("learning_rate", 0.1), ("loss_scale", "authors"), ("batch_size", 8)],
)
def test_a_config_edited_to_other_training_is_refused(
    tmp_path, no_pictures, monkeypatch, option, value, noted_in
):
    stop_after(monkeypatch, 3)
    with pytest.raises(RunStopped):
        train(tiny_config(tmp_path), DATA)
    if noted_in == "checkpoint":
        (tmp_path / "run.json").unlink()
    edited = config_to_dict(read_train_config(tmp_path)) | {option: value}
    (tmp_path / "config.json").write_text(json.dumps(edited))
    with pytest.raises(InputError, match=rf"config\.json has {option} .* the run began with"):
        resume(tmp_path, DATA)
    assert json.loads((tmp_path / "config.json").read_text()) == edited


def test_a_run_that_has_not_noted_its_options_is_resumed(tmp_path, no_pictures, monkeypatch):
    monkeypatch.setattr("torchcaps.training.run.fixed_options", lambda config: {})
    stop_after(monkeypatch, 3)
    with pytest.raises(RunStopped):
        train(tiny_config(tmp_path), DATA)
    monkeypatch.undo()
    assert resume(tmp_path, DATA).held_out is not None


@pytest.mark.parametrize("asked", [None, 2])
def test_a_run_goes_on_with_the_shift_that_it_began_with(tmp_path, no_pictures, monkeypatch, asked):
    """An older version noted 2 where nobody asked, and photos were shifted by more."""
    data = tiny_data(size=(24, 24))
    whole, stopped = (tiny_config(tmp_path / name, max_shift=asked) for name in ("a", "b"))
    expected = train(whole, data)
    stop_after(monkeypatch, 3)
    with pytest.raises(RunStopped):
        train(stopped, data)
    if asked is None:
        for path in (tmp_path / "b" / "config.json", tmp_path / "b" / "run.json"):
            facts = json.loads(path.read_text())
            facts.pop("notes", None)
            facts.get("config", facts)["max_shift"] = 2
            path.write_text(json.dumps(facts))
    resume(tmp_path / "b", data)
    assert weights_of(tmp_path / "b") == weights_of(expected.folder)
    assert read_train_config(tmp_path / "b").max_shift == asked


def test_an_edited_config_is_blamed_before_the_data(tmp_path, no_pictures):
    """By its size the data are read as others, and then do not fit a network either."""
    data = str(write_npz(tmp_path / "tiny.npz", DATA))
    train(tiny_config(tmp_path / "run", epochs=1, data=data))
    path = tmp_path / "run" / "config.json"
    for option, value in (("image_size", 20), ("image_size", 5), ("channels", 3), ("model", "x")):
        config = path.read_text()
        path.write_text(json.dumps(json.loads(config) | {option: value}))
        with pytest.raises(InputError, match=rf"config\.json has {option} .* the run began with"):
            resume(tmp_path / "run")
        path.write_text(config)


# --- what a run has left is not trained over
def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lose_checkpoints(folder, what):
    if what == "folder":
        shutil.rmtree(folder / "checkpoints")
    for path in (folder / "checkpoints").glob("step-*.json"):
        path.unlink()


@pytest.mark.parametrize("epochs", [None, 4])
@pytest.mark.parametrize("lost", ["folder", "records"])
def test_a_finished_run_without_its_checkpoints_is_left_as_it_is(finished, tmp_path, lost, epochs):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    lose_checkpoints(run, lost)
    (run / ".partial-a.json").write_text("{")
    before = contents(run)
    said = f"{run}/checkpoints holds no checkpoint to go on from: .* this one: --init {run}\\)$"
    with pytest.raises(InputError, match=said):
        resume(run, DATA, epochs=epochs)
    assert contents(run) == before


@pytest.mark.parametrize("left", ["metrics.csv", "model", "result.json"])
def test_whatever_a_run_has_left_is_not_trained_over(finished, tmp_path, left):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    lose_checkpoints(run, "folder")
    for name in {"metrics.csv", "model", "result.json"} - {left}:
        shutil.rmtree(run / name) if name == "model" else (run / name).unlink()
    before = contents(run)
    with pytest.raises(InputError, match="holds no checkpoint to go on from") as refused:
        resume(run, DATA)
    assert "--init" not in str(refused.value)  # there is no whole model to begin with
    assert contents(run) == before


def test_a_run_that_has_left_nothing_begins_at_its_first_step(finished, tmp_path, no_pictures):
    for name in ("config.json", "run.json"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(finished.folder / name, tmp_path / "run" / name)
    (tmp_path / "run" / "metrics.csv").write_text(",".join(COLUMNS) + "\n")
    (tmp_path / "run" / "model").mkdir()
    resume(tmp_path / "run", DATA)
    assert weights_of(tmp_path / "run") == weights_of(finished.folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (tiny_data(size=(19, 17)), r"images are 1×17×17 \(channels×height×width\), .* 1×19×17"),
        (tiny_data(channels=3), r"its images are 1×17×17 .* and these are 3×17×17"),
        (TrainTest(*(replace(p, class_names=(*NAMES, "dog")) for p in DATA)), "it has 3 classes"),
        (
            TrainTest(*(replace(p, class_names=("ant", "cow", "bee")) for p in DATA)),
            "its class 2 is 'bee', and theirs is 'cow'",
        ),
    ],
)  # fmt: skip
def test_data_that_can_never_fit_are_not_offered_to_go_on_with(finished, changed, said):
    before = contents(finished.folder)
    with pytest.raises(
        InputError, match=rf"began with \(tiny, .*\), and do not fit it: .*{said}"
    ) as told:
        resume(finished.folder, changed)
    assert "remove" not in str(told.value)
    assert contents(finished.folder) == before


def test_what_a_kill_left_half_written_is_removed(tmp_path, no_pictures, monkeypatch):
    stop_after(monkeypatch, 3)
    with pytest.raises(RunStopped):
        train(tiny_config(tmp_path), DATA)
    (tmp_path / ".partial-a.json").write_text("{")
    (tmp_path / "checkpoints" / ".partial-b.safetensors").write_text("half")
    (tmp_path / "model" / ".partial-c").mkdir(parents=True)
    (tmp_path / "model" / ".partial-c" / "model.safetensors").write_text("half")
    resume(tmp_path, DATA)
    assert not list(tmp_path.rglob(".partial-*"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"data": null}', '{"data": {"name": "x"}}'])
def test_a_damaged_run_json_is_named_and_can_be_removed(
    tmp_path, no_pictures, monkeypatch, content
):
    stop_after(monkeypatch, 3)
    with pytest.raises(RunStopped):
        train(tiny_config(tmp_path), DATA)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=rf"{tmp_path}/run\.json is damaged .* remove it"):
        resume(tmp_path, DATA)
    (tmp_path / "run.json").unlink()
    assert resume(tmp_path, DATA).held_out is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_process_saves_and_says_how_to_go_on(tmp_path, number):
    """And the command it names ends with the weights of a run that was left alone."""
    data = str(write_npz(tmp_path / "tiny.npz", DATA))
    config = tiny_config(tmp_path / "run", data=data, epochs=10, checkpoint_every=1000)
    torchcaps = [sys.executable, "-m", "torchcaps"]
    run = subprocess.Popen(
        [*torchcaps, "train", *arguments_of(config)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "epoch" not in (run.stdout.readline() or pytest.fail(run.stderr.read())):
        pass
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    found = re.fullmatch(
        r"torchcaps: stopped after step (\d+) of 50, and saved; go on with: "
        r"torchcaps train (--resume .*)\n",
        said,
    )
    assert found, said
    assert (tmp_path / "run" / "checkpoints" / f"step-{int(found[1]):08d}.json").is_file()
    if number == signal.SIGTERM:
        return  # going on is the same after both
    done = subprocess.run([*torchcaps, "train", *found[2].split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"continuing after step {found[1]} of 50" in done.stdout
    straight = train(replace(config, out=tmp_path / "straight"))
    assert weights_of(tmp_path / "run") == weights_of(straight.folder)
