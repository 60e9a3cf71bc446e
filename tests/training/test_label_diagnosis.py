"""A network that does not tell which classes are in an image says so."""

import itertools
import json
import re

import pytest
import torch

from tests.small_runs import tiny_config
from tests.training.test_multi_label import several
from torchcaps.training.diagnosis import HAS_LEARNED
from torchcaps.training.label_diagnosis import diagnose_labels, ordered_pairs
from torchcaps.training.loop import train
from torchcaps.training.metrics import Evaluation


def answers(labels, lengths):
    return Evaluation(labels, lengths, 0.0, 0.0)


def diagnosis(labels, lengths, history=()):
    names = ["ant", "bee", "cow", "dog"][: labels.shape[1]]
    measured = answers(labels, lengths)
    return diagnose_labels(measured, names, images="held-out images", history=history)


def cause(labels, lengths, history=()):
    found = diagnosis(labels, lengths, history)
    return None if found is None else found.cause


def dealt(images, classes, rate=0.4, seed=0):
    """Labels, and lengths that know nothing of them."""
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(images, classes, generator=draw) < rate).long()
    return labels, torch.rand(images, classes, generator=draw)


# --- pairs in the right order
def pairs_by_hand(labels, lengths):
    """[right pairs, counted half where equal; all pairs]"""
    right = every = 0.0
    for k in range(labels.shape[1]):
        for n, m in itertools.product(range(len(labels)), repeat=2):
            if labels[n, k] == 1 and labels[m, k] == 0:
                every += 1
                right += float(lengths[n, k] > lengths[m, k])
                right += float(lengths[n, k] == lengths[m, k]) / 2
    return right, every


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_counted_and_judged_by_all_ways_to_deal_the_answers(ties, seed):
    labels, lengths = dealt(6, 3, seed=seed)
    labels[:, 2] = labels[:, 0]  # classes that come together
    lengths = (4 * lengths).round() if ties else lengths
    right, every = pairs_by_hand(labels, lengths)
    share, z = ordered_pairs(labels, lengths)
    assert share == pytest.approx(right / every)
    dealings = [
        pairs_by_hand(labels, lengths[list(order)])[0] for order in itertools.permutations(range(6))
    ]
    counts = torch.tensor(dealings, dtype=torch.float64)
    assert float(counts.mean()) == pytest.approx(every / 2)
    assert z == pytest.approx((right - every / 2) / float(counts.std(correction=0)))


def test_classes_that_all_images_show_or_none_say_nothing():
    labels, lengths = dealt(40, 2)
    labels[:, 0], labels[:, 1] = 1, 0
    assert ordered_pairs(labels, lengths) == (None, 0.0)
    assert cause(labels, lengths) is None
    assert cause(labels[:1], lengths[:1]) is None


def test_lengths_that_are_all_alike_are_half_right():
    labels, _ = dealt(40, 2)
    assert ordered_pairs(labels, torch.full((40, 2), 0.7)) == (0.5, 0.0)


@pytest.mark.parametrize("classes", [1, 3, 20])
def test_a_guesser_is_rarely_taken_for_a_network_that_has_learned(classes):
    z = [ordered_pairs(*dealt(60, classes, rate=0.1, seed=seed))[1] for seed in range(400)]
    found = torch.tensor(z)
    assert float(found.mean()) == pytest.approx(0, abs=0.2)
    assert float(found.std()) == pytest.approx(1, abs=0.15)


# --- causes
def test_the_cause_is_read_off_the_lengths():
    labels, noise = dealt(200, 3)
    assert cause(labels, 0.1 + 0.8 * noise) == "chance"
    assert cause(labels, 0.97 + 0.02 * noise) == "saturated"
    assert cause(labels, 0.04 * noise) == "vanished"
    assert cause(labels, 0.4 + 1e-4 * noise) == "constant"
    still = [{"classification_loss": 0.3}] * 3
    assert cause(labels, 0.1 + 0.8 * noise, still) == "standstill"


def test_one_class_that_is_found_is_enough():
    labels, noise = dealt(200, 3)
    noise[:, 1] = 0.2 + 0.6 * labels[:, 1]
    assert cause(labels, noise) is None


def test_long_capsules_elsewhere_are_not_learned():
    labels, _ = dealt(200, 3)
    assert cause(labels, 0.8 - 0.6 * labels) == "chance"


@pytest.mark.parametrize(
    ("shortest", "named"), [(0.1, "no class"), (0.6, "“ant”, “bee” and “cow”")]
)
def test_a_network_that_ranks_well_but_answers_alike_is_told(shortest, named):
    labels, noise = dealt(200, 3)
    found = diagnosis(labels, shortest + 0.2 * labels + 0.1 * noise)
    line = f"ONE ANSWER: in all 200 held-out images {named} is found, though 100% of the pairs"
    assert str(found).startswith(line)
    assert found.cause in HAS_LEARNED


def test_differences_in_the_fifth_digit_are_not_learned():
    """As a rate that is far too large leaves them: the lengths still rank well."""
    labels, _ = dealt(200, 3)
    assert cause(labels, 0.9999 + 1e-5 * labels) == "saturated"
    assert cause(labels, 0.3 + 1e-5 * labels) == "constant"


def test_few_images_leave_it_open():
    labels = torch.tensor([[1], [1], [0], [0]])
    lengths = torch.tensor([[0.9], [0.3], [0.5], [0.2]])  # three of four pairs
    assert cause(labels, lengths) == "few_images"


# --- real trainings
@pytest.mark.parametrize("validation", [0, 0.2])
def test_a_run_that_does_not_learn_says_so(validation, tmp_path, no_pictures, capsys):
    train(
        tiny_config(
            tmp_path, epochs=4, learning_rate=1.0, model="capsnet_small", augment="none",
            validation=validation,
        ),
        several(),
    )  # fmt: skip
    said = capsys.readouterr().out
    during = re.findall(r"^epoch \d: NOT LEARNING: .*$", said, re.MULTILINE)
    assert len(during) == 1
    assert ("validation images" if validation else "training images") in during[0]
    last = said.splitlines()[-1]
    assert last.startswith(
        "NOT LEARNING: in all 31 held-out images “ant”, “bee” and “cow” is found"
    )
    found = json.loads((tmp_path / "result.json").read_text())["diagnosis"]
    assert last == f"NOT LEARNING: {found['finding']}; {found['advice']}"
    assert "NOT LEARNING" in (tmp_path / "model" / "README.md").read_text()
