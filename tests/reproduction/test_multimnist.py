"""Training on pairs of digits: the losses, what counts as right, going on after a stop, words."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from reproduction.harness.experiment import Results
from reproduction.harness.pair_training import PairTask, answers_on, both_found, losses_of
from reproduction.harness.pooled_cnn import PooledCNN
from reproduction.harness.run import reproduce
from reproduction.harness.verdict import judge
from reproduction.harness.workbench import choice
from reproduction.multimnist import experiment as multimnist
from reproduction.multimnist.figures import in_two_colours, like_labels
from reproduction.multimnist.report import digits_of_pairs, drawing_finding, drawings_differ
from tests.small_runs import tiny_config, tiny_data
from torchcaps.data import ImageData, MultiMNIST, PairBatch
from torchcaps.errors import RunStopped
from torchcaps.models import CapsNet
from torchcaps.models.summary import count_parameters
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.precision import choose_precision
from torchcaps.training.run import Run

FP32 = choose_precision("fp32", torch.device("cpu"))
TIMES = {"seconds_per_step", "training_seconds"}


def small_net(model=None, **options):
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "conv_channels": 8,
        "primary_types": 2,
        "kernel_size": 7,
        "conv_stride": 2,
    }
    return CapsNet(25, 1, 3, decoder_hidden=(12, 16), **settings, **options)


def run_of(tmp_path, net):
    config = tiny_config(tmp_path / "run", max_shift=4, precision="fp32", batch_size=8)
    return Run(config, PairTask(tiny_data(), config.seed, config.max_shift), net)


def test_the_papers_networks_have_their_parameters():
    with torch.device("meta"):
        assert count_parameters(PooledCNN()) == 24_563_978
        assert count_parameters(CapsNet(36)) == 11_361_808
        small = CapsNet(36, reconstruct=False, **multimnist.SHRUNK_CAPSNET)
        small_cnn = PooledCNN(**multimnist.SHRUNK_CNN)
    assert count_parameters(small_cnn) == pytest.approx(count_parameters(small), rel=0.05)


def test_the_loss_of_a_pair_by_hand():
    """Eq 4 with two classes present, and each digit drawn from its own capsule alone."""
    net = small_net().double()
    pairs = PairBatch(
        torch.rand(3, 1, 25, 25, dtype=torch.float64),
        torch.rand(3, 2, 1, 25, 25, dtype=torch.float64),
        torch.tensor([[0, 2], [2, 1], [1, 0]]),
    )
    losses, activation = losses_of(net, pairs, FP32)
    pose, lengths = net.classes(net.primary_capsules(pairs.images))
    assert torch.equal(activation, lengths)
    margin = drawing = 0.0
    for b in range(3):
        for k in range(3):
            v = lengths[b, k].item()
            present = k in pairs.labels[b].tolist()
            margin += max(0, 0.9 - v) ** 2 if present else 0.5 * max(0, v - 0.1) ** 2
        for digit, k in zip(pairs.digits[b], pairs.labels[b].tolist()):
            masked = torch.zeros(1, 3 * 16, dtype=torch.float64)
            masked[0, 16 * k : 16 * k + 16] = pose[b, k]
            error = net.decoder.layers(masked).view_as(digit) - digit
            drawing += 0.0005 * error.square().sum().item()
    assert losses.classification.item() == pytest.approx(margin / 3)
    assert losses.reconstruction.item() == pytest.approx(drawing / 3)
    assert losses.total.item() == pytest.approx((margin + drawing) / 3)


def test_the_loss_of_the_convolutional_network():
    net = PooledCNN(25, 1, 3, conv_channels=(2, 3), hidden=5)
    pairs = PairTask(tiny_data(), seed=0, max_shift=4).pairs.batch(0, 4)
    losses, activation = losses_of(net, pairs, FP32)
    probability = net(pairs.images).pose.squeeze(-1).sigmoid()
    assert torch.equal(activation, probability)
    present = pairs.targets(3).bool()
    expected = -torch.where(present, probability.log(), (1 - probability).log()).sum() / 4
    torch.testing.assert_close(losses.total, expected)


def test_a_pair_is_right_where_both_are_among_the_two_most_active():
    activation = torch.tensor([[0.9, 0.1, 0.8, 0.3]]).expand(4, -1)
    labels = torch.tensor([[2, 0], [0, 2], [0, 3], [1, 3]])
    assert both_found(activation, labels).tolist() == [True, True, False, False]


def nine_classes():
    """So many that one is left that is neither there nor answered."""
    torch.manual_seed(3)
    net = CapsNet(25, 1, 9, conv_channels=8, primary_types=2, kernel_size=7, conv_stride=2).eval()
    data = ImageData(torch.rand(6, 1, 17, 17), torch.arange(6), tuple("abcdefghi"), "noise")
    return net, MultiMNIST(data, 0)


def test_answers_against_a_loop(monkeypatch):
    net, pairs = nine_classes()
    monkeypatch.setattr("reproduction.harness.pair_training.BATCH", 7)
    answers = answers_on(net, pairs, 20, examples=3)
    images, digits, labels = pairs.batch(0, 20)
    with torch.no_grad():
        pose, activation = net.classes(net.primary_capsules(images))
        error, missed, read = 0.0, 0, [0, 0]
        for b in range(20):
            told = activation[b].argsort(descending=True)[:2].tolist()
            missed += sum(k not in told for k in labels[b].tolist())
            assert bool(answers.wrong[b]) == (set(told) != set(labels[b].tolist()))
            for digit, k in zip(digits[b], labels[b]):
                drawn = net.decoder(pose[b : b + 1], k[None])[0]
                error += (drawn - digit).square().sum().item() / 40
            others = [
                k
                for k in activation[b].argsort(descending=True).tolist()
                if k not in {*told, *labels[b].tolist()}
            ]
            for which, k in enumerate([labels[b, 0].item(), others[0]]):
                drawn = net.decoder(pose[b : b + 1], torch.tensor([k]))
                read[which] += int(net(drawn).activation.argmax() == k)
    assert answers.digits_missed == missed
    assert answers.drawing_error == pytest.approx(error, rel=1e-5)
    assert answers.read_back == (read[0] / 20, read[1] / 20)
    assert 0 < sum(read) < 40
    right = answers.examples["right"]
    assert right.sum() == min(3, (~answers.wrong).sum())
    assert (~right).sum() == min(3, answers.wrong.sum())
    first = int(answers.wrong.nonzero()[0])
    torch.testing.assert_close(answers.examples["image"][~right][0], images[first])
    assert answers.examples["classes"][~right][0, :2].tolist() == labels[first].tolist()


def test_the_class_that_is_not_there_is_the_most_active_of_the_others():
    net, pairs = nine_classes()
    kept = answers_on(net, pairs, 10, examples=10).examples
    with torch.no_grad():
        activation = net(kept["image"]).activation
    for lengths, classes in zip(activation, kept["classes"].tolist()):
        others = [k for k in range(9) if k not in classes[:4]]
        assert classes[4] == max(others, key=lambda k: lengths[k])
        assert set(classes[2:4]) == set(lengths.topk(2).indices.tolist())


# --- the experiment
@pytest.fixture
def small(tiny):
    return tiny(multimnist.EXPERIMENT, max_shift=4)


def rows(folder):
    found = {}
    for path in sorted((folder / "cells").glob("*.json")):
        row = json.loads(path.read_text())["row"]
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            kept = {name: arrays[name].tolist() for name in arrays.files}
        found[path.stem] = {k: v for k, v in row.items() if k not in TIMES} | kept
    return found


@pytest.mark.parametrize("stop_at", [3, 13, 21])  # 8 steps a cell: in each of the three
def test_an_interrupted_training_gives_the_same_rows(small, tmp_path, monkeypatch, stop_at):
    whole, figures = reproduce(small, out=tmp_path / "whole")
    done: list[int] = []
    do_step = Run.do_step

    def counted(self):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        do_step(self)
        done.append(self.step)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "do_step", counted)
        with pytest.raises(RunStopped, match="what is done is saved"):
            reproduce(small, out=tmp_path / "cut")
    cut, again = reproduce(small, out=tmp_path / "cut")
    assert rows(cut) == rows(whole)
    assert again == figures
    assert len(rows(cut)) == 3


def test_every_step_sees_other_pairs(tmp_path):
    run = run_of(tmp_path, small_net())
    seen = []
    losses = run.task.losses
    run.task.losses = lambda model, pairs, precision: (
        seen.append(pairs) or losses(model, pairs, precision)
    )
    run.prepare()
    for _ in range(3):
        run.do_step()
    whole = run.task.pairs.batch(0, 24).images
    assert torch.equal(torch.cat([pairs.images for pairs in seen]), whole)
    assert run.running_means.examples == 24


def test_training_and_held_out_pairs_come_from_their_own_parts(small, tmp_path, monkeypatch):
    used = []

    class Watched(MultiMNIST):
        def __init__(self, data, *arguments, **options):
            used.append(len(data))
            super().__init__(data, *arguments, **options)

    monkeypatch.setattr(multimnist, "MultiMNIST", Watched)
    monkeypatch.setattr("reproduction.harness.pair_training.MultiMNIST", Watched)
    folder, _ = reproduce(small, out=tmp_path / "out")
    assert used == [64, 20, 20] * 3
    assert {row["pairs"] for row in rows(folder).values()} == {100}
    assert {row["training_pairs"] for row in rows(folder).values()} == {128}


def test_pairs_are_made_some_steps_at_a_time_and_are_the_same():
    """A step's share of two processes, in any order of steps."""
    task = PairTask(tiny_data(), seed=0, max_shift=4)
    for step in (9, 0, 7, 8):
        for rank in (0, 1):
            sampler = BatchSampler(64, 6, seed=0, rank=rank, world=2)
            found = task.batch(step, sampler)
            for ours, alone in zip(found, task.pairs.batch(6 * step + 3 * rank, 3)):
                assert torch.equal(ours, alone)


