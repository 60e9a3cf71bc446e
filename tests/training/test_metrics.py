import math

import pytest
import torch

from tests.small_runs import tiny_data
from torchcaps.models import create_model
from torchcaps.training.metrics import Evaluation, evaluate, wilson_interval

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
