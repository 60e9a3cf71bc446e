import itertools
import math
import statistics

import pytest
import torch

from tests.small_runs import tiny_data
from torchcaps.models import create_model
from torchcaps.training import metrics
from torchcaps.training.metrics import (
    Evaluation,
    agreement_z,
    class_figures,
    describe_classes,
    evaluate,
    list_classes,
    wilson_interval,
)

ACTIVATION = torch.tensor(
    [
        [0.9, 0.1, 0.0],  # right
        [0.2, 0.7, 0.0],  # wrong, 0.7
        [0.1, 0.8, 0.3],  # right
        [0.9, 0.1, 0.2],  # wrong, 0.9
        [0.1, 0.7, 0.0],  # wrong, 0.7
    ]
)
ANSWERS = Evaluation(torch.tensor([0, 0, 1, 2, 2]), ACTIVATION, 0.5, 0.25)


# (successes, trials): low and high, from R: binom::binom.wilson
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (8, 10, 0.4901625, 0.9433178),
        (81, 263, 0.2552655, 0.3662189),  # Newcombe (1998), Table I: 0.2553 to 0.3662
        (15, 148, 0.0624, 0.1605),  # the same table
    ],
)
def test_wilson_against_published_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_bounds_solve_the_equation_that_defines_them():
    """At a bound p₀, the observed proportion lies z standard errors of p₀ away from it."""
    observed, n, z = 45, 60, 1.959964
    for bound in wilson_interval(observed, n):
        assert abs(observed / n - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n))


def test_wilson_knows_nothing_without_trials():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_confusion_has_true_classes_in_rows():
    assert ANSWERS.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 1, 0]]


def test_accuracy_and_errors_by_class():
    assert (ANSWERS.correct, ANSWERS.accuracy) == (2, 0.4)
    assert ANSWERS.errors_by_class() == [(1, 2), (0, 1), (2, 2)]
    assert ANSWERS.interval == wilson_interval(2, 5)


def test_the_surest_mistakes_come_first_and_equal_ones_in_order():
    assert ANSWERS.worst_mistakes(most=24) == [3, 1, 4]
    assert ANSWERS.worst_mistakes(most=2) == [3, 1]


def test_no_mistakes():
    right = Evaluation(torch.tensor([0, 1]), ACTIVATION[[0, 2]], 0.0, 0.0)
    assert right.worst_mistakes(most=24) == []


def test_a_class_without_images():
    some = Evaluation(torch.tensor([1, 1]), ACTIVATION[:2], 0.0, 0.0)
    assert some.errors_by_class() == [(0, 0), (1, 2), (0, 0)]


def test_recall_precision_and_balanced_accuracy_by_hand():
    """Confusion [[1, 1, 0], [0, 1, 0], [1, 1, 0]]."""
    assert ANSWERS.recall == [0.5, 1.0, 0.0]
    assert ANSWERS.precision == [0.5, pytest.approx(1 / 3), None]  # nothing was taken for class 2
    assert ANSWERS.balanced_accuracy == 0.5
    assert ANSWERS.majority == (0, 0.4)  # the first of equally large ones
    assert class_figures(ANSWERS, ["a", "b", "c"]) == {
        "balanced_accuracy": 0.5,
        "majority_class": "a",
        "majority_rate": 0.4,
        "classes": {
            "a": {"images": 2, "predicted": 2, "recall": 0.5, "precision": 0.5},
            "b": {"images": 1, "predicted": 3, "recall": 1.0, "precision": pytest.approx(1 / 3)},
            "c": {"images": 2, "predicted": 0, "recall": 0.0, "precision": None},
        },
    }


def test_a_class_without_images_does_not_count_in_the_balanced_accuracy():
    some = Evaluation(torch.tensor([1, 1]), ACTIVATION[:2], 0.0, 0.0)  # answers 0 and 1
    assert some.recall == [None, 0.5, None]
    assert some.balanced_accuracy == 0.5
    assert some.precision == [0.0, 1.0, None]


def test_unequal_classes_against_a_loop_over_the_images():
    labels = torch.multinomial(torch.tensor([0.9, 0.07, 0.02, 0.01]), 500, replacement=True)
    activation = torch.rand(500, 4) + 0.3 * torch.nn.functional.one_hot(labels, 4)
    measured = Evaluation(labels, activation, 0.0, 0.0)
    pairs = list(zip(labels.tolist(), measured.predictions.tolist()))
    for k in range(4):
        of_class = [p == k for label, p in pairs if label == k]
        answered = [label == k for label, p in pairs if p == k]
        assert measured.recall[k] == pytest.approx(sum(of_class) / len(of_class))
        assert measured.precision[k] == pytest.approx(sum(answered) / len(answered))
    assert measured.balanced_accuracy == pytest.approx(sum(measured.recall) / 4)
    assert measured.majority == (0, labels.tolist().count(0) / 500)


