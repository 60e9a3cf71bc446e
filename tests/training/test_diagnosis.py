"""Made-up answers whose fault is known, and two real trainings."""

import json
import re

import pytest
import torch

from tests.small_runs import tiny_config, tiny_data
from torchcaps.data import ImageData, TrainTest
from torchcaps.models import load_model
from torchcaps.training import image_classification
from torchcaps.training.diagnosis import HAS_LEARNED, Alarm, Diagnosis, diagnose, is_learning
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.loop import resume, train
from torchcaps.training.metrics import Evaluation
from torchcaps.training.precision import choose_precision

NAMES = [f"class {k}" for k in range(100)]
EVEN = torch.tensor([270, 270])


def answers(confusion, high=0.8, low=0.1, noise=0.05):
    """Answers with these counts; the answer has about the length `high`, the others `low`."""
    confusion = torch.as_tensor(confusion)
    pairs = confusion.nonzero()
    labels, predictions = pairs.repeat_interleave(confusion[confusion > 0], dim=0).T
    lengths = torch.full((len(labels), len(confusion)), low)
    lengths[torch.arange(len(labels)), predictions] = high
    return Evaluation(labels, lengths + noise * (torch.rand_like(lengths) - 0.5), 0.0, 0.0)


def history(train_accuracy=0.5, losses=(0.5, 0.45, 0.4)):
    return [{"train_accuracy": train_accuracy, "classification_loss": loss} for loss in losses]


def cause(measured, rows=None, training=EVEN):
    rows = history() if rows is None else rows
    found = diagnose(measured, NAMES, images="validation images", training=training, history=rows)
    return found.cause if found else None


TEN = torch.full((10, 10), 2) + 80 * torch.eye(10, dtype=torch.int64)
TWO_OF_TEN = torch.cat([torch.tensor([[30, 20]] * 10), torch.zeros(10, 8, dtype=torch.int64)], 1)
TWO_OF_TEN[0, :2], TWO_OF_TEN[1, :2] = torch.tensor([50, 0]), torch.tensor([0, 50])


# --- what is wrong, by counts
@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[28, 2], [3, 27]], None),
        (TEN, None),
        ([[30, 0], [30, 0]], "collapsed"),
        ([[30, 0], [29, 1]], "collapsed"),  # but for one
        ([[0, 30, 0], [0, 30, 0], [0, 30, 0]], "collapsed"),
        (TWO_OF_TEN, "collapsed"),  # 20 % right, 10 % by guessing
        ([[500, 500], [500, 500]], "chance"),
        ([[520, 480], [490, 510]], "chance"),  # 51.5 % of 2,000
        ([[560, 440], [440, 560]], None),  # 56 % of 2,000 is learned
        # Unequal classes: 95 % of the images are of one.
        ([[950, 0], [50, 0]], "collapsed"),
        ([[945, 5], [20, 30]], None),
        ([[902, 48], [47, 3]], "chance"),  # guesses with the right habits, 90.5 % right
        ([[700, 250], [10, 40]], "below_majority"),  # 74 % right, but it tells them apart
        ([[949, 1], [39, 11]], None),  # 98.8 % of the answers are one class, and rightly so
        # Twenty images.
        ([[10, 0], [0, 10]], None),
        ([[8, 2], [2, 8]], None),
        ([[7, 3], [3, 7]], "chance"),  # for the training images are not told apart either
        ([[5, 5], [5, 5]], "chance"),
        ([[10, 0], [10, 0]], "collapsed"),
        ([[19, 0], [1, 0]], "collapsed"),
        ([[19, 0], [0, 1]], None),
        # Nothing to tell apart.
        ([[20, 0], [0, 0]], None),
        ([[12, 8], [0, 0]], None),
        ([[1, 0], [0, 0]], None),
    ],
)
def test_the_cause_is_read_off_the_counts(confusion, expected):
    assert cause(answers(confusion)) == expected


@pytest.mark.parametrize("images", [12, 60, 400, 5000])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_guesses_are_told_as_such_whatever_their_number(images, classes):
    """At most one in forty, or what is said of too few images."""
    causes = []
    for _ in range(100):
        labels, predictions = torch.randint(classes, (2, images))
        confusion = torch.bincount(labels * classes + predictions, minlength=classes**2)
        causes.append(cause(answers(confusion.view(classes, classes))))
    assert causes.count(None) <= 8
    assert "below_majority" not in causes


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_network_that_is_usually_right_is_never_blamed(classes):
    for images in (20, 60, 1000):
        for _ in range(30):
            labels = torch.arange(images) % classes
            right = torch.rand(images) < 0.95
            predictions = torch.where(right, labels, torch.randint(classes, (images,)))
            confusion = torch.bincount(labels * classes + predictions, minlength=classes**2)
            assert cause(answers(confusion.view(classes, classes))) is None


