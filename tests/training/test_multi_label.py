"""Images that show several classes at once."""

import json

import numpy as np
import pytest
import torch

from tests.small_runs import tiny_config, weights_of
from torchcaps.cli import main
from torchcaps.data import ImageData, TrainTest, load_data, stratified_split
from torchcaps.errors import InputError
from torchcaps.losses import margin_loss
from torchcaps.training.loop import resume, train
from torchcaps.training.multi_label import (
    MultiLabelClassification,
    MultiLabelEvaluation,
    label_figures,
)

NAMES = ("ant", "bee", "cow")


def several(n: int = 150) -> TrainTest:
    """A bright bar for each class that is there: none, one, two or all three."""
    draw = np.random.default_rng(0)
    labels = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2, np.arange(n) // 4 % 2], axis=1)
    images = draw.integers(0, 60, (n, 1, 20, 20), dtype=np.uint8)
    for image, flags in zip(images, labels):
        for k in flags.nonzero()[0]:
            image[:, 7 * k : 7 * k + 5, 3:17] += 190
    data = ImageData(torch.from_numpy(images), torch.from_numpy(labels), NAMES, "several")
    return TrainTest(*stratified_split(data, 0.2))


def write(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_an_archive_of_several_labels(tmp_path):
    train_part, test_part = several()
    path = write(
        tmp_path / "a.npz",
        images=train_part.images.numpy(),
        labels=train_part.labels.numpy().astype(bool),
        test_images=test_part.images.numpy(),
        test_labels=test_part.labels.numpy().astype("u1"),
        class_names=np.array(NAMES),
    )
    read = load_data(path)
    for one, other in zip(read, several()):
        assert one.multi_label
        assert torch.equal(one.labels, other.labels)
        assert one.class_names == NAMES
    assert read.train[3][1].tolist() == train_part.labels[3].tolist()
    part = load_data(
        write(
            tmp_path / "b.npz", images=train_part.images.numpy(), labels=train_part.labels.numpy()
        )
    )
    assert part.train.class_names == ("0", "1", "2")
    assert len(part.train) + len(part.test) == len(train_part)


def test_a_dataset_of_several_labels():
    data = several().train
    pairs = [(image, label) for image, label in zip(data.images, data.labels)]
    again = ImageData.from_dataset(pairs, class_names=NAMES)
    assert torch.equal(again.labels, data.labels)
    arrays = [(image, label.numpy().astype("u1")) for image, label in pairs]
    assert ImageData.from_dataset(arrays).class_names == ("0", "1", "2")
    with pytest.raises(InputError, match="item 1: the label is int 1 but that of item 0 is"):
        ImageData.from_dataset([pairs[0], (pairs[1][0], 1)])
    with pytest.raises(TypeError, match=r"item 0: the label is a Tensor of shape \[2\]; exp"):
        ImageData.from_dataset([(pairs[0][0], torch.tensor([0, 2]))])


def test_a_small_test_part_may_show_one_class_an_image(tmp_path):
    train_part, _ = several()
    images, flags = np.zeros((3, 1, 20, 20), np.uint8), np.eye(3, dtype=np.int64)
    path = write(
        tmp_path / "a.npz",
        images=train_part.images.numpy(),
        labels=train_part.labels.numpy(),
        test_images=images,
        test_labels=flags,
    )
    assert load_data(path).test.labels.tolist() == flags.tolist()
    part = ImageData.from_dataset(zip(images, flags), multi_label=True)
    assert part.multi_label
    assert part.labels.tolist() == flags.tolist()


def test_every_class_is_in_both_parts():
    data = several().train
    rare = torch.zeros(len(data), 1, dtype=torch.int64)
    rare[:5] = 1
    data = ImageData(data.images, torch.cat([data.labels, rare], 1), (*NAMES, "rare"), "toy")
    rest, part = stratified_split(data, 0.2)
    assert part.labels.sum(dim=0)[3] == 1
    assert rest.labels.sum(dim=0)[3] == 4
    for k in range(3):
        share = part.labels[:, k].sum() / data.labels[:, k].sum()
        assert abs(float(share) - 0.2) < 0.06


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.99])
def test_images_whose_classes_come_together_once_are_split(fraction):
    """Person is in all 30 images, and in one of them alone; one image shows nothing."""
    labels = torch.zeros(31, 3, dtype=torch.int64)
    labels[:30, 0] = 1
    labels[:14, 1] = labels[14:29, 2] = 1
    images = torch.arange(31).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).to(torch.uint8)
    data = ImageData(images, labels, ("person", "dog", "cat"), "people")
    rest, part = stratified_split(data, fraction)
    seen = [int(image[0, 0, 0]) for half in (rest, part) for image in half.images]
    assert sorted(seen) == list(range(31))
    assert bool(rest.labels.any(dim=0).all())
    lonely = ImageData(images[28:31], labels[28:31], data.class_names, "lonely")
    with pytest.raises(InputError, match=r"lonely: .* would take none of its 3 images; add images"):
        stratified_split(lonely, 0.5)