def test_the_line_of_classes_names_all_of_few_and_the_worst_of_many():
    assert describe_classes(ANSWERS, ["a", "b", "c"]) == (
        "balanced accuracy: 50.00% (recall: a 50.00%, b 100.00%, c 0.00%); "
        "always answering a: 40.00%"
    )
    labels = torch.arange(8)
    activation = torch.eye(8)
    activation[5, 6] = 2.0
    many = Evaluation(labels, activation, 0.0, 0.0)
    line = describe_classes(many, list("abcdefgh"))
    assert line.startswith("balanced accuracy: 87.50% (lowest recall: f 0.00%, a 100.00%, b 100")


def test_the_list_of_classes_names_all_or_the_worst():
    names = ["a", "b\n", "c"]
    assert list_classes(ANSWERS, names) == "a 50.00%, 50.00%; b 100.00%, 33.33%; c 0.00%, none"
    assert list_classes(ANSWERS, names, most=2) == "c 0.00%, none; a 50.00%, 50.00%"


# --- more than a guesser would get right
@pytest.mark.parametrize(
    ("labels", "answers"),
    [
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]),
        ([0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]),
        ([0, 1, 2, 0, 1, 2], [1, 2, 0, 1, 2, 0]),
        ([0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 0]),
    ],
)
def test_agreement_against_every_order_of_the_answers(labels, answers):
    """The guesser gives the same answers in any order: here in all 720."""
    right = [
        sum(label == answer for label, answer in zip(labels, order))
        for order in itertools.permutations(answers)
    ]
    seen = sum(label == answer for label, answer in zip(labels, answers))
    surplus = seen - statistics.fmean(right)
    expected = math.copysign(max(0.0, abs(surplus) - 0.5), surplus) / statistics.pstdev(right)
    counts = torch.zeros(5, 5, dtype=torch.int64)
    for label, answer in zip(labels, answers):
        counts[label, answer] += 1
    assert agreement_z(counts) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [[[9, 0], [9, 0]], [[5, 4], [0, 0]], [[1, 0], [0, 0]], [[0]]])
def test_one_class_of_images_or_of_answers_shows_no_agreement(counts):
    assert agreement_z(torch.tensor(counts)) == 0.0


class TestEvaluate:
    data = tiny_data(40).train
    model = create_model(
        "capsnet_small", image_size=17, num_classes=3, conv_channels=8, primary_types=2
    )

    def test_batch_size_changes_nothing_but_rounding(self):
        whole = evaluate(self.model, self.data)
        cut = evaluate(self.model, self.data, batch_size=5)
        assert torch.allclose(whole.activation, cut.activation, atol=1e-6)
        assert whole.loss == pytest.approx(cut.loss, rel=1e-5)
        assert whole.labels.tolist() == self.data.labels.tolist()

    def test_the_loss_is_that_of_all_images_together(self):
        images, labels = self.data.batch(torch.arange(len(self.data)))
        with torch.no_grad():
            losses = self.model.loss(self.model(images, labels), images, labels)
        measured = evaluate(self.model, self.data, batch_size=7)
        assert measured.loss == pytest.approx(float(losses.total), rel=1e-5)
        assert measured.classification_loss == pytest.approx(float(losses.classification), rel=1e-5)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_mode_is_put_back_and_dropout_is_off(self, training):
        model = create_model(
            "baseline_cnn", image_size=17, num_classes=3, conv_channels=(4,), hidden=(8,)
        ).train(training)
        first, second = (evaluate(model, self.data).activation for _ in range(2))
        assert torch.equal(first, second)
        assert model.training is training


def test_large_images_are_shown_a_few_at_a_time(monkeypatch):
    """As many as `images_at_once` says of their size, unless somebody says how many."""
    asked: list[int] = []
    model = create_model("capsnet_small", image_size=(17, 17), channels=1, num_classes=3)
    model.register_forward_pre_hook(lambda _, arguments: asked.append(len(arguments[0])))
    data = tiny_data().test  # 24 images
    monkeypatch.setattr(metrics, "images_at_once", {(17, 17): 10}.__getitem__)
    evaluate(model, data)
    evaluate(model, data, batch_size=20)
    assert asked == [10, 10, 4, 20, 4]