def test_few_images_leave_open_what_the_training_images_do_not_settle():
    for confusion in ([[7, 3], [3, 7]], [[19, 0], [1, 0]]):
        assert cause(answers(confusion), history(0.7)) == "few_images"
        assert cause(answers(confusion), []) == "few_images"
        assert cause(answers(confusion), history(0.5)) in ("chance", "collapsed")


def test_the_running_mean_of_a_first_epoch_does_not_overrule_right_answers():
    """It began with random weights: 33 % right in it may be 100 % at its end."""
    right, first = answers(torch.eye(3, dtype=torch.int64)), history(1 / 3, losses=(0.4,))
    training = torch.tensor([9, 9, 9])
    assert cause(right, first, training) == "few_images"
    assert cause(right, history(1 / 3), training) == "chance"  # it has had time to rise
    assert cause(right, history(1.0), training) == "few_images"
    for confusion in ([[19, 0], [1, 0]], [[7, 3], [3, 7]]):  # not clearly right
        assert cause(answers(confusion), history(0.5, losses=(0.4,))) in ("chance", "collapsed")


# --- by lengths, losses and the training accuracy
@pytest.mark.parametrize(
    ("right", "of", "train_accuracy", "images", "expected"),
    [
        (25, 48, 0.9875, 240, "overfitted"),
        (19, 48, 0.9875, 240, "overfitted"),  # 40 %, which may be guessed: 33 %
        (90, 200, 0.95, 200, "overfitted"),
        (16, 48, 0.9875, 240, "memorised"),
        (6500, 10_000, 0.80, 50_000, "overfitted"),
        (6500, 10_000, 0.75, 50_000, None),  # 10 %, less than that between the intervals
        (9829, 10_000, 1.0, 60_000, None),
        (36, 40, 1.0, 200, None),  # of so few, 77 to 96 %
        (32, 40, 1.0, 200, None),  # up to 90 %
        (30, 40, 1.0, 200, "overfitted"),  # up to 86 %
        (30, 40, 0.70, 200, None),  # better than in training
        (26, 40, 1.0, 5, None),  # five images say little of the training either
    ],
)
def test_far_behind_the_training_images(right, of, train_accuracy, images, expected):
    labels = torch.arange(of) % 3
    wrong = torch.arange(of) >= right
    confusion = torch.bincount(labels * 3 + (labels + wrong) % 3, minlength=9).view(3, 3)
    training = torch.bincount(torch.arange(images) % 3)
    rows = history(train_accuracy)
    assert cause(answers(confusion), rows, training) == expected
    assert cause(answers(confusion), [], training) != "overfitted"


def test_lengths_tell_how_a_network_is_stuck():
    collapsed = [[30, 0], [30, 0]]
    assert cause(answers(collapsed, high=0.9999, low=0.9998, noise=1e-5)) == "saturated"
    assert cause(answers(collapsed, high=0.02, low=0.01, noise=0.01)) == "vanished"
    assert cause(answers(collapsed, high=0.99, low=0.4, noise=1e-3)) == "constant"
    assert cause(answers(collapsed, high=0.6, low=0.3)) == "collapsed"
    guesses = [[20, 10], [19, 11]]
    assert cause(answers(guesses, high=0.99, low=0.98, noise=1e-3)) == "saturated"
    learned = [[30, 0], [0, 30]]
    assert cause(answers(learned, high=0.99, low=0.95, noise=1e-3)) is None


def test_small_probabilities_are_no_vanished_capsules():
    classes = 50
    measured = answers(torch.ones(classes, classes, dtype=torch.int64))
    measured.activation.copy_(torch.softmax(measured.activation, dim=1))
    assert float(measured.activation.max()) < 0.05
    assert cause(measured) == "chance"
    measured.activation.copy_(torch.rand(measured.activation.shape) / 25)
    assert cause(measured) == "vanished"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (history(), "chance"),
        (history(losses=(0.405, 0.4049, 0.4049)), "standstill"),
        (history(losses=(0.9, 0.405, 0.4049, 0.4049)), "standstill"),
        (history(losses=(0.405, 0.4049)), "chance"),  # too short to be said
        (history(train_accuracy=0.97), "memorised"),
        (history(train_accuracy=0.97, losses=(0.1, 0.1, 0.1)), "memorised"),
        (history(train_accuracy=0.6), "chance"),
        ([], "chance"),
    ],
)
def test_the_run_before_tells_more(rows, expected):
    assert cause(answers([[20, 20], [20, 20]]), rows) == expected