IMAGES = np.zeros((10, 6, 7), np.uint8)
FLAGS = np.arange(20).reshape(10, 2) % 3 % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": FLAGS + 1}, r"labels \[N, 2\] holds 2; expected 0 and 1"),
        ({"labels": FLAGS - 1}, r"labels \[N, 2\] holds -1; expected 0 and 1"),
        ({"labels": FLAGS + 0.0}, r"labels is float64 of shape \[10, 2\]; expected integers"),
        ({"labels": FLAGS[:9]}, "images holds 10 images but labels 9 labels"),
        ({"labels": FLAGS, "class_names": np.array(["a"])}, "2 columns but class_names holds 1"),
        (
            {"labels": FLAGS, "test_images": IMAGES, "test_labels": FLAGS[:, :1]},
            r"labels \[10, 2\] but test_labels \[10, 1\]; expected one kind of labels",
        ),
        ({"labels": np.eye(10, dtype=int)}, r"one-hot labels take \.argmax\(1\)"),
    ],
)
def test_labels_that_are_wrong(arrays, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_data(write(tmp_path / "a.npz", images=IMAGES, **arrays))


def test_what_is_measured():
    labels = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    activation = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.7, 0.2], [0.1, 0.2, 0.3], [0.4, 0.0, 0.1]])
    measured = MultiLabelEvaluation(labels, activation, 0.0, 0.0)
    task = MultiLabelClassification(several(), "a model")
    assert task.answered_right(activation, labels).tolist() == [True, False, True, False]
    assert measured.correct == 2
    assert measured.accuracy == 0.5
    assert measured.recall == [2 / 3, 1, None]
    assert measured.precision == [1, 0.5, None]
    assert measured.f1 == [4 / 5, 2 / 3, None]
    assert measured.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    figures = label_figures(measured, NAMES)["classes"]["bee"]
    assert figures == {"images": 1, "predicted": 2, "recall": 1, "precision": 0.5, "f1": 2 / 3}


@pytest.mark.parametrize("reconstruct", [True, False])
def test_a_run_learns_is_continued_and_measured_again(reconstruct, tmp_path, capsys):
    data = several()
    path = write(
        tmp_path / "a.npz",
        images=data.train.images.numpy(),
        labels=data.train.labels.numpy(),
        test_images=data.test.images.numpy(),
        test_labels=data.test.labels.numpy(),
        class_names=np.array(NAMES),
    )
    folder = tmp_path / "run"
    config = tiny_config(
        folder, data=path, epochs=8, model="capsnet_small", reconstruct=reconstruct, augment="none"
    )
    result = train(config)
    said = capsys.readouterr().out
    assert "every label is right in" in said
    assert "mean F1 of the classes" in said
    assert "LEARNING" not in said
    assert isinstance(result.held_out, MultiLabelEvaluation)
    assert result.held_out.macro_f1 > 0.9
    kept = json.loads((folder / "result.json").read_text())
    assert kept["macro_f1"] == result.held_out.macro_f1
    assert kept["diagnosis"] is None
    targets = data.test.labels
    assert kept["held_out_loss"] >= float(margin_loss(result.held_out.activation, targets)) - 1e-4

    weights = weights_of(folder)
    resume(sorted((folder / "checkpoints").iterdir())[0])
    assert weights_of(folder) == weights
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main(["eval", str(folder), "--json"])
    assert done.value.code == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["macro_f1"] == pytest.approx(result.held_out.macro_f1)
    assert measured["classes"].keys() == set(NAMES)
    with pytest.raises(SystemExit):
        main(["eval", str(folder)])
    assert "every label is right in" in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        main(["explore", str(folder), "--no-open"])
    assert done.value.code == 0
    assert '"labels":[]' in (folder / "explorer.html").read_text().replace(" ", "")


def test_probabilities_learn_to_be_all_absent_and_all_present(tmp_path):
    """Where activations are no lengths, each class is asked for by itself, too."""
    result = train(
        tiny_config(
            tmp_path / "run", epochs=12, model="image_capsnet", reconstruct=False, augment="none",
            learning_rate=0.01, routing="attention",
            model_options={"stem_channels": [4, 8, 8], "primary_types": 4},
        ),
        several(),
    )  # fmt: skip
    answers = result.held_out
    for count in (0, 3):
        chosen = answers.labels.sum(dim=1) == count
        assert chosen.any()
        right = (answers.predictions == answers.labels.bool()).all(dim=1)
        assert right[chosen].double().mean() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": True}, "--balance shows every class equally often, but images of several"),
        ({"model": "baseline_cnn"}, "BaselineCNN finds one class an image, but those of several"),
        ({"model": "em_capsnet_small"}, "EMCapsNet with em routing finds one class an image"),
        ({"model": "capsnet_small", "routing": "self_routing"}, "with self_routing routing finds"),
    ],
)
def test_what_needs_one_class_an_image_is_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(tiny_config(tmp_path / "run", iterations=None, **options), several())


@pytest.mark.parametrize(
    ("options", "takes_several"),
    [
        ({"model": "baseline_cnn"}, False),
        ({"model": "em_capsnet_small"}, False),
        ({"model": "capsnet_small", "routing": "self_routing"}, False),
        ({"model": "capsnet_small", "routing": "em"}, False),  # its cross entropy compares classes
        ({"model": "capsnet_small"}, True),
    ],
)
@pytest.mark.usefixtures("no_pictures")
def test_a_network_of_one_class_is_not_measured_on_several(
    options, takes_several, tmp_path, capsys
):
    shown = several(60)
    one = [ImageData(part.images, part.labels[:, 0], NAMES, "one") for part in shown]
    run = train(
        tiny_config(tmp_path / "run", iterations=None, epochs=1, **options), TrainTest(*one)
    )
    path = write(
        tmp_path / "several.npz",
        images=shown.train.images.numpy(),
        labels=shown.train.labels.numpy(),
        class_names=np.array(NAMES),
    )
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["eval", str(run.folder), "--data", path])
    said = capsys.readouterr()
    assert stopped.value.code == (0 if takes_several else 2)
    assert ("every label is right in" in said.out) == takes_several
    refused = "has images of several classes at once, and the model finds one class an image"
    assert (refused in said.err) != takes_several