# --- words and pictures
def test_drawings_of_what_is_not_there_are_judged_with_the_rest():
    def verdict(absent, seeds=5):
        rows = [{"read_back": 0.8, "read_back_absent": absent[s]} for s in range(seeds)]
        (judged,) = judge([drawings_differ(rows)])
        return drawing_finding(rows, judged).verdict

    assert verdict([0.1, 0.11, 0.12, 0.1, 0.1]) == "lower"
    assert verdict([0.6, 0.61, 0.62, 0.6, 0.6]) == "higher"
    assert verdict([0.1, 0.11, 0.12, 0.1, 0.1], 3) == "not decided (3 seeds)"
    assert verdict([0.1, 0.5, 0.1, 0.6, 0.3]) == "not decided"  # whose mean is below a half


def test_the_report_knows_which_pairs_share_a_digit(small, tmp_path):
    """From the classes of the digits alone."""
    folder, _ = reproduce(small, out=tmp_path / "out")
    with np.load(folder / "cells" / "r3-seed0.npz", allow_pickle=False) as arrays:
        kept = dict(arrays)
    row = {"cell": "r3", "seed": 0, "pairs": 100}
    results = Results(tmp_path, small.scales["smoke"], [row], lambda row: kept)
    places = digits_of_pairs(results)
    digits = choice(tiny_data().test, 20)
    pairs = MultiMNIST(digits, seed=0, max_shift=4)
    assert np.array_equal(digits.labels.numpy()[places], pairs.batch(0, 100).labels.numpy())
    assert np.array_equal(places, pairs.places(0, 100).numpy())
    del kept["digit_labels"]  # as in older rows
    assert digits_of_pairs(results) is None
    assert "pairs for independent: they are too narrow" not in (folder / "report.md").read_text()


def test_an_answer_that_is_right_has_the_colour_of_its_label():
    labels = torch.tensor([[1, 2], [1, 2], [1, 2], [1, 2], [1, 2]])
    told = torch.tensor([[1, 5], [5, 1], [2, 5], [5, 2], [5, 6]])
    rows = torch.arange(5)[:, None]
    ordered = told[rows, like_labels(labels, told)]
    assert ordered.tolist() == [[1, 5], [1, 5], [5, 2], [5, 2], [5, 6]]


def test_two_digits_are_lights_of_two_colours():
    pair = torch.zeros(1, 2, 1, 2, 2)
    pair[0, 0, 0, 0, :] = 1
    pair[0, 1, 0, :, 0] = 1
    pixels = in_two_colours(pair)
    blue, vermillion = pixels[0, 0, 1], pixels[0, 1, 0]
    assert blue.tolist() == pytest.approx([0, 114 / 255, 178 / 255])
    assert vermillion.tolist() == pytest.approx([213 / 255, 94 / 255, 0])
    assert pixels[0, 0, 0].tolist() == pytest.approx([213 / 255, 208 / 255, 178 / 255])
    assert pixels[0, 1, 1].tolist() == [0, 0, 0]