def test_a_good_network_whose_loss_stands_still_is_left_alone():
    assert cause(answers([[30, 0], [0, 30]]), history(1.0, losses=(0.1, 0.1, 0.1))) is None


def test_training_accuracy_is_judged_by_the_number_of_images():
    assert not is_learning([], EVEN)
    assert not is_learning(history(0.52), EVEN)
    assert is_learning(history(0.52), 100 * EVEN)
    assert not is_learning(history(0.9), torch.tensor([900, 100]))
    assert is_learning(history(0.97), torch.tensor([900, 100]))
    assert not is_learning(history(0.7), EVEN, halfway=True)
    assert is_learning(history(0.8), EVEN, halfway=True)


# --- the words
def told(measured, training=EVEN, rows=None):
    found = diagnose(
        measured, ["cat", "a\nb\x1b[31m", "ä" * 50, "d"], images="held-out images",
        training=training, history=rows or history(),
    )  # fmt: skip
    return str(found)


def test_the_line_names_what_is_seen_and_what_to_try():
    line = told(answers([[30, 0], [30, 0]], high=0.9999, low=0.9998, noise=1e-5))
    assert line.startswith("NOT LEARNING: all 60 held-out images are taken for “cat”, and every")
    assert "(lengths 0.9998 to 0.9999)" in line
    assert line.endswith(
        "; try a tenth of the --learning-rate, smaller images (--image-size), or the default "
        "--model"
    )
    line = told(answers([[20, 20], [20, 20]]))
    assert "50.00% of 80 held-out images are right, no better than guessing" in line
    assert "always “cat” (50.00%)" in line


def test_advice_fits_the_cause():
    collapsed = answers([[30, 0], [30, 0]])
    assert "90% of the training images are “cat”" in told(collapsed, torch.tensor([900, 100]))
    assert "of the training images" not in told(collapsed)
    assert told(collapsed).endswith("; try a tenth of the --learning-rate, then ten times")
    first = told(collapsed, rows=history(losses=(0.4,)))
    assert first.endswith("; try more --epochs, then a tenth of the --learning-rate")
    line = told(answers([[20, 20], [20, 20]]), rows=history(0.99))
    assert "99.00% of the training images were right during the last epoch, but 50.00% of" in line
    assert "more training images" in line
    line = told(answers([[7, 3], [3, 7]]), rows=history(0.7))
    assert line.startswith("TOO FEW IMAGES: 70.00% of 20 held-out images are right, and of so few")
    assert "may mean 48% to 85%" in line
    line = told(answers([[19, 0], [1, 0]]), torch.tensor([570, 30]), history(0.95))
    assert "95.00% of the training images were right during the last epoch, no better than" in line
    assert "always “cat” (95.00%), and only 1 of 20 held-out images is not “cat”; " in line
    line = told(answers([[28, 12], [12, 28]]), rows=history(0.99))
    assert line.startswith(
        "OVERFITTED: 99.00% of 540 training images were right during the last epoch, but 70.00% of "
        "80 held-out images (59% to 79%); try more training images, "
    )
    line = told(answers([[700, 250], [10, 40]]))
    assert line.startswith("UNEQUAL CLASSES: the accuracy of 74.00% on 1000 held-out images is ")
    assert "balanced accuracy (76.84%)" in line


def test_a_name_that_may_be_anything_stays_within_the_line():
    line = told(answers([[0, 9, 0], [0, 9, 0], [0, 9, 0]]))
    assert "“a b [31m”" in line
    assert "\n" not in line
    assert "“" + "ä" * 39 + "…”" in told(answers([[0, 0, 9], [0, 0, 9], [0, 0, 9]]))


# --- when it is said
WRONG = {
    name: Diagnosis(name, "f", "a") for name in ("chance", "collapsed", "saturated", "overfitted")
}


def said(*causes, epochs=20):
    alarm = Alarm(epochs)
    return [bool(alarm.hear(WRONG.get(name))) for name in causes]


def test_a_first_epoch_raises_no_alarm():
    assert said("collapsed", "chance", None, "chance", "chance", None) == 6 * [False]
    assert said("saturated", None, "saturated", None) == 4 * [False]


def test_what_lasts_is_said_once():
    assert said(*5 * ["collapsed"]) == [False, False, True, False, False]
    assert said("chance", "collapsed", "chance", "saturated") == [False, False, True, False]
    assert said(*3 * ["saturated"]) == [False, True, False]
    assert said(*7 * ["chance"], epochs=60) == [False] * 5 + [True, False]


