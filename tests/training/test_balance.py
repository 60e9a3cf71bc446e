"""Unequal classes and small sets."""

import os

import pytest
import torch

from tests.small_runs import tiny_config, tiny_data, weights_of
from torchcaps.data import ImageData, TrainTest
from torchcaps.data.split import split_off_validation
from torchcaps.training.balance import BalancedClasses
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.config import read_train_config
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.loop import resume, train


def with_classes(*counts: int) -> ImageData:
    """So many images of each class, the first classes of `tiny_data`."""
    data = tiny_data(600).train
    chosen = [(data.labels == k).nonzero()[:n, 0] for k, n in enumerate(counts)]
    return data.subset(torch.cat(chosen))


def test_every_class_comes_equally_often_and_every_example_in_the_end():
    labels = torch.tensor([0] * 60 + [1] * 3 + [3] * 7)
    balanced = BalancedClasses(labels)
    seen = [balanced(torch.arange(70), seed=0, epoch=epoch) for epoch in range(20)]
    for chosen in seen:
        assert labels[chosen].bincount().tolist() == [24, 23, 0, 23]
        assert sorted(chosen[labels[chosen] == 1].bincount(minlength=63)[60:].tolist()) == [7, 8, 8]
    assert len(torch.cat(seen).unique()) == 70


def test_seed_and_epoch_alone_decide():
    labels = torch.arange(50) % 3
    state = torch.get_rng_state()

    def order(seed: int, epoch: int) -> list[int]:
        return BalancedClasses(labels)(torch.arange(50), seed, epoch).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(2, 1) != order(1, 1)
    assert torch.equal(torch.get_rng_state(), state)
    again = BalancedClasses(labels)
    assert [again(torch.tensor([k]), 1, 2).item() for k in range(50)] == order(1, 2)


def test_balanced_batches_of_a_task():
    data = with_classes(80, 8, 8)
    task = ImageClassification(TrainTest(data, data), "a model", balance=True)
    whole = [BatchSampler(96, 24, seed=0, rank=0, world=1)]
    shares = [BatchSampler(96, 24, seed=0, rank=rank, world=2) for rank in range(2)]
    labels = [
        torch.cat([task.batch(step, sampler)[1] for sampler in samplers for step in range(4)])
        for samplers in (whole, shares)
    ]
    assert labels[0].bincount().tolist() == labels[1].bincount().tolist() == [32, 32, 32]
    one = whole[0]
    chosen = torch.cat([task.examples_of(step, one) for step in range(4)])
    of_small = chosen[data.labels[chosen] == 1]
    assert sorted(of_small.bincount()[80:88].tolist()) == [4] * 8


@pytest.mark.parametrize("counts", [(120, 5), (120, 1), (3, 2), (1, 1)])
def test_small_classes_are_split_for_validation(counts):
    data = with_classes(*counts)
    training, validation = split_off_validation(data, 0.1)
    if validation is None:
        assert counts == (1, 1)
        return
    held = validation.labels.bincount(minlength=2).tolist()
    assert held == [max(1, round(0.1 * n)) if n > 1 else 0 for n in counts]
    assert len(training) + len(validation) == len(data)
    assert (training.labels.bincount()[:2] > 0).all()


@pytest.mark.parametrize(
    ("counts", "asked", "batch"),
    [
        ((24, 5), 128, 8),
        ((60, 60), 128, 24),
        ((3, 2), 128, 3),
        ((100, 60), 64, 32),
        ((100, 60), 80, 80),
    ],
)
@pytest.mark.usefixtures("no_pictures")
def test_small_sets_train_with_smaller_batches_and_say_so(counts, asked, batch, tmp_path, capfd):
    """Interrupted and continued, the run ends as it would have."""
    data = TrainTest(with_classes(*counts), tiny_data(30).test)
    train(tiny_config(tmp_path / "run", batch_size=asked, validation=0.2), data)
    assert read_train_config(tmp_path / "run").batch_size == batch
    said = f"too few for --batch-size {asked}: batches of {batch} are taken"
    assert (said in capfd.readouterr().out) == (batch < asked)

    weights = weights_of(tmp_path / "run")
    first = sorted((tmp_path / "run" / "checkpoints").iterdir(), key=os.path.getmtime)[0]
    resume(first, data)
    assert weights_of(tmp_path / "run") == weights
