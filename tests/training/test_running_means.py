import operator

import pytest
import torch

from torchcaps.training.running_means import RunningMeans
from torchcaps.training.task import StepResult

CPU = torch.device("cpu")
MEASURES = ("half", "correct")


def running_means(values=None) -> RunningMeans:
    return RunningMeans(MEASURES, CPU, values)


def step(means: RunningMeans, total: float, examples: int = 4, right: int = 3) -> None:
    """`half` is a mean over the batch, `correct` has a value for each example."""
    measures = {"half": torch.tensor(total / 2), "correct": torch.arange(examples) < right}
    means.add(StepResult(torch.tensor(total), measures), examples)


def test_means_weigh_every_example_alike():
    means = running_means()
    step(means, total=1.0, examples=4, right=3)
    step(means, total=4.0, examples=2, right=0)
    assert means.examples == 6
    assert means.means() == {"loss": 2.0, "half": 1.0, "correct": 0.5}
    assert list(means.means()) == ["loss", *MEASURES]


def test_any_measures_or_none_are_averaged():
    means = RunningMeans((), CPU)
    means.add(StepResult(torch.tensor(3.0), {}), 8)
    assert means.means() == {"loss": 3.0}
    means = RunningMeans(("rank",), CPU)
    means.add(StepResult(torch.tensor(3.0), {"rank": torch.tensor([1.0, 4.0])}), 2)
    assert means.means() == {"loss": 3.0, "rank": 2.5}


def test_other_measures_than_those_named_are_refused():
    means = running_means()
    with pytest.raises(ValueError, match="names the measures half, correct, and its losses gave a"):
        means.add(StepResult(torch.tensor(1.0), {"a": torch.tensor(1.0)}), 4)
    with pytest.raises(ValueError, match="3 sums, expected 4"):
        running_means([1.0, 2.0, 3.0])


def test_going_on_from_saved_values_gives_the_same_bits():
    straight, first = running_means(), running_means()
    step(straight, 0.1)
    step(first, 0.1)
    second = running_means(first.values)
    step(straight, 0.7)
    step(second, 0.7)
    assert straight.values == second.values


def test_many_small_losses_are_not_lost_in_a_large_sum():
    means = running_means()
    step(means, total=2.0**24, examples=1, right=1)
    for _ in range(8):
        step(means, total=0.5, examples=1, right=1)
    assert means.means()["loss"] * 9 == 2.0**24 + 4  # float32 would have kept 2²⁴


def test_the_first_bad_step_is_kept():
    means = RunningMeans(MEASURES, CPU, first_step=3)
    step(means, 1.0)
    assert int(means.first_bad_step) == -1
    step(means, float("inf"))
    step(means, 1.0)
    step(means, float("nan"))
    assert int(means.first_bad_step) == 4


def test_an_epoch_begins_anew_in_the_same_places():
    """What a recorded step writes to."""
    means = running_means()
    places = means.tensor, means.first_bad_step
    step(means, 1.0)
    means.reset()
    step(means, float("nan"), examples=2)
    assert means.examples == 2
    assert int(means.first_bad_step) == 1
    assert all(map(operator.is_, places, (means.tensor, means.first_bad_step)))


def test_a_measure_is_a_mean_or_a_number_for_each_example():
    means = running_means()
    measures = {"half": torch.tensor(0.5), "correct": torch.ones(4)}
    for name, shape in (("half", [1]), ("half", [3]), ("correct", [4, 1])):
        given = {**measures, name: torch.ones(shape)}
        said = rf"gave {name} of shape \[{', '.join(map(str, shape))}\]; .* of its 4 examples$"
        with pytest.raises(ValueError, match=said):
            means.add(StepResult(torch.tensor(1.0), given), 4)
    with pytest.raises(ValueError, match=r"gave a loss of shape \[1\]; expected a scalar"):
        means.add(StepResult(torch.tensor([1.0]), measures), 4)
    assert means.examples == 0