def test_that_it_is_over_is_said_too():
    alarm = Alarm(20)
    lines = [alarm.hear(WRONG.get(name)) for name in [*3 * ["chance"], "", "", *3 * ["chance"]]]
    assert lines[2] == lines[7] == str(WRONG["chance"])
    assert lines[3] == "learning now: it tells classes apart"
    assert [bool(line) for line in lines] == [False, False, True, True, False, False, False, True]


def test_one_that_learns_and_then_falls_behind_is_told_both():
    alarm = Alarm(20)
    names = [*3 * ["chance"], *4 * ["overfitted"], "", *3 * ["overfitted"], *3 * ["chance"]]
    lines = [alarm.hear(WRONG.get(name)) for name in names]
    said = {epoch: line.split(":")[0] for epoch, line in enumerate(lines) if line}
    assert said == {
        2: "NOT LEARNING",
        3: "learning now",
        5: "OVERFITTED",  # and no line of its end
        10: "OVERFITTED",
        13: "NOT LEARNING",
    }


# --- the line of an epoch
@pytest.mark.parametrize(
    ("images", "confusion", "expected"),
    [
        ([30, 30], [[2, 1], [1, 2]], "validation 66.67% (4 of 6)"),
        ([54, 6], [[18, 0], [2, 0]], "validation 90.00% (18 of 20)   balanced 50.00%"),
        ([54, 6], [[9, 1], [1, 9]], "validation 90.00% (18 of 20)   balanced 90.00%"),
        ([30, 30], [[450, 50], [50, 450]], "validation 90.00%"),
    ],
)
def test_the_line_of_an_epoch_is_honest_about_few_images_and_unequal_classes(
    images, confusion, expected, monkeypatch
):
    labels = torch.tensor([0, 1]).repeat_interleave(torch.tensor(images))
    pictures = torch.zeros(60, 1, 17, 17, dtype=torch.uint8)
    data = ImageData(pictures, labels, ("a", "b"), "made up")
    task = ImageClassification(TrainTest(data, data), "capsnet_small", validation=0.2)
    monkeypatch.setattr(image_classification, "evaluate", lambda *a, **k: answers(confusion))
    validated = task.validate(None, choose_precision("fp32", torch.device("cpu")))
    line = "   ".join(task.describe_epoch({"train_accuracy": 0.5, **validated}))
    assert line == f"train 50.00%   {expected}"


# --- real trainings
@pytest.fixture
def bad(tmp_path, no_pictures, capsys):
    """A run that cannot learn: its rate is far too large."""
    train(tiny_config(tmp_path / "run", epochs=4, learning_rate=1.0), tiny_data())
    return tmp_path / "run", capsys.readouterr().out


def test_a_run_that_collapses_says_so(bad):
    folder, out = bad
    lines = out.splitlines()
    during = [line for line in lines if re.match(r"epoch \d: NOT LEARNING: all 9 validation", line)]
    assert len(during) == 1
    assert lines[-1].startswith("NOT LEARNING: all 24 held-out images are taken for “")
    assert "--learning-rate" in lines[-1]
    result = json.loads((folder / "result.json").read_text())
    found = result["diagnosis"]
    assert found["cause"] not in HAS_LEARNED
    assert lines[-1] == f"NOT LEARNING: {found['finding']}; {found['advice']}"
    assert result["balanced_accuracy"] == pytest.approx(1 / 3)
    assert load_model(folder / "model").metadata["diagnosis"] == lines[-1]
    assert "NOT LEARNING" in (folder / "model" / "README.md").read_text()


def test_a_resumed_run_says_so_too(bad, capsys):
    folder, _ = bad
    result = (folder / "result.json").read_text()
    (folder / "result.json").unlink()
    resume(folder, tiny_data())
    assert capsys.readouterr().out.splitlines()[-1].startswith("NOT LEARNING: all 24 held-out")
    assert (folder / "result.json").read_text() == result


def test_without_validation_the_training_images_show_it(tmp_path, no_pictures, capsys):
    train(tiny_config(tmp_path, epochs=4, learning_rate=1.0, validation=0), tiny_data())
    assert re.search(
        r"^epoch \d: NOT LEARNING: .*\b64 training images", capsys.readouterr().out, re.MULTILINE
    )


@pytest.mark.parametrize("validation", [0, 0.1])
def test_a_run_that_learns_says_nothing(validation, tmp_path, no_pictures, capsys):
    config = tiny_config(tmp_path, epochs=4, learning_rate=0.01, validation=validation)
    result = train(config, tiny_data())
    out = capsys.readouterr().out
    assert result.held_out.accuracy > 0.9
    assert "LEARNING" not in out
    assert "learning now" not in out
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["diagnosis"] is None
    assert written["majority_rate"] == pytest.approx(1 / 3)
    assert "diagnosis" not in load_model(tmp_path / "model").metadata
